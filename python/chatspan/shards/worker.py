"""A shard: rows → encodings → the bytes of a file, and of one of the rows that fail → files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.encoder import ChatEncoder
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError
from chatspan.rows.conversations import Chat, chat_of
from chatspan.rows.row import RawRow
from chatspan.shards.columns import columns_of
from chatspan.shards.files import table_bytes
from chatspan.shards.plan import EncodePlan
from chatspan.shards.whole_files import write_json, write_whole

# Rows that are tokenized in one call. More do not make it faster, and take more memory.
_ROWS_AT_ONCE = 32


@dataclass
class ShardRecord:
    """What became of a shard's rows; written behind the shard, so that its being there says that the shard is whole.

    Attributes:
        rows, rejected: of the source.
        tokens, trained: of the rows that were written.
        cut: rows that were cut to ``max_length``.
    """

    rows: int = 0
    rejected: int = 0
    tokens: int = 0
    trained: int = 0
    cut: int = 0


@dataclass
class ShardWorker:
    """What a process needs to write shards.

    Attributes:
        plan: what is written.
        folder: where to.
        encoder: that of the plan's tokenizer and template.
        rejects: of the shard that is being written.
    """

    plan: EncodePlan
    folder: Path
    encoder: ChatEncoder
    rejects: list[dict[str, Any]] = field(default_factory=list)


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
    worker.rejects = []
    record = ShardRecord(rows=len(rows))
    batches = []
    each = iter(rows)
    while some := list(islice(each, _ROWS_AT_ONCE)):
        found = list(_encoded(worker, some))
        if found:
            indices, encodings, labels = zip(*found, strict=True)
            batches.append(columns_of(indices, encodings, labels))
            record.tokens += sum(map(len, encodings))
            record.trained += sum(int((label != -100).sum()) for label in labels)
            record.cut += sum(encoding.truncated > 0 for encoding in encodings)
    record.rejected = len(worker.rejects)
    lines = "".join(json.dumps(reject, ensure_ascii=False, default=str) + "\n" for reject in worker.rejects)
    return Shard(
        number=rows[0].index // worker.plan.rows_per_shard,
        table=table_bytes(batches, worker.plan.file_format),
        rejects=lines.encode("utf-8", "surrogatepass"),
        record=record,
    )


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


Encoded = tuple[int, Encoding, NDArray[np.int64]]


def _encoded(worker: ShardWorker, rows: Sequence[RawRow]) -> Iterator[Encoded]:
    """The rows that can be encoded; the others are rejected."""
    chats: list[tuple[RawRow, Chat]] = []
    for row in rows:
        try:
            chats.append((row, chat_of(row, worker.plan.column)))
        except ChatspanError as error:
            worker.rejects.append(_reject(row, error))
    order: dict[int, Encoded] = {}
    for group in _alike(chats):
        loss_messages = {row.index: chat.loss_messages for row, chat in group}
        for row, encoding in _encode_group(worker, group):
            try:
                labels = encoding.labels(
                    what=worker.plan.loss,
                    messages=loss_messages[row.index],
                    end_of_turn=worker.plan.end_of_turn,
                )
            except ChatspanError as error:
                worker.rejects.append(_reject(row, error))
            else:
                order[row.index] = (row.index, encoding, labels)
    worker.rejects.sort(key=lambda reject: int(reject["row_index"]))
    yield from (order[index] for index in sorted(order))


def _alike(chats: Sequence[tuple[RawRow, Chat]]) -> Iterator[list[tuple[RawRow, Chat]]]:
    """Neighbours with the same tools and keywords, which can be encoded in one call."""
    group: list[tuple[RawRow, Chat]] = []
    for row, chat in chats:
        if group and group[0][1].template_kwargs != chat.template_kwargs:
            yield group
            group = []
        group.append((row, chat))
    if group:
        yield group


def _encode_group(worker: ShardWorker, group: Sequence[tuple[RawRow, Chat]]) -> Iterator[tuple[RawRow, Encoding]]:
    kwargs = group[0][1].template_kwargs
    try:
        encodings = _encode(worker, [chat for _, chat in group], kwargs)
    # One bad row must not cost its neighbours; which one it is shows one by one.
    except Exception as error:
        if len(group) == 1:
            worker.rejects.append(_reject(group[0][0], error))
            return
        for one in group:
            yield from _encode_group(worker, [one])
        return
    yield from zip((row for row, _ in group), encodings, strict=True)


def _encode(worker: ShardWorker, chats: Sequence[Chat], kwargs: Mapping[str, Any]) -> list[Encoding]:
    plan = worker.plan
    return worker.encoder.encode_batch(
        [chat.messages for chat in chats],
        max_length=plan.max_length,
        truncation=plan.truncation,
        special_tokens=plan.special_tokens,
        **kwargs,
    )


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
