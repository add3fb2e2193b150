"""Two processes that train together, as DDP has them: gloo, on one machine, without a network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch import multiprocessing as mp


def in_processes(world: int, work: Callable[..., Any], *given: Any) -> list[Any]:
    """What ``work(rank, world, *given)`` gives in each of ``world`` processes of one group; a function of a module."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_process, (world, folder, work, given), nprocs=world)  # type: ignore[no-untyped-call]
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(world)]


def _process(rank: int, world: int, folder: str, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=world)
    try:
        torch.save(work(rank, world, *given), Path(folder) / f"{rank}.pt")
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
