"""Chunks of rows through Ray's actors: each result once, in order, also if workers are killed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from chatspan.errors import WorkerError
from chatspan.ray.cluster import NUM_CPUS, RETRIES, require_ray
from chatspan.rows.parallel import Done
from chatspan.rows.row import RawRow, naming
from chatspan.shards.worker import ShardWorker

Result = TypeVar("Result")

# Chunks that an actor has at once: one that it works on, one that waits for it.
_AT_ONCE = 2
# Chunks in memory for each actor, results that wait for an earlier one included: one that is begun again shall not hold
# up the others at once.
_AHEAD = 4

# Until the first worker is there. Machines that are rented on demand take minutes.
SECONDS_UNTIL_STARTED = 600.0


def map_on_actors(
    chunks: Iterator[Sequence[RawRow]],
    worker: ShardWorker,
    work: Callable[[ShardWorker, Sequence[RawRow]], Result],
    actors: int,
) -> Iterator[Done[Result]]:
    """Works on chunks of rows on Ray; results are in order. What :func:`chatspan.rows.parallel.map_chunks` does on
    one machine, but that a worker that is killed is made anew, and its chunks are begun again.

    Args:
        chunks: of rows; read here, only a little ahead, and sent to the actors.
        worker: what ``work`` needs; each actor has its own.
        work: what is done with a chunk; a function of a module, which writes nothing: of a worker that was killed it
            has been done, or begun, more than once.
        actors: how many at most; those that the cluster has room for work.

    Raises:
        WorkerError: no worker could be started, or too many in turn ended on the same chunk.
    """
    chunk = next(chunks, None)
    # Its actors end when nobody can call them any more, and finish what they have.
    pool = _Pool(worker, work, actors)
    waiting: deque[tuple[Sequence[RawRow], Any]] = deque()
    while chunk is not None or waiting:
        while chunk is not None and len(waiting) < _AHEAD * actors and pool.has_room():
            waiting.append((chunk, pool.submit(chunk)))
            chunk = next(chunks, None)
        pool.wait()
        while waiting and pool.is_done(waiting[0][1]):
            rows, reference = waiting.popleft()
            yield Done(rows[0].index, len(rows), rows[-1].position, pool.result(reference, rows))


class _Actor:
    """What runs in a process of Ray: a worker of its own, made once.

    What it is made of comes with each call, and is fetched with the first: arguments of the constructor could be gone
    when a killed actor is made anew, as Ray warns.
    """

    def __init__(self) -> None:
        self._made: tuple[ShardWorker, Callable[..., Any]] | None = None

    def make(self, shared: Sequence[Any]) -> tuple[ShardWorker, Callable[..., Any]]:
        if self._made is None:
            self._made = require_ray().get(shared[0])
            self._made[0].encoder.warm_up()
        return self._made

    def start(self, shared: Sequence[Any]) -> None:
        """Returns when the worker is there."""
        self.make(shared)

    def run(self, shared: Sequence[Any], rows: Sequence[RawRow]) -> Any:
        worker, work = self.make(shared)
        with naming(rows):
            return work(worker, rows)


class _Pool:
    """Actors and what they work on."""

    def __init__(self, worker: ShardWorker, work: Callable[..., Any], count: int) -> None:
        self._ray = require_ray()
        made = self._ray.remote(_Actor).options(num_cpus=NUM_CPUS, max_restarts=-1, max_task_retries=RETRIES)
        # In a list, so that it is not fetched with each call.
        self._shared = [self._ray.put((worker, work))]
        actors = [made.remote() for _ in range(count)]
        self._starting = {actor.start.remote(self._shared): actor for actor in actors}
        self._load: Counter[Any] = Counter()
        self._started: list[Any] = []
        self._running: dict[Any, Any] = {}

    def has_room(self) -> bool:
        """Whether an actor that is there can take a chunk more."""
        return any(self._load[actor] < _AT_ONCE for actor in self._started)

    def submit(self, rows: Sequence[RawRow]) -> Any:
        """Gives a chunk to the actor that has the least to do; a reference to the result."""
        actor = min(self._started, key=self._load.__getitem__)
        reference = actor.run.remote(self._shared, rows)
        self._load[actor] += 1
        self._running[reference] = actor
        return reference

    def wait(self) -> None:
        """Returns when a chunk is done or an actor more is there."""
        pending = [*self._running, *self._starting]
        timeout = None if self._running else SECONDS_UNTIL_STARTED
        found, _ = self._ray.wait(pending, num_returns=1, timeout=timeout, fetch_local=False)
        if not found:
            raise WorkerError(
                f"Ray has started no worker in {SECONDS_UNTIL_STARTED / 60:.0f} minutes: a worker takes "
                f"{NUM_CPUS} of a core; check what is free with `ray status`"
            )
        for reference in found:
            if reference in self._starting:
                self._begin(reference)
            else:
                self._load[self._running.pop(reference)] -= 1

    def _begin(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            what = _last_line(error)
            raise WorkerError(f"a worker of Ray could not be started: {what}; each machine needs chatspan") from None
        self._started.append(actor)

    def is_done(self, reference: Any) -> bool:
        """Whether the result is there, or the error."""
        return reference not in self._running

    def result(self, reference: Any, rows: Sequence[RawRow]) -> Any:
        """What became of a chunk."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except self._ray.exceptions.RayError as error:
            raise WorkerError(
                f"rows {rows[0].index:,} to {rows[-1].index:,}: their worker ended by itself ({type(error).__name__}), "
                f"and again in each of {RETRIES} retries: it was killed, or ran out "
                "of memory; use fewer --rows-per-shard"
            ) from None


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
