"""What a reader changed in a row, or left unread, and where."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

# Words of rows are in some notes: a data set with thousands of them shall not fill the log.
_KINDS_TOLD = 50
logger = logging.getLogger("chatspan")


@dataclass(frozen=True)
class Note:
    """One thing that a reader did to a row.

    Attributes:
        code: the kind of it, a word that does not change: ``"tool_arguments_parsed"``.
        message: what was done, in the same words for each row; without the row's own texts.
        place: where in the row: ``"message 3, tool_calls[0]"``; empty for the row as a whole.
        message_index: of the message that it is about, in the messages as they were read.

    Example:
        >>> from chatspan.rows.notes import Note
        >>> str(Note("tool_arguments_parsed", "arguments were JSON text and are read as an object", "message 3"))
        'message 3: arguments were JSON text and are read as an object'
    """

    code: str
    message: str
    place: str = ""
    message_index: int | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class NoteLog:
    """Says each kind of note once, with the first place that has it: what a run changed in its rows."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, notes: Iterable[Note], row: str) -> None:
        """Logs the kinds that were not told yet.

        Args:
            row: where a person finds the row.
        """
        for note in notes:
            if note.message not in self._told and len(self._told) < _KINDS_TOLD:
                self._told.add(note.message)
                place = f"{row}, {note.place}" if note.place else row
                logger.warning("rows: %s; first in %s", note.message, place)
