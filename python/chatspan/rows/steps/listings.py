"""A list of messages, in whichever dialect its items are → messages in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.errors import RowError
from chatspan.rows.dialects.found import Found, shown
from chatspan.rows.dialects.items import messages_of
from chatspan.rows.notes import Note
from chatspan.rows.options import Format
from chatspan.rows.steps.plain import decoded
from chatspan.rows.steps.seen import seen_messages


def read(value: Any, column: str, form: Format | None = None) -> Found:
    """The messages of a column.

    Args:
        form: the dialect of the items; ``None``: they tell.

    Raises:
        RowError: it is no list of messages; with ``message_index`` where it is about one.
    """
    value = decoded(value)
    if not isinstance(value, (list, tuple)) or not value:
        raise RowError(f"its {column!r} must be a list with at least one message, got {shown(value)}")
    seen = seen_messages(value) if type(value) is list else None
    if seen is not None and seen.is_openai and form not in ("sharegpt", "anthropic"):
        return Found(list(value), columns=frozenset({column}), seen=seen)
    for index, item in enumerate(value):
        if type(item) is not dict and not isinstance(item, Mapping):
            raise RowError(
                f"message {index} of {column!r} must be a dict with 'role' and 'content', got {shown(item)}",
                message_index=index,
            )
    notes: list[Note] = []
    return Found(messages_of(value, form, notes), columns=frozenset({column}), notes=notes)


def positions(value: Any, form: Format | None, indices: Sequence[int]) -> list[int]:
    """Where messages of a column stand, counted as the row counts them, in the messages that were made of them.

    A dialect may make several messages of one, or one of several.

    Args:
        indices: of the row's own messages.
    """
    value = decoded(value)
    found: list[int] = []
    for index in indices:
        # What a message becomes depends on no later one.
        first, end = (len(messages_of(value[:count], form, [])) if count else 0 for count in (index, index + 1))
        found += range(first, end) if end > first else [end - 1]
    return found
