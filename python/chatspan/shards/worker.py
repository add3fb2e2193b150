"""A shard: rows → encodings → the bytes of a file, and of one of the rows that fail → files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from chatspan.attribute.media import NO_INPUTS
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encoder import ChatEncoder
from chatspan.errors import ChatspanError
from chatspan.rows.conversations import Chat
from chatspan.rows.marks import digest_of
from chatspan.rows.row import RawRow, naming
from chatspan.shards import whole_files
from chatspan.shards.columns import columns_of, columns_of_arrays, schema_of
from chatspan.shards.files import table_file
from chatspan.shards.plan import EncodePlan
from chatspan.shards.records import ShardRecord, file_print, rejects_path, shard_path, write_record
from chatspan.shards.whole_files import write_whole
from chatspan.supervised.labelled import labelled_batch
from chatspan.supervised.options import SupervisedOptions
from chatspan.supervised.rows import IGNORED, SupervisedRow, outcomes_of

# Rows that are tokenized in one call. More do not make it faster, and take more memory.
_ROWS_AT_ONCE = 32
# Words of rows are in some notes, and roles are: a data set with thousands of them shall not fill a record.
_WORDS_KEPT = 50
# Of binary data in a row that is rejected.
_LONGEST_BYTES = 1000


@dataclass
class ShardWorker:
    """What a process needs to write shards.

    Attributes:
        plan: what is written.
        folder: where to.
        encoder: that of the plan's tokenizer and template.
        run: which run it is, see :func:`chatspan.shards.plan.run_of`.
    """

    plan: EncodePlan
    folder: Path
    encoder: ChatEncoder
    run: str = ""


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
    options, pipeline = worker.plan.supervised(), worker.encoder.pipeline
    record, rejects = ShardRecord(run=worker.run, rows=len(rows), made_of=digest_of(rows)), []
    schema = schema_of(weights=options.has_weights, media=pipeline.processor is not None)
    each = iter(rows)
    with table_file(worker.plan.file_format, schema) as file:
        while some := list(islice(each, _ROWS_AT_ONCE)):
            left, batch = _quick_batch(pipeline, some, options, record)
            if batch is not None:
                file.add(batch)
            outcomes = list(zip(left, _outcomes(pipeline, left, options), strict=True))
            made = [(row.index, each) for row, each in outcomes if isinstance(each, SupervisedRow)]
            rejects += [_reject(row, each) for row, each in outcomes if isinstance(each, Exception)]
            if made:
                with naming(some):
                    file.add(_batch(made, record, has_media=pipeline.processor is not None))
        table = file.finish()
    record.rejected = len(rejects)
    lines = "".join(map(_line, rejects)).encode("utf-8", "surrogatepass")
    record.shard, record.rejects = file_print(memoryview(table)), file_print(lines)
    return Shard(number=rows[0].index // worker.plan.rows_per_shard, table=table, rejects=lines, record=record)


def _outcomes(
    pipeline: EncodingPipeline, rows: Sequence[RawRow], options: SupervisedOptions
) -> list[SupervisedRow | Exception | None]:
    """What became of rows; of a processor, whose tensors are large and are not written, one by one without them."""
    if pipeline.processor is None:
        return outcomes_of(pipeline, rows, options) if rows else []
    found = []
    for row in rows:
        [made] = outcomes_of(pipeline, [row], options)
        if isinstance(made, SupervisedRow):
            made = replace(made, encoding=replace(made.encoding, _model_inputs=NO_INPUTS))
        found.append(made)
    return found


def _quick_batch(
    pipeline: EncodingPipeline, rows: Sequence[RawRow], options: SupervisedOptions, record: ShardRecord
) -> tuple[Sequence[RawRow], Any]:
    """The rows that the core labels as a record batch, counted, or ``None`` for none; and those that are left."""
    found = labelled_batch(pipeline, rows, options, with_whose=True)
    kept = [] if found is None else found.trained
    # None of so many tokens that the column could not count them.
    columns = found.tokens.rows.columns(kept) if found is not None and kept else None
    if found is None or columns is None:
        return rows, None
    for index in kept:
        _count_row(record, found.tokens.counts[index], found.chats[index], found.roles[index])
    return found.left(rows), columns_of_arrays([rows[index].index for index in kept], *columns)


def _batch(made: Sequence[tuple[int, SupervisedRow]], record: ShardRecord, *, has_media: bool) -> Any:
    """The rows as a record batch, counted."""
    for _, row in made:
        counts = (len(row.encoding), int((row.labels != IGNORED).sum()), row.encoding.truncated)
        _count_row(record, counts, row.chat, row.encoding.roles)
    weights = [row.weights for _, row in made if row.weights is not None]
    return columns_of(
        [index for index, _ in made],
        [row.encoding for _, row in made],
        [row.labels for _, row in made],
        weights or None,
        [row.chat.messages for _, row in made] if has_media else None,
    )


def _count_row(record: ShardRecord, counts: tuple[int, int, int], chat: Chat, roles: Iterable[str]) -> None:
    tokens, trained, cut = counts
    record.tokens += tokens
    record.trained += trained
    record.cut += cut > 0
    _count(record.notes, (note.message for note in chat.notes))
    _count(record.roles, roles)


def _count(counts: dict[str, int], words: Iterable[str]) -> None:
    """Counts a row's words, each once."""
    for word in dict.fromkeys(words):
        if word in counts or len(counts) < _WORDS_KEPT:
            counts[word] = counts.get(word, 0) + 1


def save_shard(folder: Path, shard: Shard) -> None:
    """Writes a shard and its rejects, and when both are on the disk its record."""
    write_whole(shard_path(folder, shard.number), memoryview(shard.table), sync_folder=False)
    if shard.rejects:
        write_whole(rejects_path(folder, shard.number), shard.rejects, sync_folder=False)
    whole_files.disk.sync_folder(folder)
    write_record(folder, shard.number, shard.record)


def _line(reject: dict[str, Any]) -> str:
    """A reject as a line of JSON, also where its row is none."""
    try:
        return json.dumps(reject, ensure_ascii=False, default=_shown, allow_nan=False) + "\n"
    # A key that no JSON has, a number of too many digits, a NaN, an object that is not what it says.
    except Exception:
        return json.dumps({**reject, "row": _text(reject["row"])}, ensure_ascii=False, default=str) + "\n"


def _shown(value: Any) -> str:
    """What is no JSON; not the data of an image, which are long."""
    is_long = isinstance(value, (bytes, bytearray)) and len(value) > _LONGEST_BYTES
    return f"<{len(value):,} bytes>" if is_long else str(value)


def _text(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


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
