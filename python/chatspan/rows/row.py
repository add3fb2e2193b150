"""A row of a data set as it was read, not looked into yet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from chatspan.errors import RowError
from chatspan.rows.steps.plain import plain_row


@dataclass(frozen=True)
class RawRow:
    """A row as it was read; worker processes look into it.

    Attributes:
        index: from 0, of the rows.
        place: where a person finds it: ``"data.jsonl:17"``, ``"row 16"``.
        value: the bytes of a JSON line; or the row: a mapping, a dataclass, a row of pandas or pyarrow.
        position: how much of the data set has been read with it, from 0 to 1; ``None`` where nobody knows.
    """

    index: int
    place: str
    value: Any
    position: float | None = None

    def parsed(self) -> Mapping[str, Any]:
        """The row's columns.

        Raises:
            RowError: it is not JSON, or no row; with ``row_index``.
        """
        value: Any = self.value
        if isinstance(value, bytes):
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                what = error.msg.removesuffix(" at")
                raise self.error(f"not JSON: {what} at character {error.pos}; fix the line") from None
            except UnicodeDecodeError as error:
                raise self.error(f"not UTF-8 text: {error.reason} at byte {error.start}; fix the line") from None
            except RecursionError:
                raise self.error("JSON that is nested too deeply") from None
            if not isinstance(value, Mapping):
                raise self.error(f"a row is a JSON object, not {_json_name(value)}; fix the line")
            return value
        row = plain_row(value)
        if row is None:
            raise self.error(_no_row(value))
        return row

    def error(self, message: str) -> RowError:
        """An error with the row's place."""
        return RowError(message, row_index=self.index, row_place=self.place)


class Source(Protocol):
    """A data set that can be read from any row on, again and again."""

    name: str
    """What messages call it."""

    def rows(self, start: int = 0) -> Iterator[RawRow]:
        """The rows from the one with this index on."""


def _json_name(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _no_row(value: Any) -> str:
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
        return "got a list of messages where a row was expected: give {'messages': [...]}"
    return f"a row is a dict with a column of messages, a dataclass, or a row of a table; got {type(value).__name__}"
