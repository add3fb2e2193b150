"""The small conversations that show what a template writes around assistants' messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]

USER: Message = {"role": "user", "content": "Zu"}
NEXT_USER: Message = {"role": "user", "content": "Zn"}
SYSTEM: Message = {"role": "system", "content": "Zs"}
CALL: Message = {"type": "function", "id": "abcdefghi", "function": {"name": "Zf", "arguments": {"Za": "Zx"}}}
ANOTHER_CALL: Message = {**CALL, "id": "abcdefghj"}
RESULT: Message = {"role": "tool", "name": "Zf", "tool_call_id": "abcdefghi", "content": "Zt"}
ANOTHER_RESULT: Message = {**RESULT, "tool_call_id": "abcdefghj", "content": "Zy"}
SCHEMA: Message = {
    "type": "function",
    "function": {"name": "Zf", "description": "Zz", "parameters": {"type": "object", "properties": {}}},
}
# Under the names that templates read.
REASONING = {"reasoning_content": "Zr", "thinking": "Zr"}


def assistant(content: str | None, **keys: Any) -> Message:
    """An assistant's message."""
    return {"role": "assistant", "content": content, **keys}


def calling(*calls: Message, **keys: Any) -> Message:
    """An assistant's message with calls alone."""
    return assistant("", tool_calls=list(calls or [CALL]), **keys)


def as_parts(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages as templates want them that take lists of parts only."""
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message.get("content"), str)
        else dict(message)
        for message in messages
    ]
