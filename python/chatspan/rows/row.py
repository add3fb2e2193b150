"""A row of a data set as it was read, not looked into yet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from chatspan.errors import RowError


@dataclass(frozen=True)
class RawRow:
    """A row as it was read; worker processes look into it.

    Attributes:
        index: from 0, of the rows.
        place: where a person finds it: ``"data.jsonl:17"``, ``"row 16"``.
        value: the bytes of a JSON line, or the row.
        position: how much of the data set has been read with it, from 0 to 1; ``None`` where nobody knows.
    """

    index: int
    place: str
    value: bytes | Mapping[str, Any]
    position: float | None = None

    def parsed(self) -> Mapping[str, Any]:
        """The row as a dict.

        Raises:
            RowError: it is not JSON, or no JSON object; with ``row_index``.
        """
        value: Any = self.value
        if isinstance(value, bytes):
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                what = error.msg.removesuffix(" at")
                raise self.error(f"not JSON: {what} at character {error.pos}; mend the line") from None
            except UnicodeDecodeError as error:
                raise self.error(f"not UTF-8 text: {error.reason} at byte {error.start}; mend the line") from None
            except RecursionError:
                raise self.error("JSON that is nested too deeply") from None
        if not isinstance(value, Mapping):
            raise self.error(f"a row is a JSON object, not {type(value).__name__}; mend the line")
        return value

    def error(self, message: str) -> RowError:
        """An error with the row's place."""
        return RowError(message, row_index=self.index, row_place=self.place)


class Source(Protocol):
    """A data set that can be read from any row on, again and again."""

    name: str
    """What messages call it."""

    def rows(self, start: int = 0) -> Iterator[RawRow]:
        """The rows from the one with this index on."""
