"""Messages in whichever dialect they are → messages in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.rows.dialects import anthropic, sharegpt
from chatspan.rows.dialects.found import Message
from chatspan.rows.notes import Note
from chatspan.rows.options import Format


def messages_of(items: Sequence[Mapping[str, Any]], form: Format | None, notes: list[Note]) -> list[Message]:
    """The messages of a list of dicts.

    Args:
        form: their dialect; ``None``: they tell.
        notes: what was changed is added here.

    Raises:
        DialectError: a message is of the wrong form.

    Example:
        >>> messages_of([{"from": "human", "value": "Hi"}], None, [])
        [{'role': 'user', 'content': 'Hi'}]
    """
    if form == "sharegpt" or (form is None and sharegpt.is_sharegpt(items)):
        return sharegpt.of_sharegpt(items, notes)
    if form == "anthropic" or (form is None and anthropic.is_anthropic(items)):
        return anthropic.of_anthropic(items, notes)
    return list(items)  # type: ignore[arg-type]
