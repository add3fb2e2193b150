"""Rows of a data set through worker processes, in chunks, results in order, memory flat."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from chatspan.dataset.rows import RawRow
from chatspan.errors import WorkerError

Worker = TypeVar("Worker")
Result = TypeVar("Result")

# What is read ahead, in chunks a process: enough that none waits, little enough that memory stays flat.
_AHEAD = 2


@dataclass(frozen=True)
class Done(Generic[Result]):
    """What became of a chunk.

    Attributes:
        first_row, row_count: of the chunk.
        position: how much of the data set has been read with it, from 0 to 1, if anybody knows.
        result: what the work made of it.
    """

    first_row: int
    row_count: int
    position: float | None
    result: Result


def map_chunks(
    chunks: Iterator[Sequence[RawRow]],
    make_worker: Callable[[], Worker],
    work: Callable[[Worker, Sequence[RawRow]], Result],
    processes: int,
) -> Iterator[Done[Result]]:
    """Works on chunks of rows, in order.

    Args:
        chunks: of rows; read only a little ahead.
        make_worker: makes what ``work`` needs, once a process; must be picklable with more than one.
        work: what is done with a chunk; a function of a module.
        processes: how many; 1 is this one.

    Raises:
        WorkerError: a process ended by itself.
    """
    if processes == 1:
        worker = make_worker()
        for chunk in chunks:
            yield _done(chunk, work(worker, chunk))
        return
    # Not forked: this process has threads by now, of the tokenizer's and torch's.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=(make_worker, work))
    waiting: deque[tuple[Sequence[RawRow], Future[Result]]] = deque()
    try:
        while True:
            for chunk in islice(chunks, max(0, _AHEAD * processes - len(waiting))):
                waiting.append((chunk, pool.submit(_run, chunk)))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            yield _done(chunk, future.result())
    except BrokenProcessPool:
        raise WorkerError(
            "a worker process ended by itself: it was killed, or there was no memory left; try fewer --processes"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_chunks(rows: Iterator[RawRow], size: int) -> Iterator[Sequence[RawRow]]:
    """Lists of so many rows, the last one shorter."""
    while chunk := list(islice(rows, size)):
        yield chunk


def _done(chunk: Sequence[RawRow], result: Result) -> Done[Result]:
    return Done(chunk[0].index, len(chunk), chunk[-1].position, result)


# What a worker process has made, for the chunks that it gets.
_made: list[Any] = []


def _start(make_worker: Callable[[], object], work: Callable[..., object]) -> None:
    # Ctrl-C goes to all processes of a terminal; the first one decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _made[:] = [make_worker(), work]


def _run(chunk: Sequence[RawRow]) -> Any:
    worker, work = _made
    return work(worker, chunk)
