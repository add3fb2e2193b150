"""A run from its beginning, or from where it was stopped, to its end."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chatspan.encoder import ChatEncoder
from chatspan.errors import OutputError
from chatspan.rows.parallel import Done, map_chunks
from chatspan.rows.row import RawRow, Source
from chatspan.shards.plan import MANIFEST, UNFINISHED, EncodePlan, Manifest, fingerprint, read_manifest, require_same
from chatspan.shards.whole_files import TEMPORARY, write_json, write_whole
from chatspan.shards.worker import (
    ShardRecord,
    ShardWorker,
    rejects_path,
    shard_path,
    write_shard,
)
from chatspan.supervised.selection import selected_roles

REJECTS = "rejects.jsonl"

Progress = Callable[[int, float | None], None]
# Chunks of rows, a worker, how many of it → what became of each chunk, in order, its shard written.
WriteShards = Callable[[Iterator[Sequence[RawRow]], ShardWorker, int], Iterator[Done[Any]]]


def write_on_this_machine(
    chunks: Iterator[Sequence[RawRow]], worker: ShardWorker, processes: int
) -> Iterator[Done[Any]]:
    """Writes shards in so many processes."""
    return map_chunks(chunks, worker, write_shard, processes)


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes:
        out: the folder.
        rows, rejected, tokens, trained, cut, shards: of the whole run, with what was there before.
        rows_before: the rows that were there before.
        notes: in how many rows a reader changed something, by what it was.
        missing_roles: those that the plan selects and no row has.
    """

    out: str
    rows: int
    rejected: int
    tokens: int
    trained: int
    cut: int
    shards: int
    rows_before: int
    notes: dict[str, int] = field(default_factory=dict)
    missing_roles: list[str] = field(default_factory=list)


def prepare(out: Path, manifest: Manifest, *, force: bool) -> Summary | None:
    """Makes the folder, or looks what is there of the same run; the summary of one that is complete.

    Raises:
        OutputError: something else is there.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: name a folder with --out")
    if force and (out / MANIFEST).exists():
        # Only what a run wrote: there may be other things in the folder.
        for each in (*out.glob("data-*.arrow"), out / "state.json", out / "dataset_info.json", out / REJECTS):
            each.unlink(missing_ok=True)
        for folder in (out / "data", out / UNFINISHED):
            shutil.rmtree(folder, ignore_errors=True)
        (out / MANIFEST).unlink()
    elif out.exists() and any(out.iterdir()):
        require_same(manifest, out)
        found = read_manifest(out)
        if "summary" in found:
            return Summary(**{**found["summary"], "out": str(out), "rows_before": found["summary"]["rows"]})
    (out / UNFINISHED).mkdir(parents=True, exist_ok=True)
    for left in (out / UNFINISHED).glob(f"*{TEMPORARY}"):
        left.unlink()
    write_json(out / MANIFEST, manifest)
    return None


def encode_files(
    source: Source,
    plan: EncodePlan,
    encoder: ChatEncoder,
    out: Path,
    *,
    processes: int,
    progress: Progress,
    write: WriteShards = write_on_this_machine,
) -> Summary:
    """Writes the shards that are not there yet, then finishes. Call :func:`prepare` before.

    Args:
        encoder: that of the plan's tokenizer and template.
        processes: how many work: of this machine, or of Ray's.
        progress: is told of rows that are done and of how much of the data set has been read, from 0 to 1.
        write: where they work; the files are the same. Another one is :func:`chatspan.ray.shards.write_on_ray`.

    Raises:
        SourceError, WorkerError: see :func:`chatspan.rows.parallel.map_chunks`.
        OSError: a shard could not be written; with ``filename``.
    """
    folder = out / UNFINISHED
    before = written(out)
    rows_before = sum(record.rows for record in before.values())
    chunks = _missing(source, plan.rows_per_shard, before, progress)
    encoder.warm_up()
    for done in write(chunks, ShardWorker(plan, folder, encoder), processes):
        progress(done.row_count, done.position)
    records = written(out)
    rows = sum(record.rows for record in records.values())
    roles = _counted(record.roles for record in records.values())
    summary = Summary(
        out=str(out),
        rows=rows,
        rejected=sum(record.rejected for record in records.values()),
        tokens=sum(record.tokens for record in records.values()),
        trained=sum(record.trained for record in records.values()),
        cut=sum(record.cut for record in records.values()),
        shards=_finish(out, folder, records, plan),
        rows_before=rows_before,
        notes=_counted(record.notes for record in records.values()),
        missing_roles=[role for role in selected_roles(plan.train_on) if role not in roles],
    )
    told = {name: value for name, value in asdict(summary).items() if name not in ("out", "rows_before")}
    write_json(out / MANIFEST, {**read_manifest(out), "summary": told})
    shutil.rmtree(folder)
    return summary


def _counted(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part)
    return dict(found.most_common())


def written(out: Path) -> dict[int, ShardRecord]:
    """The shards that are whole, by number."""
    return {
        int(path.stem): ShardRecord(**json.loads(path.read_text(encoding="utf-8")))
        for path in sorted((out / UNFINISHED).glob("[0-9]*.json"))
    }


def _missing(
    source: Source, size: int, before: dict[int, ShardRecord], progress: Progress
) -> Iterator[Sequence[RawRow]]:
    """The rows of each shard that is not there."""
    first = next((number for number in range(len(before) + 1) if number not in before), 0)
    skipped = sum(before[number].rows for number in range(first))
    if skipped:
        progress(skipped, None)
    chunk: list[RawRow] = []
    for row in source.rows(first * size):
        chunk.append(row)
        if len(chunk) == size:
            if chunk[0].index // size in before:
                progress(len(chunk), row.position)
            else:
                yield chunk
            chunk = []
    if chunk and chunk[0].index // size not in before:
        yield chunk


def _finish(out: Path, folder: Path, records: dict[int, ShardRecord], plan: EncodePlan) -> int:
    """Gives the shards the names that ``datasets`` knows. May be stopped and done again; returns how many there are."""
    full = [number for number, record in records.items() if record.rows > record.rejected]
    names = []
    for position, number in enumerate(full):
        name = f"{position:05}-of-{len(full):05}"
        name = f"data-{name}.arrow" if plan.file_format == "arrow" else f"data/train-{name}.parquet"
        names.append(name)
        (out / name).parent.mkdir(exist_ok=True)
        if shard_path(folder, number).exists():
            shard_path(folder, number).replace(out / name)
    rejected = b"".join(rejects_path(folder, number).read_bytes() for number in records)
    if rejected:
        write_whole(out / REJECTS, rejected)
    if plan.file_format == "arrow":
        _write_state(out, names)
    return len(full)


def _write_state(out: Path, names: Sequence[str]) -> None:
    """What ``datasets.load_from_disk`` reads; the features are those of the files' own schema."""
    info: dict[str, Any] = {"citation": "", "description": "", "homepage": "", "license": ""}
    write_json(out / "dataset_info.json", info)
    manifest = read_manifest(out)
    write_json(
        out / "state.json",
        {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": fingerprint(manifest),
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": "train",
        },
    )
