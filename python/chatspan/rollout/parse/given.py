"""The parser that a tokenizer brings along: transformers' ``response_template``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatspan.rollout.parse.learn.notation import JSON, read_whole
from chatspan.rollout.parse.learn.probes import Message, Style


def parsed_by_tokenizer(
    tokenizer: Any, text: str, prompt: str, tools: Sequence[Any] | None, style: Style
) -> Message | None:
    """The message that the tokenizer's own ``response_template`` reads; ``None`` if it has none, or reads none."""
    if getattr(tokenizer, "response_template", None) is None or not callable(
        getattr(tokenizer, "parse_response", None)
    ):
        return None
    try:
        found = tokenizer.parse_response(text, prefix=prompt, tools=None if tools is None else list(tools))
    # It raises what its parsers do, of a text that is not as it expects.
    except Exception:
        return None
    return _in_style(found, style) if isinstance(found, dict) else None


def _in_style(message: Message, style: Style) -> Message | None:
    """The message in the form that the chat template takes; ``None`` if it has something of another form."""
    content = message.get("content")
    reasoning = next((message[key] for key in ("reasoning_content", "reasoning", "thinking") if message.get(key)), None)
    if not isinstance(content, str | None) or not isinstance(reasoning, str | None):
        return None
    calls = []
    for call in message.get("tool_calls") or ():
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return None
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                arguments = read_whole(JSON, arguments)
            except ValueError:
                return None
        if not isinstance(arguments, dict):
            return None
        call_id = call.get("id")
        calls.append((function["name"], arguments, call_id if isinstance(call_id, str) else None))
    return style.message(content or None if calls else content or "", reasoning, calls)
