"""Runs of ``chatspan encode`` that are killed at a random moment, and pairs of runs in one folder."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

from chatspan import ChatEncoder
from encode_runs import REFUSED, Run, children, ended, forked, kill, require_no_survivors
from encoded_files import chat, contents, write_rows

# Of the input, and of these the ones that are rejected; files that are written.
ROWS, REJECTED, SHARDS = 60, 9, 20
# How many processes encode, and which of them are killed.
VICTIMS = [(1, "all"), (2, "all"), (2, "main"), (2, "worker")]
SECONDS_TO_END = 5


def run_to_kill(folder: Path, encoder: ChatEncoder) -> Run:
    """A run of many small files."""
    rows = [chat(i) if i % 7 else "broken" for i in range(ROWS)]
    return Run(write_rows(folder / "data.jsonl", rows), encoder, {"rows_per_shard": ROWS // SHARDS})


def seconds_of(run: Run, out: Path, processes: int) -> float:
    """How long an undisturbed run takes."""
    began = time.monotonic()
    assert ended(forked(lambda: run(out, processes=processes))) == 0
    return time.monotonic() - began


def kill_at_a_moment(
    run: Run, out: Path, whole: Mapping[str, bytes], number: int, seconds: Mapping[int, float]
) -> bool:
    """Kills a run and runs it again, which has to write what an undisturbed one does.

    Args:
        whole: that.
        seconds: how long one takes, by its number of processes.

    Returns:
        Whether it was killed between its first file and its last.
    """
    chance = Random(number)
    processes, victim = VICTIMS[number % len(VICTIMS)]
    process = forked(lambda: run(out, processes=processes))
    time.sleep(chance.uniform(0, seconds[processes]))
    workers = children(process)
    if victim == "worker" and workers:
        kill(chance.choice(workers))
    elif victim == "all":
        try:
            os.killpg(process, signal.SIGKILL)
        except ProcessLookupError:
            kill(process)
    else:
        kill(process)
    code = ended(process)
    require_no_survivors(process, SECONDS_TO_END)
    done = len(list((out / ".unfinished").glob("[0-9]*.json"))) if out.exists() else 0
    summary = run(out, processes=chance.choice((1, 1, 2)))
    assert (summary.rows, summary.rejected) == (ROWS, REJECTED), number
    assert contents(out) == whole, number
    return code != 0 and 0 < done < SHARDS


def pair_in_one_folder(run: Run, out: Path, whole: Mapping[str, bytes], number: int) -> bool:
    """Two runs at once, of which one may be refused. Returns whether it was."""
    pair = [forked(lambda p=processes: run(out, processes=p)) for processes in (1, 1 + number % 2)]  # type: ignore[misc]
    codes = sorted(map(ended, pair))
    assert codes in ([0, 0], [0, REFUSED]), number
    assert contents(out) == whole, number
    return codes[1] == REFUSED
