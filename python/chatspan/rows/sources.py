"""What a person names on the command line → rows: JSON lines, JSON arrays, Parquet, folders and names of the hub."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from chatspan.errors import SourceError, one_line
from chatspan.rows.dialects.sessions import PEEKED_RECORDS, SessionKind, may_be_session, rows_of_session, session_kind
from chatspan.rows.notes import Note
from chatspan.rows.row import RawRow, Source

_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_SUFFIXES = (*_JSON_SUFFIXES, ".parquet")
# What can be told without a look into the file; all else is tried as JSON lines.
_OTHER_SUFFIXES = (".csv", ".tsv", ".xlsx", ".arrow", ".zst", ".xz", ".bz2", ".zip", ".tar", ".pkl", ".npz", ".yaml")


def open_source(name: str, *, split: str = "train", subset: str | None = None) -> Source:
    """The rows of a file, a folder or a data set of the Hugging Face hub.

    Args:
        name: a file of JSON lines, a JSON array or a Parquet file, by its ending (``.gz`` may follow those of JSON); a
            folder that :mod:`datasets` can load; or a name on the hub.
        split, subset: of a folder or a data set of the hub.

    Raises:
        SourceError: there is no such thing, it cannot be read, or it has no rows.

    A file of JSON lines that is a session log of a coding agent has a row for each conversation in it.
    """
    path = Path(name)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")
    if path.is_dir():
        return _DatasetSource(name, split, subset)
    if not path.exists():
        if kind in _SUFFIXES or path.is_absolute() or name.startswith((".", "~")):
            raise SourceError(f"there is no file {name}: check the path")
        return _DatasetSource(name, split, subset)
    try:
        if path.stat().st_size == 0:
            raise SourceError(f"{name} is empty: name a file with one JSON object a line, or a Parquet file")
        if kind == ".parquet":
            return _ParquetSource(path)
        if kind in _OTHER_SUFFIXES:
            raise SourceError(f"{name} is {kind}; chatspan reads JSON lines, JSON arrays, Parquet: convert it")
        with _opened(path) as file:
            begins_with = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if begins_with == b"[":
            return _JsonArraySource(path)
        session = _session_kind(path)
        return _JsonLinesSource(path) if session is None else _SessionSource(path, session)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(name, error) from None


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


class _JsonLinesSource:
    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._size = path.stat().st_size
        self._is_packed = path.suffix == ".gz"

    def rows(self, start: int = 0) -> Iterator[RawRow]:
        try:
            with _opened(self._path) as file:
                any_row = False
                for row in self._rows(file, start):
                    any_row = True
                    yield row
            if not any_row and start == 0:
                raise _no_rows(self.name)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(self.name, error) from None

    def _rows(self, file: IO[bytes], start: int) -> Iterator[RawRow]:
        index, read = 0, 0
        for number, line in enumerate(file, 1):
            read += len(line)
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            if index >= start:
                position = None if self._is_packed else min(1.0, read / self._size)
                yield RawRow(index, f"{self._path.name}:{number}", line, position)
            index += 1


class _SessionSource:
    """A session log: its lines together make conversations, so all of it has to be in memory."""

    def __init__(self, path: Path, kind: SessionKind) -> None:
        self.name = str(path)
        self.notes: list[Note] = []
        with _opened(path) as file:
            lines = [line for line in file.read().removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
        records = []
        for number, line in enumerate(lines, 1):
            record = _record(line)
            if record is not None:
                records.append(record)
            elif number < len(lines):
                # The last line may be half written: the session may go on.
                raise SourceError(f"{path} is a session log, but its line {number} is no JSON object; fix the line")
        self._rows = rows_of_session(records, self.notes, kind=kind)
        if not self._rows:
            raise SourceError(f"{path} is a session log without an answer in it: name another file")

    def rows(self, start: int = 0) -> Iterator[RawRow]:
        count, name = len(self._rows), Path(self.name).name
        for index in range(start, count):
            place = name if count == 1 else f"{name}, conversation {index + 1}"
            yield RawRow(index, place, self._rows[index], (index + 1) / count)


def _session_kind(path: Path) -> SessionKind | None:
    """Whose session log a file is; of other files only the first line is read."""
    records: list[Any] = []
    with _opened(path) as file:
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
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class _JsonArraySource:
    """A whole file, which has to be in memory."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            with _opened(path) as file:
                self._values = json.load(file)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SourceError(f"{path} begins with '[' but is no JSON array: {error}; fix it") from None
        if not self._values:
            raise _no_rows(str(path))

    def rows(self, start: int = 0) -> Iterator[RawRow]:
        count = len(self._values)
        for index in range(start, count):
            yield RawRow(index, f"row {index}", self._values[index], (index + 1) / count)


class _ParquetSource:
    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        with self._file() as file:
            self._count = file.metadata.num_rows
        if not self._count:
            raise _no_rows(str(path))

    def _file(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self._path)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{self._path} cannot be read as Parquet: {_line(error)}") from None

    def rows(self, start: int = 0) -> Iterator[RawRow]:
        import pyarrow as pa

        index = 0
        with self._file() as file:
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                if index + size <= start:
                    index += size
                    continue
                try:
                    for batch in file.iter_batches(256, row_groups=[group]):
                        skipped = min(max(0, start - index), batch.num_rows)
                        index += skipped
                        for row in batch.slice(skipped).to_pylist():
                            yield RawRow(index, f"row {index}", row, (index + 1) / self._count)
                            index += 1
                except (pa.ArrowException, OSError) as error:
                    raise SourceError(f"{self._path} cannot be read behind row {index}: {_line(error)}") from None


class _DatasetSource:
    """What :mod:`datasets` loads: a folder of files, one of ``save_to_disk``, a name on the hub."""

    def __init__(self, name: str, split: str, subset: str | None) -> None:
        self.name = name
        try:
            import datasets
        except ImportError:
            raise SourceError(
                f"{name} is no file, and data sets of the hub and folders need the library datasets: "
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
            what = "folder" if Path(name).is_dir() else "file, and no data set of the hub that can be reached"
            raise SourceError(f"{name} is no {what}: {_line(error)}; see --split and --subset") from None
        self._count = getattr(self._rows, "num_rows", None)
        if self._count == 0:
            raise _no_rows(name)

    def rows(self, start: int = 0) -> Iterator[RawRow]:
        rows = self._rows.skip(start) if start else self._rows
        index = start
        try:
            for row in rows:
                position = None if self._count is None else (index + 1) / self._count
                yield RawRow(index, f"row {index}", row, position)
                index += 1
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.name} cannot be read behind row {index}: {_line(error)}") from None
        if not index:
            raise _no_rows(self.name)


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _unreadable(name: str, error: Exception) -> SourceError:
    return SourceError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}")


def _no_rows(name: str) -> SourceError:
    return SourceError(f"{name} has no rows in it: name a file with one JSON object a line, or a Parquet file")


def _line(error: BaseException) -> str:
    return one_line(error).rstrip(".") or type(error).__name__
