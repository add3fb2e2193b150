"""A batch on all cores against as many independent processes: what the batch's own parallelism is worth."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from chatspan import ChatEncoder
from inputs import Inputs
from tables import Report, median, ratio

_ROWS, _MESSAGES = 64, 80
_TARGET = 0.85
# A round takes a quarter of a second, and what two cores are worth changes from one to the next.
_TIMES = 5
# How many threads the core has, read when it first needs them.
_THREADS = "FASTOKENS_BPE_THREADS"


def report_cores(report: Report, inputs: Inputs, rounds: int) -> None:
    """Prints what a second core gains, by threads of one process and by a second process."""
    rows = inputs.joined_rows(_MESSAGES)
    if not rows:
        report.say("3b. A batch on all cores: left out, there are too few conversations\n")
        return
    batch = [rows[index % len(rows)] for index in range(_ROWS)]
    cores = os.cpu_count() or 1
    with _workers(inputs.tokenizer, batch, [None, *["1"] * cores]) as (threaded, *single):
        times = np.array([[_run(single[:1]), _run([threaded]), _run(single)] for _ in range(rounds * _TIMES)])
    gains = {"threads": times[:, 0] / times[:, 1], "processes": cores * times[:, 0] / times[:, 2]}
    table = report.table(
        f"3b. encode_batch of {_ROWS} rows of {_MESSAGES} messages at first sight, {cores} cores",
        ["by", "one thread ms", "all cores ms", "speed-up"],
    )
    table.add_row("threads of one process", median(times[:, 0]), median(times[:, 1]), ratio(gains["threads"]))
    what = f"{cores} processes, a batch each"
    table.add_row(what, median(times[:, 0]), f"{median(times[:, 2])}, {cores} batches", ratio(gains["processes"]))
    of_processes = gains["threads"] / gains["processes"]
    met = "met" if np.median(of_processes) >= _TARGET else "NOT met"
    report.show(table, f"Threads reach {ratio(of_processes)} of what processes reach. Target: {_TARGET}: {met}.")


@contextmanager
def _workers(tokenizer: Any, batch: Sequence[Any], threads: Sequence[str | None]) -> Iterator[list[Connection]]:
    """Processes that encode the batch as often as they are told, each with so many threads."""
    context = multiprocessing.get_context("spawn")
    processes, ends = [], []
    for count in threads:
        end, other = context.Pipe()
        before = os.environ.get(_THREADS)
        try:
            if count is not None:
                os.environ[_THREADS] = count
            process = context.Process(target=_work, args=(other, tokenizer, batch), daemon=True)
            process.start()
        finally:
            os.environ.pop(_THREADS, None)
            if before is not None:
                os.environ[_THREADS] = before
        processes.append(process)
        ends.append(end)
    try:
        for end in ends:
            end.recv()
        yield ends
    finally:
        for end, process in zip(ends, processes, strict=True):
            end.send(False)
            process.join()


def _run(workers: Sequence[Connection]) -> float:
    """Milliseconds until all of them have encoded the batch."""
    start = time.perf_counter()
    for worker in workers:
        worker.send(True)
    for worker in workers:
        worker.recv()
    return (time.perf_counter() - start) * 1e3


def _work(end: Connection, tokenizer: Any, batch: Sequence[Any]) -> None:
    encoder = ChatEncoder(tokenizer, backend="native", cache_bytes=0)
    for _ in range(2):
        encoder.encode_batch(batch)
    end.send(True)
    while end.recv():
        encoder.encode_batch(batch)
        end.send(True)
