"""Two processes that train together, as DDP has them: gloo, on one machine, without a network."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch import multiprocessing as mp


def in_processes(world: int, work: Callable[..., Any], *given: Any) -> list[Any]:
    """What ``work(rank, world, *given)`` gives in each of ``world`` processes of one group; a function of a module."""
    # One process imports what takes long, and is forked; this one may have threads, or a CUDA device.
    multiprocessing.set_forkserver_preload(["pytest", "accelerate", "transformers.trainer", "chatspan.loss"])
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_process, (world, folder, work, given), nprocs=world, start_method="forkserver")
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(world)]


def _process(rank: int, world: int, folder: str, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    # As torchrun sets them: accelerate looks at nothing else. The group is there, so that no port is needed.
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=world)
    try:
        torch.save(work(rank, world, *given), Path(folder) / f"{rank}.pt")
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
