"""Files → rows: JSON lines, a JSON array, Parquet, Arrow, CSV. A row that cannot be read costs no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from chatspan.errors import SourceError, one_line
from chatspan.rows.marks import hash_of
from chatspan.rows.packed import DAMAGE, PACKED, opened
from chatspan.rows.row import BrokenSourceError, RawRow
from chatspan.rows.steps.json_bytes import json_value

Passed = Callable[[bytes], object]

# Rows that are made of a table at once.
_ROWS_AT_ONCE = 256
# Of CSV: a conversation may be a long line of it.
_BLOCK_BYTES = 1 << 24


class JsonLinesSource:
    """A JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._folder = str(path.parent)
        self._size = path.stat().st_size
        self._is_packed = path.suffix.lower() in PACKED

    def rows(self, start: int = 0, passed: Passed | None = None) -> Iterator[RawRow]:
        """See :class:`chatspan.rows.row.Source`; the mark of a row is its line."""
        index = 0
        try:
            with opened(self._path) as file:
                for row in self._rows(file):
                    index = row.index + 1
                    if row.index >= start:
                        yield row
                    elif passed is not None:
                        passed(row.value)
        except DAMAGE as error:
            if index and getattr(error, "errno", None) is None:
                raise broken(self.name, index, error) from None
            raise unreadable(self.name, error) from None
        if not index:
            raise no_rows(self.name)

    def _rows(self, file: IO[bytes]) -> Iterator[RawRow]:
        index, read, name = 0, 0, self._path.name
        for number, line in enumerate(file, 1):
            read += len(line)
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line or line.isspace():
                continue
            position = None if self._is_packed else min(1.0, read / self._size)
            yield RawRow(index, f"{name}:{number}", line, position, folder=self._folder)
            index += 1


class JsonArraySource:
    """A JSON array, or one object that is the only row: a whole file, which has to be in memory."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._folder = str(path.parent)
        with opened(path) as file:
            data = file.read()
        self._mark = hash_of(data)
        self._broken: str | None = None
        try:
            found = json_value(data)
            self._values: list[Any] = found if isinstance(found, list) else [found]
        # Also a number that is too long for Python, which is that row's fault alone.
        except (ValueError, RecursionError) as error:
            self._values = []
            try:
                self._values.extend(_items(data.decode("utf-8-sig")))
            except (ValueError, RecursionError):
                self._broken = one_line(error)
            if self._broken is not None and not self._values:
                raise SourceError(f"{path} begins with '[' but is not a JSON array: {self._broken}; fix it") from None
        if not self._values:
            raise no_rows(str(path))

    def rows(self, start: int = 0, passed: Passed | None = None) -> Iterator[RawRow]:
        """See :class:`chatspan.rows.row.Source`; the mark of each row is the hash of the file."""
        count = len(self._values)
        for _ in range(min(start, count) if passed is not None else 0):
            passed(self._mark)  # type: ignore[misc]
        for index in range(start, count):
            value, position = self._values[index], (index + 1) / count
            yield RawRow(index, f"row {index}", value, position, self._mark, folder=self._folder)
        if self._broken is not None:
            raise broken(self.name, count, self._broken)


def is_one_object(path: Path) -> bool:
    """Whether a file is one JSON object over many lines, and so no file of JSON lines."""
    with opened(path) as file:
        first = file.readline().removeprefix(b"\xef\xbb\xbf")
        if not first.strip().startswith(b"{"):
            return False
        try:
            json_value(first)
        except (ValueError, RecursionError):
            pass
        else:
            return False
        try:
            return isinstance(json_value(first + file.read()), dict)
        except (ValueError, RecursionError):
            return False


def _items(text: str) -> Iterator[Any]:
    """The items of an array, one by one; one that Python cannot read as the bytes that it is written in.

    Raises:
        ValueError, RecursionError: here the array ends that can be read.
    """
    decoder, lenient = json.JSONDecoder(), json.JSONDecoder(parse_int=len)
    at = _after_blanks(text, text.index("[") + 1)
    while not text.startswith("]", at):
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            raise
        except ValueError:
            _, end = lenient.raw_decode(text, at)
            value = text[at:end].encode("utf-8", "surrogatepass")
        yield value
        at = _after_blanks(text, end)
        if text.startswith(",", at):
            at = _after_blanks(text, at + 1)
        elif not text.startswith("]", at):
            raise ValueError("the array does not continue")


def _after_blanks(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


class ParquetSource:
    """A Parquet file, a row group at a time."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        with self._file() as file:
            self._count = file.metadata.num_rows
        if not self._count:
            raise no_rows(str(path))

    def _file(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self._path)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{self._path} cannot be read as Parquet: {error_line(error)}") from None

    def rows(self, start: int = 0, passed: Passed | None = None) -> Iterator[RawRow]:
        """See :class:`chatspan.rows.row.Source`; the mark of a row is the hash of its row group, as it is packed."""
        import pyarrow as pa

        index = 0
        with self._file() as file, self._path.open("rb") as raw:
            for group in range(file.num_row_groups):
                about = file.metadata.row_group(group)
                end = index + about.num_rows
                try:
                    mark = _group_mark(raw, about) if passed is not None or end > start else b""
                    for _ in range(min(end, start) - index if passed is not None else 0):
                        passed(mark)  # type: ignore[misc]
                    if end <= start:
                        index = end
                        continue
                    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group]):
                        skipped = min(max(0, start - index), batch.num_rows)
                        index += skipped
                        for row in self._rows_of(batch.slice(skipped), index, mark):
                            yield row
                            index += 1
                except (pa.ArrowException, OSError) as error:
                    if getattr(error, "errno", None) is None and index:
                        raise broken(self.name, index, error) from None
                    raise SourceError(f"{self._path} cannot be read after row {index}: {error_line(error)}") from None

    def _rows_of(self, batch: Any, first: int, mark: bytes) -> Iterator[RawRow]:
        """Rows of a table; one whose values cannot be read says why."""
        try:
            values: list[Any] | None = batch.to_pylist()
        # A text that is no UTF-8, a time that no calendar has: which row it is shows one by one.
        except Exception:
            values = None
        for offset in range(batch.num_rows):
            value, failure = None, None
            if values is not None:
                value = values[offset]
            else:
                try:
                    value = batch.slice(offset, 1).to_pylist()[0]
                except Exception as error:
                    failure = f"{type(error).__name__}: {error_line(error)}"
            index = first + offset
            position = (index + 1) / self._count
            yield RawRow(index, f"row {index}", value, position, mark, failure, str(self._path.parent))


