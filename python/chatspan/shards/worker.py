"""A shard: rows → encodings → the bytes of a file, and of one of the rows that fail → files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from chatspan.encoder import ChatEncoder
from chatspan.errors import ChatspanError
from chatspan.rows.row import RawRow
from chatspan.shards.columns import SCHEMA, WEIGHTED_SCHEMA, columns_of
from chatspan.shards.files import table_bytes
from chatspan.shards.plan import EncodePlan
from chatspan.shards.whole_files import write_json, write_whole
from chatspan.supervised.rows import IGNORED, SupervisedRow, outcomes_of

# Rows that are tokenized in one call. More do not make it faster, and take more memory.
_ROWS_AT_ONCE = 32
# Words of rows are in some notes, and roles are: a data set with thousands of them shall not fill a record.
_WORDS_KEPT = 50


@dataclass
class ShardRecord:
    """What became of a shard's rows; written behind the shard, so that its being there says that the shard is whole.

    Attributes:
        rows, rejected: of the source.
        tokens, trained: of the rows that were written.
        cut: rows that were cut to ``max_length``.
        notes: in how many rows a reader changed something, by what it was.
        roles: how many rows have a message of each role.
    """

    rows: int = 0
    rejected: int = 0
    tokens: int = 0
    trained: int = 0
    cut: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    roles: dict[str, int] = field(default_factory=dict)


@dataclass
class ShardWorker:
    """What a process needs to write shards.

    Attributes:
        plan: what is written.
        folder: where to.
        encoder: that of the plan's tokenizer and template.
    """

    plan: EncodePlan
    folder: Path
    encoder: ChatEncoder


@dataclass(frozen=True)
class Shard:
    """A shard that can be written.

    Attributes:
        number: from 0.
        table: its file, as a buffer of Arrow, which goes to another process without a copy.
        rejects: the file of its rejected rows.
        record: what became of its rows.
    """

    number: int
    table: Any
    rejects: bytes
    record: ShardRecord


def write_shard(worker: ShardWorker, rows: Sequence[RawRow]) -> ShardRecord:
    """Encodes rows and writes their shard."""
    shard = make_shard(worker, rows)
    save_shard(worker.folder, shard)
    return shard.record


def make_shard(worker: ShardWorker, rows: Sequence[RawRow]) -> Shard:
    """Encodes rows; nothing is written yet. The same rows give the same bytes."""
    options = worker.plan.supervised()
    record, rejects = ShardRecord(rows=len(rows)), []
    batches = []
    each = iter(rows)
    while some := list(islice(each, _ROWS_AT_ONCE)):
        outcomes = outcomes_of(worker.encoder.pipeline, some, options)
        made = [(row.index, each) for row, each in zip(some, outcomes, strict=True) if isinstance(each, SupervisedRow)]
        rejects += [_reject(row, each) for row, each in zip(some, outcomes, strict=True) if isinstance(each, Exception)]
        if made:
            batches.append(_batch(made, record))
    record.rejected = len(rejects)
    lines = "".join(json.dumps(reject, ensure_ascii=False, default=str) + "\n" for reject in rejects)
    schema = WEIGHTED_SCHEMA if options.has_weights else SCHEMA
    return Shard(
        number=rows[0].index // worker.plan.rows_per_shard,
        table=table_bytes(batches, worker.plan.file_format, schema),
        rejects=lines.encode("utf-8", "surrogatepass"),
        record=record,
    )


def _batch(made: Sequence[tuple[int, SupervisedRow]], record: ShardRecord) -> Any:
    """The rows as a record batch, counted."""
    for _, row in made:
        record.tokens += len(row.encoding)
        record.trained += int((row.labels != IGNORED).sum())
        record.cut += row.encoding.truncated > 0
        _count(record.notes, (note.message for note in row.notes))
        _count(record.roles, row.encoding.roles)
    weights = [row.weights for _, row in made if row.weights is not None]
    return columns_of(
        [index for index, _ in made],
        [row.encoding for _, row in made],
        [row.labels for _, row in made],
        weights or None,
    )


def _count(counts: dict[str, int], words: Iterable[str]) -> None:
    """Counts a row's words, each once."""
    for word in dict.fromkeys(words):
        if word in counts or len(counts) < _WORDS_KEPT:
            counts[word] = counts.get(word, 0) + 1


def save_shard(folder: Path, shard: Shard) -> None:
    """Writes a shard, its rejects and its record, in this order."""
    write_whole(shard_path(folder, shard.number), memoryview(shard.table))
    write_whole(rejects_path(folder, shard.number), shard.rejects)
    write_json(record_path(folder, shard.number), vars(shard.record))


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard lies while the run is not finished."""
    return folder / f"{number:05}.shard"


def rejects_path(folder: Path, number: int) -> Path:
    """Where its rejected rows lie."""
    return folder / f"{number:05}.rejects.jsonl"


def record_path(folder: Path, number: int) -> Path:
    """Where its record lies."""
    return folder / f"{number:05}.json"


def _reject(row: RawRow, error: Exception) -> dict[str, Any]:
    value: Any = row.value
    if isinstance(value, bytes):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = value.decode("utf-8", "replace").rstrip("\r\n")
    return {
        "row_index": row.index,
        "place": row.place,
        "error": type(error).__name__,
        "message": error.message if isinstance(error, ChatspanError) else str(error),
        "message_index": getattr(error, "message_index", None),
        "row": value,
    }
