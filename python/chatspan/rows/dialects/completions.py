"""A prompt and its completion: as texts, as messages, or one of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatspan.rows.dialects.calls import decoded
from chatspan.rows.dialects.found import Found, Message, listed, mapping
from chatspan.rows.dialects.items import messages_of
from chatspan.rows.notes import Note


def is_completion(row: Mapping[str, Any]) -> bool:
    """Whether a row has a prompt and a completion."""
    return row.get("prompt") is not None and row.get("completion") is not None


def of_completion(row: Mapping[str, Any]) -> Found:
    """The messages of ``prompt`` and ``completion``; ``completion_from`` says where the completion begins.

    A text in place of messages becomes a user's message in the prompt and an assistant's in the completion. Messages
    may be in any dialect.

    Raises:
        DialectError: one of the two is neither text nor a list of messages.

    Example:
        >>> found = of_completion({"prompt": "2+2?", "completion": "4"})
        >>> found.messages, found.completion_from
        ([{'role': 'user', 'content': '2+2?'}, {'role': 'assistant', 'content': '4'}], 1)
    """
    notes: list[Note] = []
    prompt = _messages(row["prompt"], "prompt", "user", notes)
    completion = _messages(row["completion"], "completion", "assistant", notes)
    return Found(
        [*prompt, *completion],
        completion_from=len(prompt),
        columns=frozenset({"prompt", "completion"}),
        notes=notes,
    )


def _messages(value: Any, column: str, role: str, notes: list[Note]) -> list[Message]:
    found = decoded(value)
    if isinstance(value, str) and not _is_conversation(found):
        notes.append(Note(f"{column}_text_read", f"the text of {column!r} is read as a message of role {role!r}"))
        return [{"role": role, "content": value}]
    if isinstance(found, Mapping):
        found = [found]
    items = [
        dict(mapping(item, f"message {number} of {column!r}"))
        for number, item in enumerate(listed(found, repr(column)))
    ]
    return messages_of(items, None, notes)


def _is_conversation(value: Any) -> bool:
    """Whether JSON text held messages, and not an answer that happens to be JSON."""
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, Mapping) and ("role" in item or "from" in item) for item in items)
