"""Messages as callers give them → messages as chat templates take them, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chatspan.errors import TextError, TraceError
from chatspan.options import ROLES

Message = dict[str, Any]

# Keys of a turn that are the trace's own; all others reach the template.
_TRACE_KEYS = frozenset({"tool_call", "tool_error", "error_meta"})

# What the collator decides itself; passing these on would change what a render is.
RESERVED_KWARGS = frozenset(
    {
        "add_generation_prompt",
        "continue_final_message",
        "conversation",
        "max_length",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "sanitize_control_tokens",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)


def content_texts(content: Any) -> list[str]:
    """The texts of a content: one for a string, one a text part for a list, none for ``None``."""
    if content is None:
        return []
    return [content] if isinstance(content, str) else [part["text"] for part in content]


def is_blank(content: Any) -> bool:
    """Whether a content has no text but blanks."""
    return not any(text.strip() for text in content_texts(content))


def read_messages(messages: Any, trace_id: str, what: str) -> list[Message]:
    """Checks a list of turns and makes messages of them."""
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)) or not messages:
        raise TraceError(f"{what} must be a list with at least one message, got {shown(messages)}", trace_id=trace_id)
    return [_read_turn(turn, index, trace_id) for index, turn in enumerate(messages)]


def trace_id_of(trace: Mapping[str, Any], row: int) -> str:
    """What errors call a trace: its ``trace_id``, or its row where it has none."""
    trace_id = trace.get("trace_id")
    return f"row {row}" if trace_id is None else str(trace_id)


def template_kwargs_of(trace: Mapping[str, Any], trace_id: str) -> dict[str, Any]:
    """The arguments of the template that a trace carries: ``tools`` and ``chat_template_kwargs``."""
    kwargs = trace.get("chat_template_kwargs")
    if kwargs is None:
        kwargs = {}
    if not isinstance(kwargs, Mapping):
        raise TraceError(f"'chat_template_kwargs' must be a dict, got {shown(kwargs)}", trace_id=trace_id)
    reserved = sorted(RESERVED_KWARGS.intersection(kwargs))
    if reserved:
        hint = "; give tools as the trace's own key 'tools'" if "tools" in reserved else ""
        raise TraceError(f"'chat_template_kwargs' may not hold {', '.join(reserved)}{hint}", trace_id=trace_id)
    tools = trace.get("tools")
    if tools is not None and (not isinstance(tools, Sequence) or isinstance(tools, (str, bytes))):
        raise TraceError(f"'tools' must be a list, got {shown(tools)}", trace_id=trace_id)
    return {**kwargs, "tools": list(tools)} if tools else dict(kwargs)


def _read_turn(turn: Any, turn_index: int, trace_id: str) -> Message:
    def wrong(message: str) -> TraceError:
        return TraceError(message, trace_id=trace_id, turn_index=turn_index)

    if type(turn) is not dict and not isinstance(turn, Mapping):
        raise wrong(f"expected a dict with 'role' and 'content', got {shown(turn)}")
    role = turn.get("role")
    if role not in ROLES:
        raise wrong(f"unknown role {role!r}: it must be one of {', '.join(ROLES)}")
    message = {key: value for key, value in turn.items() if key not in _TRACE_KEYS}
    _check_content(turn.get("content"), wrong)
    _check_unicode(turn.get("content"), trace_id, turn_index)
    tool_call = turn.get("tool_call")
    if tool_call is not None:
        if not isinstance(tool_call, Mapping):
            raise wrong(f"'tool_call' must be a dict, got {shown(tool_call)}")
        if turn.get("tool_calls") is not None:
            raise wrong("it has both 'tool_call' and 'tool_calls'; keep one")
        message["tool_calls"] = [_as_function_call(tool_call)]
    return message


def _check_content(content: Any, wrong: Callable[[str], TraceError]) -> None:
    if content is None or isinstance(content, str):
        return
    expected = 'expected a string, None, or a list of parts {"type": "text", "text": …}'
    if not isinstance(content, (list, tuple)):
        raise wrong(f"'content' is {shown(content)}: {expected}")
    for index, part in enumerate(content):
        is_text = isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str)
        if not is_text:
            raise wrong(f"part {index} of 'content' is {shown(part)}: {expected}")


def _check_unicode(content: Any, trace_id: str, turn_index: int) -> None:
    for text in content_texts(content):
        if (at := lone_surrogate(text)) is not None:
            raise TextError(
                f"'content' has a lone surrogate at character {at}: it is no valid Unicode text; repair or drop it",
                trace_id=trace_id,
                turn_index=turn_index,
                start_char=at,
            )


def _as_function_call(tool_call: Mapping[str, Any]) -> dict[str, Any]:
    """The form that templates know, ``{"type": "function", "function": {"name", "arguments"}}``."""
    if "function" in tool_call or "name" not in tool_call:
        return dict(tool_call)
    function = {key: tool_call[key] for key in ("name", "arguments") if key in tool_call}
    rest = {key: value for key, value in tool_call.items() if key not in function}
    return {"type": "function", **rest, "function": function}


def lone_surrogate(text: str) -> int | None:
    """The first character that is no valid Unicode text, if one is not."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def shown(value: Any) -> str:
    """A value as errors quote it: its type, and a little of it."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:60] + '…'}"
