"""Rows of a data set through worker processes, in chunks, results in order, memory flat."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from chatspan.errors import WorkerError
from chatspan.rows.row import RawRow, naming
from chatspan.rows.with_parent import end_with_parent

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
    worker: Worker,
    work: Callable[[Worker, Sequence[RawRow]], Result],
    processes: int,
) -> Iterator[Done[Result]]:
    """Works on chunks of rows; results are in order.

    Args:
        chunks: of rows; read only a little ahead.
        worker: what ``work`` needs; each process has its own. Encoders in it should be warm, so that processes share
            what is loaded.
        work: what is done with a chunk; a function of a module.
        processes: how many; 1 is this one.

    Raises:
        WorkerError: a process ended by itself.
    """
    if processes == 1:
        for chunk in chunks:
            with naming(chunk):
                result = work(worker, chunk)
            yield _done(chunk, result)
        return
    pool = _pool(processes, worker, work)
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
            "a worker process ended by itself: it was killed, or ran out of memory; use fewer --processes"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_chunks(rows: Iterator[RawRow], size: int) -> Iterator[Sequence[RawRow]]:
    """Lists of so many rows, the last one shorter."""
    while chunk := list(islice(rows, size)):
        yield chunk


def _pool(processes: int, worker: object, work: Callable[..., object]) -> ProcessPoolExecutor:
    # A forked process has what is loaded at once and shares its memory; another one takes seconds and a gigabyte for
    # it. The native tokenizer and the tokenizers of transformers know forks; on macOS the system's libraries do not.
    method = "fork" if sys.platform == "linux" else "spawn"
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    # What is there stays shared: looking for garbage would write to it.
    gc.collect()
    gc.freeze()
    context = multiprocessing.get_context(method)
    # The kernel ends workers with the thread that forked them: only the main one is as old as its process.
    by_signal = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
    mine = (worker, work, os.getpid(), by_signal)
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=mine)


def _done(chunk: Sequence[RawRow], result: Result) -> Done[Result]:
    return Done(chunk[0].index, len(chunk), chunk[-1].position, result)


# What a worker process works with.
_mine: list[Any] = []


def _start(worker: object, work: Callable[..., object], parent: int, by_signal: bool) -> None:
    end_with_parent(parent, by_signal=by_signal)
    # Ctrl-C goes to all processes of a terminal; the first one decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if "torch" in sys.modules:
        # The processes share the cores; and torch's threads are not there after a fork, for which it would wait.
        sys.modules["torch"].set_num_threads(1)
    _mine[:] = [worker, work]


def _run(chunk: Sequence[RawRow]) -> Any:
    worker, work = _mine
    with naming(chunk):
        return work(worker, chunk)
