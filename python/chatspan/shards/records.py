"""What became of each shard's rows, beside the shard: its being there says that the shard is on the disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chatspan.errors import OutputError
from chatspan.rows.marks import RowsDigest, hex_of
from chatspan.shards.plan import UNFINISHED, Format
from chatspan.shards.whole_files import remove_files, write_json

# Bytes, and their hash.
FilePrint = tuple[int, str]


@dataclass
class ShardRecord:
    """What became of a shard's rows.

    Attributes:
        run: whose shard it is.
        made_of: the digest of the rows, see :class:`chatspan.rows.marks.RowsDigest`.
        shard, rejects: sizes and hashes of the files.
        rows, rejected: of the source.
        tokens, trained: of the rows that were written.
        cut: rows that were cut to ``max_length``.
        notes: in how many rows a reader changed something, by what it was.
        roles: how many rows have a message of each role.
    """

    run: str
    made_of: str
    shard: FilePrint = (0, "")
    rejects: FilePrint = (0, "")
    rows: int = 0
    rejected: int = 0
    tokens: int = 0
    trained: int = 0
    cut: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    roles: dict[str, int] = field(default_factory=dict)


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard lies while the run is not finished."""
    return folder / f"{number:05}.shard"


def rejects_path(folder: Path, number: int) -> Path:
    """Where its rejected rows lie, if there are any."""
    return folder / f"{number:05}.rejects.jsonl"


def record_path(folder: Path, number: int) -> Path:
    """Where its record lies."""
    return folder / f"{number:05}.json"


def write_record(folder: Path, number: int, record: ShardRecord) -> None:
    """Writes a record, by which its shard counts."""
    write_json(record_path(folder, number), {"record": asdict(record), "check": _check(record)})


def _check(record: ShardRecord) -> str:
    return hex_of(json.dumps(asdict(record)).encode())


def written(out: Path) -> dict[int, ShardRecord]:
    """The shards that have a record, by number."""
    return {number: record for number, record in _read(out).items() if record is not None}


def _read(out: Path) -> dict[int, ShardRecord | None]:
    """The records, by number; ``None`` for one that is none."""
    found: dict[int, ShardRecord | None] = {}
    for path in sorted((out / UNFINISHED).glob("[0-9]*.json"), key=lambda path: (len(path.stem), path.stem)):
        if not path.stem.isdecimal():
            continue
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            record = ShardRecord(**fields["record"])
            found[int(path.stem)] = record if fields["check"] == _check(record) else None
        except (ValueError, TypeError, KeyError):
            found[int(path.stem)] = None
    return found


def drop_what_does_not_hold(out: Path, run: str, file_format: Format) -> int:
    """Removes the records that are not of this run, or whose files are not those that they tell of.

    Returns:
        how many they are.
    """
    folder, found = out / UNFINISHED, _read(out)
    names = final_names({number: record for number, record in found.items() if record is not None}, file_format)
    wrong = [
        number
        for number, record in found.items()
        if record is None or record.run != run or not _holds(out, folder, number, record, names.get(number))
    ]
    remove_files(*(record_path(folder, number) for number in wrong))
    return len(wrong)


def _holds(out: Path, folder: Path, number: int, record: ShardRecord, name: str | None) -> bool:
    shard = shard_path(folder, number)
    if not shard.exists() and name is not None:
        # A run that was stopped while it finished had moved it.
        shard = out / name
    if not is_print_of(shard, record.shard):
        return False
    return not record.rejected or is_print_of(rejects_path(folder, number), record.rejects)


def final_names(records: Mapping[int, ShardRecord], file_format: Format) -> dict[int, str]:
    """The names that ``datasets`` knows, of the shards with any rows in them."""
    full = [number for number, record in records.items() if record.rows > record.rejected]
    names = {number: f"{position:05}-of-{len(full):05}" for position, number in enumerate(full)}
    if file_format == "arrow":
        return {number: f"data-{name}.arrow" for number, name in names.items()}
    return {number: f"data/train-{name}.parquet" for number, name in names.items()}


def file_print(data: bytes | memoryview) -> FilePrint:
    """By what a file is known again."""
    return len(data), hex_of(data)


def is_print_of(path: Path, expected: Iterable[Any]) -> bool:
    """Whether a file is there and is the one that is expected."""
    size, digest = expected
    try:
        return bool(path.stat().st_size == size and hex_of(path.read_bytes()) == digest)
    except OSError:
        return False


class PassedRows:
    """Compares rows with those that shards were made of; called with the mark of each.

    Args:
        out, source: what messages call them.
        made_of: how many rows each shard was made of, and their digest.

    Raises:
        OutputError: they are others.
    """

    def __init__(self, out: Path, source: str, made_of: Iterable[tuple[int, str]]) -> None:
        self._out, self._source = out, source
        self._made_of = iter(made_of)
        self._expected = next(self._made_of, None)
        self._first = 0
        self._digest = RowsDigest()

    def __call__(self, mark: bytes) -> None:
        if self._expected is None:
            raise self.other(f"it has more than {self._first:,} rows")
        self._digest.add(mark)
        if self._digest.rows == self._expected[0]:
            self.compare(self._first, self._digest.hexdigest(), self._expected)
            self._first += self._digest.rows
            self._digest, self._expected = RowsDigest(), next(self._made_of, None)

    def compare(self, first: int, digest: str, expected: tuple[int, str]) -> None:
        """Compares the digest of a shard's rows."""
        if digest != expected[1]:
            raise self.other(f"rows {first:,} to {first + expected[0] - 1:,} are not those that were encoded")

    def finish(self) -> None:
        """To be called after the last row."""
        if self._expected is not None:
            raise self.other(f"it has only {self._first + self._digest.rows:,} rows")

    def other(self, what: str) -> OutputError:
        """What is said of a source that has changed."""
        return OutputError(
            f"{self._source} has changed since the run in {self._out}: {what}; use another --out, or "
            "--force to start over"
        )
