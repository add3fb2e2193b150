"""Seeds and arms on a few processes: the first training of all seeds, then arm after arm, each on all seeds."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chatspan
import torch
import transformers

from experiments.arms import BY_NAME
from experiments.evaluate import greedy, success
from experiments.model import first_training, make_model
from experiments.results import Result, append, read
from experiments.settings import Settings
from experiments.start import Start, recordings_of
from experiments.task import World

TOKENIZER = Path(__file__).parents[1] / "examples" / "tokenizer"
# How often success is looked at on the way.
_LOOKS = 5


@dataclass(frozen=True)
class Task:
    """An arm of a seed; without an arm the seed's first training."""

    settings: Settings
    seed: int
    arm: str | None
    folder: Path

    @property
    def first_model(self) -> Path:
        """Where the model is after the first training."""
        return self.folder / f"first-{self.settings.fingerprint}-{self.seed}.pt"


def run(
    settings: Settings,
    seeds: Sequence[int],
    arms: Sequence[str],
    folder: Path,
    *,
    processes: int = 2,
    minutes: float | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Runs what ``folder`` has no result of yet.

    Args:
        seeds: never cut.
        arms: an arm is not begun behind so many ``minutes``, nor those after it.
        processes: each has one thread; with 0 all is done in this process.
        told: called with a line for each thing done.

    Returns:
        all results of these seeds and arms, also from earlier runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    begun, lines = time.monotonic(), folder / "results.jsonl"
    done = {(result.seed, result.arm) for result in read(lines, settings.fingerprint)}
    with _mapping(processes) as mapped:
        for arm in (None, *arms):
            tasks = [Task(settings, seed, arm, folder) for seed in seeds if (seed, arm) not in done]
            if arm is None:
                wanted = {seed for seed in seeds if any((seed, name) not in done for name in arms)}
                tasks = [task for task in tasks if task.seed in wanted and not task.first_model.exists()]
            passed = (time.monotonic() - begun) / 60
            if arm is not None and tasks and minutes is not None and passed > minutes:
                told(f"{passed:.1f} minutes are over: {arm} is left out, and what is after it")
                break
            for result in mapped(_work, tasks):
                if result.arm != "":
                    append(lines, result)
                told(_line(result, settings))
    wanted_arms = {(seed, arm) for seed in seeds for arm in arms}
    return [result for result in read(lines, settings.fingerprint) if (result.seed, result.arm) in wanted_arms]


class _mapping:
    """What does tasks in any order: a pool of processes, or this one."""

    def __init__(self, processes: int) -> None:
        self._pool: Any = None
        if processes:
            self._pool = multiprocessing.get_context("spawn").Pool(processes, initializer=_one_thread)

    def __enter__(self) -> Callable[[Callable[[Task], Result], Sequence[Task]], Iterator[Result]]:
        return map if self._pool is None else self._pool.imap_unordered

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()


def _one_thread() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()


def _line(result: Result, settings: Settings) -> str:
    if not result.arm:
        return f"seed {result.seed}: first training, {result.steps} steps, {result.seconds:.0f} s"
    return (
        f"seed {result.seed}: {result.arm}, {result.steps} steps, {result.seconds:.0f} s, "
        f"held-out {100 * result.held_out:.1f} %"
    )


def _work(task: Task) -> Result:
    begun = time.monotonic()
    settings, seed = task.settings, task.seed
    tokenizer = transformers.AutoTokenizer.from_pretrained(TOKENIZER)
    world = World(settings, seed)
    if task.arm is None:
        model = first_training(world, tokenizer, settings, seed)
        torch.save(model.state_dict(), task.first_model)
        return Result(seed, "", 0, 0, settings.first_steps, time.monotonic() - begun, settings.fingerprint)
    model = make_model(len(tokenizer), settings, seed)
    model.load_state_dict(torch.load(task.first_model))
    encoder = chatspan.ChatEncoder(tokenizer)
    arm, curve = BY_NAME[task.arm], list[tuple[int, float]]()

    def part_right(of: Any, combinations: Any) -> float:
        completer = greedy(of, encoder)
        return success(completer, encoder, world, combinations, settings, seed, hinted=arm.sees_hint)

    def watch(step: int, of: Any) -> None:
        if step % max(settings.steps // _LOOKS, 1) == 0:
            curve.append((step, part_right(of, world.held_out)))

    start = Start(settings, seed, world, recordings_of(world, settings, seed), model.eval(), encoder, watch)
    torch.manual_seed(seed)
    trained = arm.train(start)
    return Result(
        seed,
        task.arm,
        part_right(trained, world.held_out),
        part_right(trained, world.seen),
        settings.steps if curve else 0,
        time.monotonic() - begun,
        settings.fingerprint,
        curve=((0, part_right(model, world.held_out)), *curve),
    )
