"""What the reader of rows changed."""

from __future__ import annotations

from collections.abc import Iterator

from chatspan.audit.findings import Finding
from chatspan.rows.conversations import Chat

READ = "rows that the reader changed"


def reader_notes(chat: Chat) -> Iterator[Finding]:
    """What was done to a row before it was rendered, by what was done."""
    for note in getattr(chat, "notes", ()):
        # The message has a place of its own beside the quote.
        quote = note.place if note.message_index is None else note.place.partition(", ")[2]
        yield Finding(READ, note.message, "note", "", note.message_index, quote)
