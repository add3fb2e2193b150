"""Inputs of every form for ``chatspan encode``, of which a row changes while a run is stopped."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from chatspan import ChatEncoder, OutputError
from encode_runs import Run
from encoded_files import chat, contents, write_rows

# Of each input; rows of a shard.
ROWS, SIZE = 40, 4


def chats(changed: int | None = None) -> list[dict[str, Any]]:
    """Of the same length, whichever is changed."""
    rows = [chat(100 + i) for i in range(ROWS)]
    if changed is not None:
        rows[changed]["messages"][0]["content"] = rows[changed]["messages"][0]["content"].replace("What", "Whom")
    return rows


def as_lines(folder: Path, changed: int | None = None) -> Path:
    return write_rows(folder / "data.jsonl", chats(changed))


def as_gzip(folder: Path, changed: int | None = None) -> Path:
    """Stored, not compressed: of one size."""
    text = "".join(json.dumps(row) + "\n" for row in chats(changed))
    (folder / "data.jsonl.gz").write_bytes(gzip.compress(text.encode(), 0, mtime=0)[:-8])
    with gzip.open(folder / "data.jsonl.gz", "wb", compresslevel=0) as file:
        file.write(text.encode())
    return folder / "data.jsonl.gz"


def as_array(folder: Path, changed: int | None = None) -> Path:
    (folder / "data.json").write_text(json.dumps(chats(changed)))
    return folder / "data.json"


def as_parquet(folder: Path, changed: int | None = None) -> Path:
    table = pa.Table.from_pylist(chats(changed))
    options: Any = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, folder / "data.parquet", row_group_size=SIZE, **options)
    return folder / "data.parquet"


def as_saved(folder: Path, changed: int | None = None) -> Path:
    datasets.Dataset.from_list(chats(changed)).save_to_disk(str(folder / "saved"))
    return folder / "saved"


KINDS = [as_lines, as_gzip, as_array, as_parquet, as_saved]
# A file that is one value, and a table whose rows are hashed together, notice more than they have to.
EXACT = (as_lines, as_gzip, as_parquet)
NOTICED = ("has changed since the run in ", "are not those that were encoded")


class Stop(Exception):
    pass


def stopping(after: int) -> Callable[[int, float | None], None]:
    seen = iter(range(after - 1))

    def progress(rows: int, position: float | None) -> None:
        if next(seen, None) is None:
            raise Stop

    return progress


def change_between_two_runs(folder: Path, encoder: ChatEncoder, make: Callable[..., Path], number: int) -> str | None:
    """A run is stopped, a row changes, and the run goes on.

    Returns:
        What the second run said when it refused; nothing where the row was still to come, so that all came right.
    """
    chance = Random(number)
    (folder / "whole").mkdir(parents=True)
    source = make(folder)
    run, done, changed = Run(source, encoder, {"rows_per_shard": SIZE}), 1 + number % 9, chance.randrange(ROWS)
    try:
        run(folder / "out", progress=stopping(done))
    except Stop:
        pass
    else:
        raise AssertionError("the run was not stopped")
    times = source.stat()
    make(folder, changed)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    must_notice = changed < done * SIZE
    said = None
    try:
        run(folder / "out")
    except OutputError as error:
        said = str(error)
    if said is not None:
        assert must_notice or make not in EXACT, f"row {changed} had not been encoded: {said}"
        assert any(words in said for words in NOTICED), said
        return said
    assert not must_notice, f"row {changed} of the {done * SIZE} that were encoded has changed, and nobody noticed"
    run(folder / "whole")
    assert contents(folder / "out") == contents(folder / "whole"), number
    return None
