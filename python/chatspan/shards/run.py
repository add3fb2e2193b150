"""A run from its beginning, or from where it was stopped, to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from chatspan.encoder import ChatEncoder
from chatspan.errors import OutputError
from chatspan.rows.marks import digest_of, mark_of
from chatspan.rows.parallel import Done, in_chunks, map_chunks
from chatspan.rows.row import BrokenSourceError, RawRow, Source, UntilBroken
from chatspan.shards.finish import DATA_FILES, DATA_FOLDER, STATE_FILES, finish
from chatspan.shards.lock import LOCK
from chatspan.shards.plan import MANIFEST, UNFINISHED, EncodePlan, Manifest, read_manifest, require_same, run_of
from chatspan.shards.records import (
    PassedRows,
    ShardRecord,
    drop_what_does_not_hold,
    is_print_of,
    written,
)
from chatspan.shards.whole_files import (
    TEMPORARY,
    make_folders,
    remove_files,
    remove_folder,
    remove_temporaries,
    write_json,
)
from chatspan.shards.worker import ShardWorker, write_shard
from chatspan.supervised.selection import selected_roles

Progress = Callable[[int, float | None], None]
Say = Callable[[str], object]

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
        broken: why the source could not be read to its end, if it could not.
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
    broken: str | None = None


def prepare(
    out: Path, manifest: Manifest, *, force: bool, source: Source | None = None, say: Say = lambda line: None
) -> Summary | None:
    """Makes the folder, or looks what is there of the same run, and removes what of it does not hold.

    Args:
        force: begin anew where a run has been.
        source: compared with the rows that a complete run was made of.
        say: is told of what did not hold.

    Returns:
        the summary of a run that is complete.

    Raises:
        OutputError: something else is there, files of a complete run are not those that it wrote, or the source has
            changed.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: use a folder for --out")
    make_folders(out)
    if force and (out / MANIFEST).exists():
        _clear(out)
    elif not _is_new(out):
        require_same(manifest, out)
        found = read_manifest(out)
        if "summary" in found:
            return _complete(out, found, source)
    # Names of inputs may be others than before.
    write_json(out / MANIFEST, manifest)
    remove_temporaries(out, MANIFEST, *STATE_FILES)
    make_folders(out / UNFINISHED)
    remove_temporaries(out / UNFINISHED)
    dropped = drop_what_does_not_hold(out, run_of(manifest), manifest.get("options", {}).get("file_format", "parquet"))
    if dropped:
        say(f"{dropped} of the files in {out} do not match their records: they are written again")
    return None


def _is_new(out: Path) -> bool:
    """Whether there is nothing in the folder but what a run leaves that could not even say what it was."""
    ours = (LOCK, UNFINISHED)
    return all(
        each.name in ours or (each.name.startswith(f"{MANIFEST}.") and each.name.endswith(TEMPORARY))
        for each in out.iterdir()
    )


def _clear(out: Path) -> None:
    """Removes what a run wrote, and only that: there may be other things in the folder. Its manifest goes last."""
    # First the records: none shall be left beside the manifest of another run.
    remove_folder(out / UNFINISHED)
    files = [path for pattern in DATA_FILES for path in out.glob(pattern)]
    remove_files(*files, *(out / name for name in STATE_FILES))
    remove_temporaries(out, MANIFEST, *STATE_FILES)
    data = out / DATA_FOLDER
    if data.is_dir() and not any(data.iterdir()):
        remove_folder(data)


def _complete(out: Path, found: Manifest, source: Source | None) -> Summary:
    """The summary of a run that is complete, if its files and its source are those that they were."""
    for name, expected in found.get("files", {}).items():
        if not is_print_of(out / name, expected):
            raise OutputError(f"{out / name} is not what the run wrote: use --force to start over, or another --out")
    # Where it was stopped when all was done.
    remove_folder(out / UNFINISHED)
    summary = Summary(**{**found["summary"], "out": str(out), "rows_before": found["summary"]["rows"]})
    if source is not None:
        passed = PassedRows(out, source.name, map(tuple, found["made_of"]))
        for row in UntilBroken(source.rows(summary.rows, passed)):
            passed(mark_of(row))
        passed.finish()
    return summary


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
    folder, run = out / UNFINISHED, run_of(read_manifest(out))
    before = written(out)
    rows_before = sum(record.rows for record in before.values())
    rows = _Rows(source, plan.rows_per_shard, before, out, progress)
    encoder.warm_up()
    for done in write(rows.missing(), ShardWorker(plan, folder, encoder, run), processes):
        progress(done.row_count, done.position)
    records = written(out)
    roles = _counted(record.roles for record in records.values())
    files = finish(out, folder, records, plan.file_format)
    summary = Summary(
        out=str(out),
        rows=sum(record.rows for record in records.values()),
        rejected=sum(record.rejected for record in records.values()),
        tokens=sum(record.tokens for record in records.values()),
        trained=sum(record.trained for record in records.values()),
        cut=sum(record.cut for record in records.values()),
        shards=sum(record.rows > record.rejected for record in records.values()),
        rows_before=rows_before,
        notes=_counted(record.notes for record in records.values()),
        missing_roles=[role for role in selected_roles(plan.train_on) if role not in roles],
        broken=None if rows.broken is None else rows.broken.message,
    )
    told = {name: value for name, value in asdict(summary).items() if name not in ("out", "rows_before")}
    made_of = [[record.rows, record.made_of] for record in records.values()]
    write_json(out / MANIFEST, {**read_manifest(out), "summary": told, "files": files, "made_of": made_of})
    remove_folder(folder)
    return summary


def _counted(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part)
    return dict(found.most_common())


class _Rows:
    """The rows of a source: those of shards that are there are compared, the others are to be encoded.

    Attributes:
        broken: why they end before their end, if they do.
    """

    def __init__(
        self, source: Source, size: int, before: dict[int, ShardRecord], out: Path, progress: Progress
    ) -> None:
        self._source, self._size, self._before, self._out, self._progress = source, size, before, out, progress
        self.broken: BrokenSourceError | None = None

    def missing(self) -> Iterator[Sequence[RawRow]]:
        """The rows of each shard that is not there.

        Raises:
            OutputError: rows of one that is there have changed.
        """
        first = next((number for number in range(len(self._before) + 1) if number not in self._before), 0)
        leading = [self._before[number] for number in range(first)]
        passed = PassedRows(self._out, self._source.name, ((record.rows, record.made_of) for record in leading))
        start = sum(record.rows for record in leading)
        rows = UntilBroken(self._source.rows(start, passed if leading else None))
        each = iter(rows)
        after = list(islice(each, 1))
        # All rows of the shards that are there from the beginning on have been passed.
        passed.finish()
        if leading:
            self._progress(start, None)
        if after and start % self._size:
            raise passed.other(f"it has more than {start:,} rows")
        last = first - 1
        for chunk in in_chunks(chain(after, each), self._size):
            last = chunk[0].index // self._size
            record = self._before.get(last)
            if record is None:
                yield chunk
            else:
                passed.compare(chunk[0].index, digest_of(chunk), (record.rows, record.made_of))
                self._progress(len(chunk), chunk[-1].position)
        self.broken = rows.error
        if any(number > last for number in self._before):
            raise passed.other("it has fewer rows")
