"""What a message says of an error: of a tool that failed, and of the call that made it."""

from __future__ import annotations

from typing import Any

from chatspan.rows.messages import Message

# The keys of a message that are a trace's own.
ERROR_KEYS = ("tool_error", "error_meta", "is_error")


def without_errors(
    messages: list[Message], keys: frozenset[str] | None = None
) -> tuple[list[Message], dict[int, tuple[Any, Any]], frozenset[int]]:
    """The messages without what they say of errors: that by message, and the messages that say that they failed.

    Args:
        keys: of all messages, where they are known.
    """
    found: dict[int, tuple[Any, Any]] = {}
    if (frozenset().union(*messages) if keys is None else keys).isdisjoint(ERROR_KEYS):
        return messages, found, frozenset()
    failed = frozenset(index for index, message in enumerate(messages) if message.get("is_error") is True)
    without = []
    for index, message in enumerate(messages):
        if "tool_error" in message or "error_meta" in message or "is_error" in message:
            if message.get("tool_error") is not None:
                found[index] = (message["tool_error"], message.get("error_meta"))
            message = {key: value for key, value in message.items() if key not in ERROR_KEYS}
        without.append(message)
    return without, found, failed
