"""Anthropic's messages: content blocks → reasoning, text, tool calls, and tool results as messages of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.rows.dialects.calls import json_text
from chatspan.rows.dialects.found import DialectError, Message, mapping, shown
from chatspan.rows.notes import Note

_USES = ("tool_use", "server_tool_use", "mcp_tool_use")
_BLOCKS = frozenset({*_USES, "tool_result", "thinking", "redacted_thinking"})
# What a block of a kind must have as text.
_NEEDS = {"text": "text", "thinking": "thinking", "tool_use": "name"}
# Of a message as the API returns it.
_RESPONSE_KEYS = frozenset({"id", "type", "model", "stop_reason", "stop_sequence", "usage", "container"})


def is_anthropic(messages: Any) -> bool:
    """Whether a content has blocks that only Anthropic's messages have: ``tool_use``, ``tool_result``, ``thinking``."""
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)):
        return False
    for message in messages:
        content = message.get("content") if type(message) is dict or isinstance(message, Mapping) else None
        if isinstance(content, list):
            for block in content:
                kind = block.get("type") if isinstance(block, Mapping) else None
                if isinstance(kind, str) and kind in _BLOCKS:
                    return True
    return False


def system_text(value: Any) -> str:
    """The text of a top-level ``system``: of a string, or of a list of text blocks, a line break between two.

    Raises:
        DialectError: it is something else.

    Example:
        >>> system_text([{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}])
        'Be brief.'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        texts = [block.get("text") if isinstance(block, Mapping) else block for block in value]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(text for text in texts if isinstance(text, str))
    raise DialectError(f"'system' must be text or a list of text blocks, got {shown(value)}")


def of_anthropic(messages: Sequence[Any], notes: list[Note]) -> list[Message]:
    """Anthropic's messages in OpenAI's shape.

    ``thinking`` becomes ``reasoning_content``, ``tool_use`` a tool call with its ``input`` as arguments. A
    ``tool_result`` becomes a message with the role ``tool``, the call's name, and ``is_error`` where that is true;
    the other blocks of its message follow it. A result inside an assistant's message (of a tool that the server ran)
    divides that message. ``redacted_thinking`` is dropped, and so is ``cache_control``.

    Text blocks of an assistant that stand side by side are joined without anything between them, as LiteLLM does:
    with citations they are pieces of one sentence. Across other blocks a blank line is put between them. Text blocks
    of users and of results are joined with a line break. Where there are images, the content stays a list of parts.

    Args:
        messages: as the API takes them; they are not changed.
        notes: what was changed is added here.

    Raises:
        DialectError: a message or a block is of the wrong form.
    """
    result: list[Message] = []
    names: dict[Any, str] = {}
    for index, message in enumerate(messages):
        message = mapping(message, f"message {index}")
        content = message.get("content")
        dropped = _RESPONSE_KEYS if message.get("type") == "message" else frozenset()
        head = {key: value for key, value in message.items() if key != "content" and key not in dropped}
        if not isinstance(content, list):
            result.append({**head, "content": content})
            continue
        blocks = [_block(block, index, number) for number, block in enumerate(content)]
        if head.get("role") == "assistant":
            result += _Assistant(head, index, names, notes).of(blocks)
        else:
            result += _of_user(head, blocks, names)
    return result


def _block(block: Any, index: int, number: int) -> Mapping[str, Any]:
    if isinstance(block, str):
        return {"type": "text", "text": block}
    block = mapping(block, f"block {number} of message {index}")
    kind = block.get("type")
    needs = _NEEDS.get(kind) if isinstance(kind, str) else None
    if not isinstance(kind, str) or (needs is not None and not isinstance(block.get(needs), str)):
        what = "'type'" if needs is None else f"text in {needs!r}"
        raise DialectError(f"block {number} of message {index} must have {what}, got {shown(block)}")
    return dict(block)


class _Assistant:
    """The message that an assistant's blocks make, or the messages that results inside it divide it into."""

    def __init__(self, head: Message, index: int, names: dict[Any, str], notes: list[Note]) -> None:
        self._head = head
        self._index = index
        self._names = names
        self._notes = notes
        self._done: list[Message] = []
        self._clear()

    def _clear(self) -> None:
        self._text = ""
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._parts: list[dict[str, Any]] = []
        self._is_open = False
        self._before: str | None = None

    def of(self, blocks: Sequence[Mapping[str, Any]]) -> list[Message]:
        for block in blocks:
            self._add(block, block["type"])
        if self._is_open or not self._done:
            self._close()
        return self._done

    def _add(self, block: Mapping[str, Any], kind: str) -> None:
        if kind.endswith("tool_result"):
            if self._is_open:
                self._close()
            self._done.append(_result(block, self._names))
            return
        self._is_open = True
        if kind == "text":
            gap = "\n\n" if self._text and self._before != "text" else ""
            self._text += gap + block["text"]
        elif kind == "thinking":
            self._thoughts.append(block["thinking"])
        elif kind in _USES:
            self._names[block.get("id")] = block.get("name", "")
            head = {"type": "function"} if block.get("id") is None else {"type": "function", "id": block["id"]}
            arguments = {} if block.get("input") is None else block["input"]
            self._calls.append({**head, "function": {"name": block.get("name", ""), "arguments": arguments}})
        elif kind == "redacted_thinking":
            self._note("redacted_thinking_dropped", "encrypted reasoning was dropped")
        else:
            self._parts.append(_part(block))
        self._before = kind

    def _note(self, code: str, message: str) -> None:
        self._notes.append(Note(code, message, f"message {self._index}"))

    def _close(self) -> None:
        content: Any = self._text
        if self._parts:
            content = [*([{"type": "text", "text": content}] if content else []), *self._parts]
        message = {**self._head, "content": content}
        thoughts = [thought for thought in self._thoughts if thought]
        if thoughts:
            message["reasoning_content"] = "\n\n".join(thoughts)
        elif self._thoughts:
            self._note("hidden_thinking_dropped", "reasoning without its text was dropped")
        if self._calls:
            message["tool_calls"] = self._calls
        self._done.append(message)
        self._clear()


def _of_user(head: Message, blocks: Sequence[Mapping[str, Any]], names: Mapping[Any, str]) -> list[Message]:
    results = [_result(block, names, head) for block in blocks if block["type"] == "tool_result"]
    rest = [block for block in blocks if block["type"] != "tool_result"]
    return [*results, {**head, "content": _content(rest)}] if rest or not results else results


def _result(block: Mapping[str, Any], names: Mapping[Any, str], head: Message | None = None) -> Message:
    content = block.get("content")
    if isinstance(content, list):
        content = _content([_part_of_result(part) for part in content])
    elif content is not None and not isinstance(content, str):
        content = json_text(content)
    message: Message = {**(head or {}), "role": "tool", "content": content or ""}
    call_id = block.get("tool_use_id")
    if call_id is not None:
        message["tool_call_id"] = call_id
    if names.get(call_id):
        message["name"] = names[call_id]
    if block.get("is_error") is True:
        message["is_error"] = True
    return message


def _part_of_result(part: Any) -> Mapping[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return mapping(part, "a part of a 'tool_result'")


def _content(blocks: Sequence[Mapping[str, Any]]) -> Any:
    """One text, or parts where there is something else."""
    if all(block.get("type", "text") == "text" and isinstance(block.get("text"), str) for block in blocks):
        return "\n".join(block["text"] for block in blocks)
    return [_part(block) for block in blocks]


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "cache_control"}
