"""What it costs to know the input again: ``python benches/input_marks.py [--rows N]``.

``chatspan encode`` hashes the rows of each shard, and a resume compares those of the shards that are there. Both as
parts of the time that encoding the same rows takes, one process, for each kind of file.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from chatspan import ChatEncoder
from chatspan.rows.marks import RowsDigest, digest_of
from chatspan.rows.parallel import in_chunks
from chatspan.rows.sources import open_source
from chatspan.shards.plan import EncodePlan
from chatspan.shards.records import is_print_of, shard_path
from chatspan.shards.worker import ShardWorker, make_shard, save_shard
from encode_files import _write as write_lines
from inputs import DEFAULT_ZOO
from tables import Report
from transformers import AutoTokenizer

_ROWS_PER_SHARD = 500


def main() -> None:
    """Encodes files of each kind, and does alone what a first run and a resume do to know the rows again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=DEFAULT_ZOO, help="the folder of tokenizers and traces")
    parser.add_argument("--tokenizer", default="qwen2_5", help="its name in the zoo")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is done; the shortest counts")
    arguments = parser.parse_args()
    encoder = ChatEncoder(AutoTokenizer.from_pretrained(arguments.zoo / "tokenizers" / arguments.tokenizer))
    encoder.warm_up()
    report = Report()
    report.say(f"{os.cpu_count()} CPUs (load {os.getloadavg()[0]:.1f}); {arguments.rows:,} real conversations")
    table = report.table(
        "chatspan encode, one process",
        ["file", "MB", "encode, s", "hash rows", "compare rows", "compare shards", "sync"],
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = write_lines(arguments.zoo, folder / "data.jsonl", arguments.rows)
        for path in (lines, *_others(lines)):
            seconds = _measured(path, encoder, folder, arguments.rounds)
            whole = seconds.pop("encode")
            shares = [f"{each / whole:.2%}" for each in seconds.values()]
            size = path.stat().st_size / 1e6 if path.is_file() else sum(f.stat().st_size for f in path.iterdir()) / 1e6
            table.add_row(path.name, f"{size:,.0f}", f"{whole:.2f}", *shares)
    report.show(
        table,
        "Hash rows: part of a first run, in its workers. Compare rows: reading and hashing all of the input again, as",
        "a resume at the very end does. Compare shards: hashing what was written. Sync: writing it, on the disk.",
    )


def _others(lines: Path) -> list[Path]:
    """The same rows in files of other kinds; what differs from row to row as JSON text, as tables have it."""
    import datasets

    rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    columns = [{"turns": json.dumps(row["turns"])} for row in rows]
    pq.write_table(pa.Table.from_pylist(columns), lines.with_suffix(".parquet"), row_group_size=256)
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(columns).save_to_disk(str(lines.with_name("saved")))
    return [lines.with_suffix(".parquet"), lines.with_name("saved")]


def _measured(path: Path, encoder: ChatEncoder, folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of all, and of its parts."""
    worker = ShardWorker(
        EncodePlan(source=str(path), tokenizer="", rows_per_shard=_ROWS_PER_SHARD), folder, encoder, ""
    )
    chunks = list(in_chunks(open_source(str(path)).rows(), _ROWS_PER_SHARD))
    rows = sum(map(len, chunks))
    shards = [make_shard(worker, chunk) for chunk in chunks]
    if any(shard.record.rejected for shard in shards):
        raise SystemExit(f"{path.name}: rows were rejected: {shards[0].rejects[:300]!r}")

    def encode() -> None:
        for chunk in in_chunks(open_source(str(path)).rows(), _ROWS_PER_SHARD):
            make_shard(worker, chunk)

    def compare_rows() -> None:
        digest = RowsDigest()
        next(open_source(str(path)).rows(rows, digest.add), None)

    def compare_shards() -> None:
        for shard in shards:
            is_print_of(shard_path(folder, shard.number), shard.record.shard)

    def save() -> None:
        for shard in shards:
            save_shard(folder, shard)

    parts: dict[str, Callable[[], Any]] = {
        "encode": encode,
        "hash": lambda: [digest_of(chunk) for chunk in chunks],
        "compare": compare_rows,
        "sync": save,
        "shards": compare_shards,
    }
    found = {name: min(_seconds(part) for _ in range(rounds)) for name, part in parts.items()}
    return {name: found[name] for name in ("encode", "hash", "compare", "shards", "sync")}


def _seconds(part: Callable[[], Any]) -> float:
    began = time.perf_counter()
    part()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
