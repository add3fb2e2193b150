"""Shards, made by Ray's actors and written here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from chatspan.ray.actors import map_on_actors
from chatspan.rows.parallel import Done
from chatspan.rows.row import RawRow
from chatspan.shards.worker import ShardWorker, make_shard, save_shard


def write_on_ray(chunks: Iterator[Sequence[RawRow]], worker: ShardWorker, processes: int) -> Iterator[Done[Any]]:
    """Writes shards with so many actors; see :func:`chatspan.shards.run.encode_files`.

    Needs :func:`chatspan.ray.cluster.connected`. Other machines need not see the folder, and two of them never write
    the same file: a worker that was believed to be dead may still be at work beside the one started in its place.
    """
    for done in map_on_actors(chunks, worker, make_shard, processes):
        save_shard(worker.folder, done.result)
        yield done
