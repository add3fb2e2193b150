"""What a dialect makes of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chatspan.errors import RowError
from chatspan.rows.messages import shown
from chatspan.rows.notes import Note

if TYPE_CHECKING:
    from chatspan.rows.steps.seen import SeenMessages

__all__ = ["DialectError", "Found", "Message", "listed", "mapping", "shown"]

Message = dict[str, Any]


@dataclass
class Found:
    """A conversation in OpenAI's shape: what a dialect made of a row.

    Attributes:
        messages: new dicts; the row's own stay as they are.
        tools: of the dialect's own columns or texts; ``None`` where it has none.
        completion_from: the first message of a completion; ``None`` where the row has no prompt apart.
        columns: the columns that were read.
        notes: what was changed.
        seen: what a look at the messages told, where they are the row's own.
    """

    messages: list[Message]
    tools: list[Any] | None = None
    completion_from: int | None = None
    columns: frozenset[str] = frozenset()
    notes: list[Note] = field(default_factory=list)
    seen: SeenMessages | None = None


class DialectError(RowError):
    """A row that is not what its dialect says; the reader adds the row's place."""


def listed(value: Any, what: str) -> Sequence[Any]:
    """A list of at least one item.

    Raises:
        DialectError: it is something else.
    """
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or not value:
        raise DialectError(f"{what} must be a list with at least one item, got {shown(value)}")
    return value


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """A dict.

    Raises:
        DialectError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise DialectError(f"{what} must be a dict, got {shown(value)}")
    return value
