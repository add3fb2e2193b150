"""ShareGPT's ``from`` and ``value``, in the spellings of the data sets and trainers that use it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.errors import quoted
from chatspan.rows.dialects.calls import call_of, calls_of, decoded, json_text
from chatspan.rows.dialects.found import DialectError, Message, listed, mapping, shown
from chatspan.rows.notes import Note

_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model", "bot", "ai"), "assistant"),
    **dict.fromkeys(("system", "system_prompt"), "system"),
    **dict.fromkeys(("function_call", "function_calls", "tool_call", "tool_calls"), "call"),
    **dict.fromkeys(
        ("observation", "tool", "function_response", "tool_response", "tool_result", "ipython"),
        "tool",
    ),
}
_SPEAKERS = ("from", "role")
_TEXTS = ("value", "content", "text")
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_RESPONSE = re.compile(r"<tool_response>\n?(.*?)\n?</tool_response>", re.DOTALL)
_THOUGHT = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)


def is_sharegpt(messages: Any) -> bool:
    """Whether messages have ``from``, or a ``role`` with ``value`` or ``text`` in place of ``content``."""
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)) or not messages:
        return False
    first = messages[0]
    if not isinstance(first, Mapping):
        return False
    return "from" in first or ("role" in first and "content" not in first and ("value" in first or "text" in first))


def role_of(name: str) -> str:
    """The role that a name in ``from`` stands for; ``"call"`` for tool calls, and other names as they are.

    Example:
        >>> role_of("GPT"), role_of("function-response"), role_of("critic")
        ('assistant', 'tool', 'critic')
    """
    return _ROLES.get(name.strip().lower().replace("-", "_").replace(" ", "_"), name)


def of_sharegpt(messages: Any, notes: list[Note]) -> list[Message]:
    """ShareGPT's messages in OpenAI's shape.

    A ``function_call`` becomes an assistant's message with tool calls; a ``gpt`` text right before it is its content.
    Hermes' ``<tool_call>`` blocks at the end of a ``gpt`` text become tool calls, and ``<tool_response>`` blocks of a
    tool's text one message each. What cannot be read as such stays literally where it is.

    Args:
        messages: dicts with ``from`` or ``role``, and ``value``, ``content`` or ``text``; they are not changed.
        notes: what was changed is added here.

    Raises:
        DialectError: a message is no dict, has no speaker or no text, or its text is of another type.

    Example:
        >>> of_sharegpt([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}], [])
        [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello!'}]
    """
    result: list[Message] = []
    before = ""
    for index, item in enumerate(listed(decoded(messages), "the conversation")):
        item = mapping(item, f"message {index}")
        speaker = next((key for key in _SPEAKERS if isinstance(item.get(key), str)), None)
        text_key = next((key for key in _TEXTS if key in item), None)
        if speaker is None or text_key is None:
            what = "'from' or 'role' with a name" if speaker is None else "'value', 'content' or 'text'"
            raise DialectError(f"message {index} has no {what}; its keys are {', '.join(map(quoted, item)) or 'none'}")
        role = role_of(item[speaker])
        rest = {key: value for key, value in item.items() if key not in (speaker, text_key)}
        made = _messages(role, item[text_key], rest, index, notes)
        if role == "call" and before == "assistant" and _takes_calls(result[-1], made[0]):
            notes.append(_note("call_joined", "a tool call was joined to the text before it", index))
            result[-1] = {**made[0], **result[-1], "tool_calls": made[0]["tool_calls"]}
        else:
            result += made
        before = role
    return result


def tools_in_system_note(system: Any, tools: Any) -> Note | None:
    """A note for a row whose system text lists tools in a ``<tools>`` block, and that has tools of its own too."""
    if tools and isinstance(system, str) and "<tools>" in system:
        return Note("tools_twice", "the system text has a <tools> block, and the row has tools too: both are rendered")
    return None


def _note(code: str, message: str, index: int) -> Note:
    return Note(code, message, f"message {index}")


def _takes_calls(message: Message, made: Message) -> bool:
    if message.get("tool_calls") or not isinstance(message["content"], str) or "tool_calls" not in made:
        return False
    # Two messages that say different things of themselves, such as a weight each, stay two.
    own = ("role", "content", "tool_calls")
    said = [{key: value for key, value in each.items() if key not in own} for each in (message, made)]
    return said[0] == said[1]


def _messages(role: str, value: Any, rest: Message, index: int, notes: list[Note]) -> list[Message]:
    if role == "call":
        return [_call_message(value, rest, index, notes)]
    if role == "tool":
        return _tool_messages(value, rest, index, notes)
    if value is None and rest.get("tool_calls"):
        return [{"role": role, "content": None, **rest}]
    _require_text(value, index)
    if role == "assistant" and isinstance(value, str) and "<tool_call>" in value:
        return [_hermes_message(value, rest, index, notes)]
    return [{"role": role, "content": value, **rest}]


def _require_text(value: Any, index: int) -> None:
    if not isinstance(value, (str, list)):
        raise DialectError(f"message {index} must have text or a list of content parts, got {shown(value)}")


def _call_message(value: Any, rest: Message, index: int, notes: list[Note]) -> Message:
    calls, content = calls_of(value), ""
    if calls is None and isinstance(value, str) and (thought := _THOUGHT.match(value)):
        # LLaMA-Factory lets a thought stand before the calls.
        calls, content = calls_of(value[thought.end() :]), thought.group().strip()
    if calls is not None:
        return {"role": "assistant", "content": content, **rest, "tool_calls": calls}
    text = json_text(value) if isinstance(value, (Mapping, list)) else value
    _require_text(text, index)
    message = "a function call that is not JSON with 'name' and 'arguments' stays text"
    notes.append(_note("call_unreadable", message, index))
    return {"role": "assistant", "content": text, **rest}


def _hermes_message(value: str, rest: Message, index: int, notes: list[Note]) -> Message:
    start = value.index("<tool_call>")
    blocks = _CALL.findall(value[start:])
    calls = [_hermes_call(block) for block in blocks]
    found = [call for call in calls if call is not None]
    if not found or len(found) < len(calls) or _CALL.sub("", value[start:]).strip():
        notes.append(_note("tool_call_block_unreadable", "<tool_call> that cannot be read as calls stays text", index))
        return {"role": "assistant", "content": value, **rest}
    notes.append(_note("tool_call_blocks_read", "<tool_call> blocks are read as tool calls", index))
    return {"role": "assistant", "content": value[:start].rstrip(), **rest, "tool_calls": found}


def _hermes_call(block: str) -> dict[str, Any] | None:
    try:
        return call_of(json.loads(block))
    except (ValueError, RecursionError):
        return None


def _tool_messages(value: Any, rest: Message, index: int, notes: list[Note]) -> list[Message]:
    if isinstance(value, list) and all(isinstance(part, Mapping) and "type" in part for part in value):
        return [{"role": "tool", "content": value, **rest}]
    if isinstance(value, (Mapping, list)):
        notes.append(_note("result_as_json", "a tool result that is not text is written as JSON", index))
        return [{"role": "tool", "content": json_text(value), **rest}]
    _require_text(value, index)
    if "<tool_response>" not in value:
        return [{"role": "tool", "content": value, **rest}]
    if _RESPONSE.sub("", value).strip():
        text = "<tool_response> with text around it stays text"
        notes.append(_note("tool_response_block_unreadable", text, index))
        return [{"role": "tool", "content": value, **rest}]
    notes.append(_note("tool_response_blocks_read", "<tool_response> blocks are read as results", index))
    return [{"role": "tool", "content": text, **rest} for text in _RESPONSE.findall(value)]
