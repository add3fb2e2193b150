"""What a person names on the command line → rows: files, the standard input, folders and names of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chatspan.errors import SourceError
from chatspan.rows.dialects.sessions import PEEKED_RECORDS, SessionKind, may_be_session, rows_of_session, session_kind
from chatspan.rows.files import (
    JsonArraySource,
    JsonLinesSource,
    ParquetSource,
    Passed,
    TableSource,
    error_line,
    is_one_object,
    no_rows,
    unreadable,
)
from chatspan.rows.marks import hash_of, written_out
from chatspan.rows.notes import Note
from chatspan.rows.packed import DAMAGE, PACKED, STDIN, kept_stdin, opened
from chatspan.rows.row import RawRow, Source
from chatspan.rows.steps.json_bytes import json_value

_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_SUFFIXES = (*_JSON_SUFFIXES, ".parquet")
# Rows of a table that have one mark.
_PIECE_ROWS = 256
# What can be told without a look into the file; all else is tried as JSON lines.
_OTHER_SUFFIXES = (".tsv", ".xlsx", ".zip", ".tar", ".pkl", ".npz", ".yaml")
_TABLES = (".arrow", ".csv")


def open_source(name: str, *, split: str = "train", subset: str | None = None) -> Source:
    """The rows of a file, a folder or a data set of the Hugging Face hub.

    Args:
        name: a file of JSON lines, a JSON array, Parquet, Arrow or CSV, by its ending (``.gz``, ``.bz2``, ``.xz`` or
            ``.zst`` may follow those of JSON; a ``.json`` file may also be one object over many lines, which is a row);
            a folder that :mod:`datasets` can load; a name on the hub; or ``-``, the standard input.
        split, subset: of a folder or a data set of the hub.

    Raises:
        SourceError: there is no such thing, it cannot be read, or it has no rows.

    A file of JSON lines that is a session log of a coding agent has a row for each conversation in it.
    """
    if name == STDIN:
        name = str(kept_stdin())
    path = Path(name)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix not in PACKED), "")
    if path.is_dir():
        return _DatasetSource(name, split, subset)
    if not path.exists():
        if kind in (*_SUFFIXES, *_TABLES) or path.is_absolute() or name.startswith((".", "~")):
            raise SourceError(f"there is no file {name}: check the path")
        return _DatasetSource(name, split, subset)
    try:
        if path.stat().st_size == 0:
            raise SourceError(f"{name} is empty: use a file with one JSON object per line, or a Parquet file")
        if kind == ".parquet":
            return ParquetSource(path)
        if kind in _TABLES:
            return TableSource(path)
        if kind in _OTHER_SUFFIXES:
            raise SourceError(
                f"{name} is {kind}; chatspan reads JSON lines, JSON arrays, Parquet, Arrow and CSV: convert it"
            )
        with opened(path) as file:
            begins_with = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if begins_with == b"[" or (kind == ".json" and is_one_object(path)):
            return JsonArraySource(path)
        session = _session_kind(path)
        return JsonLinesSource(path) if session is None else _SessionSource(path, session)
    except DAMAGE as error:
        raise unreadable(name, error) from None


def read_row(source: Source, index: int) -> RawRow:
    """One row.

    Raises:
        SourceError: there are fewer.
    """
    found = next(source.rows(index), None)
    if found is None:
        count = sum(1 for _ in source.rows())
        raise SourceError(f"{source.name} has {count:,} rows, from 0 on: there is no row {index}")
    return found


class _SessionSource:
    """A session log: its lines together make conversations, so all of it has to be in memory."""

    def __init__(self, path: Path, kind: SessionKind) -> None:
        self.name = str(path)
        self.notes: list[Note] = []
        with opened(path) as file:
            data = file.read()
        self._mark = hash_of(data)
        lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
        records = []
        for number, line in enumerate(lines, 1):
            record = _record(line)
            if record is not None:
                records.append(record)
            elif number < len(lines):
                # The last line may be half written: the session may go on.
                raise SourceError(f"{path} is a session log, but its line {number} is not a JSON object; fix the line")
        self._rows = rows_of_session(records, self.notes, kind=kind)
        if not self._rows:
            raise SourceError(f"{path} is a session log without an answer in it: use another file")

    def rows(self, start: int = 0, passed: Passed | None = None) -> Iterator[RawRow]:
        count, name = len(self._rows), Path(self.name).name
        for index in range(count):
            place = name if count == 1 else f"{name}, conversation {index + 1}"
            if index >= start:
                yield RawRow(index, place, self._rows[index], (index + 1) / count, self._mark)
            elif passed is not None:
                passed(self._mark)


def _session_kind(path: Path) -> SessionKind | None:
    """Whose session log a file is; of other files only the first line is read."""
    records: list[Any] = []
    with opened(path) as file:
        for line in file:
            line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            records.append(_record(line))
            if not may_be_session(records[0]) or len(records) == PEEKED_RECORDS:
                break
            if (kind := session_kind(records)) is not None:
                return kind
    return session_kind(records)


def _record(line: bytes) -> dict[str, Any] | None:
    """A line that is a JSON object; ``None`` for any other."""
    try:
        value = json_value(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class _DatasetSource:
    """What :mod:`datasets` loads: a folder of files, one of ``save_to_disk``, a name on the hub."""

    def __init__(self, name: str, split: str, subset: str | None) -> None:
        self.name = name
        self._folder = name if Path(name).is_dir() else None
        try:
            import datasets
        except ImportError:
            raise SourceError(
                f"{name} is not a file, and data sets of the hub and folders need the library datasets: "
                "pip install datasets"
            ) from None
        datasets.disable_progress_bars()
        try:
            if (Path(name) / "state.json").exists():
                self._rows: Any = datasets.load_from_disk(name)
            elif (Path(name) / "dataset_dict.json").exists():
                self._rows = datasets.load_from_disk(str(Path(name) / split))
            else:
                streamed = not Path(name).is_dir()
                self._rows = datasets.load_dataset(name, subset, split=split, streaming=streamed)
        # There is no common base of what datasets, pyarrow, fsspec and the hub raise here.
        except Exception as error:
            what = "folder" if Path(name).is_dir() else "file, nor a data set of the hub that can be reached"
            raise SourceError(f"{name} is not a {what}: {error_line(error)}; see --split and --subset") from None
        self._count = getattr(self._rows, "num_rows", None)
        if self._count == 0:
            raise no_rows(name)

    def rows(self, start: int = 0, passed: Passed | None = None) -> Iterator[RawRow]:
        if self._count is None:
            return self._streamed(start, passed)
        return self._loaded(start, passed, self._count)

    def _streamed(self, start: int, passed: Passed | None) -> Iterator[RawRow]:
        """Of a stream, whose rows come one after the other: a row's mark is its value."""
        index = 0 if passed is not None else start
        try:
            for row in self._rows.skip(index) if index else self._rows:
                if index < start and passed is not None:
                    passed(written_out(row))
                else:
                    yield RawRow(index, f"row {index}", row)
                index += 1
        # There is no common base of what is raised here either.
        except Exception as error:
            raise SourceError(f"{self.name} cannot be read after row {index}: {error_line(error)}") from None
        if not index:
            raise no_rows(self.name)

    def _loaded(self, start: int, passed: Passed | None, count: int) -> Iterator[RawRow]:
        """Of a table in memory or in files: a row's mark is a hash of its piece of the table."""
        marks = _TableMarks(self._rows)
        for index in range(min(start, count) if passed is not None else 0):
            passed(marks[index])  # type: ignore[misc]
        index = start
        while index < count:
            try:
                for row in self._rows.skip(index):
                    position = (index + 1) / count
                    yield RawRow(index, f"row {index}", row, position, marks[index], folder=self._folder)
                    index += 1
            except SourceError:
                raise
            except OSError as error:
                raise SourceError(f"{self.name} cannot be read after row {index}: {error_line(error)}") from None
            # A value that cannot be decoded, such as an image that is none, is that row's fault alone.
            except Exception as error:
                failure = f"{type(error).__name__}: {error_line(error)}"
                yield RawRow(index, f"row {index}", None, (index + 1) / count, marks[index], failure)
                index += 1


class _TableMarks:
    """Marks of the rows of a :class:`datasets.Dataset`: the hash of each piece, as Arrow writes it."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows.with_format("arrow")
        self._piece, self._mark = -1, b""

    def __getitem__(self, index: int) -> bytes:
        import pyarrow as pa

        piece = index // _PIECE_ROWS
        if piece != self._piece:
            sink = pa.BufferOutputStream()
            try:
                table = self._rows[piece * _PIECE_ROWS : (piece + 1) * _PIECE_ROWS]
                with pa.ipc.new_stream(sink, table.schema) as stream:
                    stream.write_table(table)
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"row {index} and those beside it cannot be read: {error_line(error)}") from None
            self._piece, self._mark = piece, hash_of(sink.getvalue())
        return self._mark
