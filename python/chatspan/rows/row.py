"""A row of a data set as it was read, not looked into yet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from chatspan.errors import RowError, SourceError, is_a, one_line
from chatspan.rows.steps.json_bytes import json_value
from chatspan.rows.steps.plain import items_of, plain_row


@dataclass(frozen=True)
class RawRow:
    """A row as it was read; worker processes look into it.

    Attributes:
        index: from 0, of the rows.
        place: where a person finds it: ``"data.jsonl:17"``, ``"row 16"``.
        value: the bytes of a JSON line; or the row: a mapping, a dataclass, a row of pandas or pyarrow.
        position: how much of the data set has been read with it, from 0 to 1; ``None`` where nobody knows.
        mark: what changes if the row changes, such as a hash of the part of the file that it is from; ``None``: the
            value itself, see :func:`chatspan.rows.marks.mark_of`.
        failure: why its value could not be read; it has none then.
        folder: where files that it names by relative paths are looked for, if they are not there from the working
            directory: that of the file it was read from.
    """

    index: int
    place: str
    value: Any
    position: float | None = None
    mark: bytes | None = None
    failure: str | None = None
    folder: str | None = None

    def parsed(self) -> Mapping[str, Any]:
        """The row's columns.

        Raises:
            RowError: it is not JSON, or no row; with ``row_index``.
        """
        value: Any = self.value
        if self.failure is not None:
            raise self.error(f"it cannot be read: {self.failure}")
        if isinstance(value, bytes):
            try:
                value = json_value(value)
            except json.JSONDecodeError as error:
                what = error.msg.removesuffix(" at")
                raise self.error(f"not JSON: {what} at character {error.pos}; fix the line") from None
            except UnicodeDecodeError as error:
                raise self.error(f"not UTF-8 text: {error.reason} at byte {error.start}; fix the line") from None
            except RecursionError:
                raise self.error("JSON that is nested too deeply") from None
            except ValueError as error:
                # Python reads no decimal number of more than some thousands of digits.
                raise self.error(f"a number that cannot be read: {one_line(error)}; fix the line") from None
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

    def rows(self, start: int = 0, passed: Callable[[bytes], object] | None = None) -> Iterator[RawRow]:
        """The rows from the one with this index on.

        Args:
            passed: is given the mark of each row before it, see :func:`chatspan.rows.marks.mark_of`.

        Raises:
            BrokenSourceError: no more can be read; the rows before were given.
            SourceError: it cannot be read, or has no rows.
        """


class BrokenSourceError(SourceError):
    """A container that is damaged, such as a gzip file that was cut: ``row_index`` is the first row that is lost."""


class UntilBroken:
    """The rows of a source, up to where it is broken; reading on is over then, and no error.

    Attributes:
        error: what broke it; ``None`` as long as nothing did.
    """

    def __init__(self, rows: Iterable[RawRow]) -> None:
        self._rows = rows
        self.error: BrokenSourceError | None = None

    def __iter__(self) -> Iterator[RawRow]:
        try:
            yield from self._rows
        except BrokenSourceError as error:
            self.error = error


# Where an error keeps which rows it is of; an attribute goes to other processes with it.
ROWS_OF_ERROR = "chatspan_rows"


@contextmanager
def naming(rows: Sequence[RawRow]) -> Iterator[None]:
    """An error that nobody foresaw says which rows were worked on."""
    try:
        yield
    except Exception as error:
        if not hasattr(error, ROWS_OF_ERROR) and rows:
            first, last = rows[0].place, rows[-1].place
            setattr(error, ROWS_OF_ERROR, first if len(rows) == 1 else f"{first} to {last}")
        raise


def _json_name(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _no_row(value: Any) -> str:
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
        # A message has a role, which no row has.
        if not any("role" in item or "from" in item for item in value):
            return "got a list of rows where a row was expected: a batch in a batch; pass the rows in one list"
        return "got a list of messages where a row was expected: pass {'messages': [...]}"
    return f"a row is a dict with a column of messages, a dataclass, or a row of a table; got {type(value).__name__}"


def rows_between(rows: Any, start: int, end: int) -> list[Any]:
    """Some of the rows that :func:`listed_rows` gives, by their numbers.

    Raises:
        RowError: there are fewer than they say.
    """
    some = []
    for index in range(start, min(end, len(rows))):
        try:
            some.append(rows[index])
        except IndexError:
            raise RowError(f"the rows claim {len(rows)} items, but have none at {index}") from None
    return some


def listed_rows(rows: Any) -> Any:
    """Rows that have a length and are got by their numbers, as those of a list or a data set.

    Raises:
        RowError: they are something else.
    """
    kind = type(rows)
    is_list = hasattr(kind, "__len__") and hasattr(kind, "__getitem__") and not is_a(rows, (str, bytes, Mapping, type))
    if not is_list:
        raise RowError(f"expected a list of rows, got {kind.__name__}")
    if not is_a(rows, (list, tuple)) or kind in (list, tuple):
        return rows
    try:
        return items_of(rows)
    except ValueError as error:
        raise RowError(f"expected a list of rows: {one_line(error)}") from None