def _group_mark(raw: IO[bytes], about: Any) -> bytes:
    """The hash of a row group's bytes in the file."""
    found = []
    for number in range(about.num_columns):
        column = about.column(number)
        first = column.data_page_offset
        if column.dictionary_page_offset is not None:
            first = min(first, column.dictionary_page_offset)
        raw.seek(first)
        found.append(hash_of(raw.read(column.total_compressed_size)))
    return hash_of(b"".join(found))


class TableSource:
    """Arrow's own file, or CSV, whose columns hold JSON where they hold more than text; a batch of rows at a time."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._is_csv = path.suffix.lower() == ".csv"
        if next(self.rows(), None) is None:
            raise no_rows(str(path))

    def rows(self, start: int = 0, passed: Passed | None = None) -> Iterator[RawRow]:
        """See :class:`chatspan.rows.row.Source`; the mark of a row is the hash of its batch."""
        import pyarrow as pa

        index = 0
        try:
            for batch in self._batches():
                mark = hash_of(batch.serialize().to_pybytes())
                for value in batch.to_pylist():
                    if index >= start:
                        yield RawRow(index, f"row {index}", value, None, mark, folder=str(self._path.parent))
                    elif passed is not None:
                        passed(mark)
                    index += 1
        except (pa.ArrowException, OSError, ValueError) as error:
            if index and getattr(error, "errno", None) is None:
                raise broken(self.name, index, error) from None
            kind = "CSV" if self._is_csv else "Arrow"
            raise SourceError(f"{self._path} cannot be read as {kind}: {error_line(error)}") from None

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa
        from pyarrow import csv

        if self._is_csv:
            # Texts have line feeds, and a column of JSON stays text until the reader of rows takes it.
            yield from csv.open_csv(
                self._path,
                read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(strings_can_be_null=True),
            )
            return
        with pa.OSFile(str(self._path)) as file:
            try:
                whole = pa.ipc.open_file(file)
            except pa.ArrowInvalid:
                # As datasets keeps its tables.
                file.seek(0)
                yield from pa.ipc.open_stream(file)
                return
            for number in range(whole.num_record_batches):
                yield whole.get_batch(number)


def broken(name: str, index: int, error: object) -> BrokenSourceError:
    """What is said of a container that ends before its end."""
    what = error_line(error) if isinstance(error, BaseException) else str(error)
    return BrokenSourceError(
        f"{name} is broken after its first {index:,} rows: {what}; these were read; get an intact file for the others",
        row_index=index,
    )


def unreadable(name: str, error: Exception) -> SourceError:
    """What is said of a file that cannot be read."""
    return SourceError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}")


def no_rows(name: str) -> SourceError:
    """What is said of an empty one."""
    return SourceError(f"{name} contains no rows: use a file with one JSON object per line, or a Parquet file")


def error_line(error: BaseException) -> str:
    """What another library says, in a line."""
    return one_line(error).rstrip(".") or type(error).__name__
