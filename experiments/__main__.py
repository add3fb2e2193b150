"""``make experiment``: runs it, prints the tables, and saves results and picture."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import chatspan
import torch
import transformers
from rich.console import Console

from experiments.arms import ARMS, BY_NAME
from experiments.plot import save_picture
from experiments.report import print_tables, write_section, write_taught
from experiments.results import Result, read_table, save_table
from experiments.run import run
from experiments.settings import PLANNED_SEEDS, PLANNED_THETA, TEST_SEEDS, TUNING_SEEDS, Settings

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PAGE = DOCS / "experiment.md"


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    options = options_of(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    name = "-planned" if options.planned else ""
    if options.published:
        print_tables(console, read_table(published(name)))
        return 0
    settings = replace(Settings(), rope_theta=PLANNED_THETA) if options.planned else Settings()
    if options.rate is not None:
        settings = replace(settings, rates=dict.fromkeys(settings.rates, options.rate))
    if options.recordings is not None:
        settings = replace(settings, recordings=options.recordings)
    seeds, arms = _asked(options)
    if options.publish and (sorted(seeds), arms) != (list(PLANNED_SEEDS if name else TEST_SEEDS), list(BY_NAME)):
        sys.exit("--publish: a part of the seeds or arms is not published")
    begun, lines = time.monotonic(), list[str]()

    def told(line: str) -> None:
        lines.append(line)
        console.print(line)

    results = run(settings, seeds, arms, options.out, processes=options.processes, minutes=options.minutes, told=told)
    cost = _cost(settings, results, (time.monotonic() - begun) / 60, options.processes)
    _save(results, options.out / "results.csv", options.out / "experiment.png")
    if options.publish:
        _save(results, published(name), DOCS / "images" / f"experiment{name}.png")
        write_section(PAGE, read_table(published(name)), cost if lines else None, name)
        write_taught(PAGE, [*read_table(published("-planned")), *read_table(published(""))])
    console.print()
    print_tables(console, results)
    console.print(cost)
    return 0


def published(name: str) -> Path:
    """The repository's results: of the run that was planned with the name ``"-planned"``, else ``""``."""
    return HERE / f"results{name}.csv"


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("--seeds", metavar="N,N", help="by default the test seeds, 10 to 19")
    parser.add_argument("--tuning", action="store_true", help="the tuning seeds")
    parser.add_argument("--planned", action="store_true", help="the run that was planned, on seeds 0 to 9")
    parser.add_argument("--arms", metavar="NAME,NAME", help=f"of {', '.join(BY_NAME)}; by default all")
    parser.add_argument("--rate", type=float, help="the learning rate of all arms")
    parser.add_argument("--recordings", type=int, help="how many, in place of 48")
    parser.add_argument("--minutes", type=float, help="no arm is begun after so many; seeds are never cut")
    parser.add_argument("--processes", type=int, default=2, help="each with one thread; 0: this one")
    parser.add_argument("--out", type=Path, default=Path("experiment-run"), help="what is there is not done again")
    parser.add_argument("--publish", action="store_true", help="results, picture and tables go into the repository too")
    parser.add_argument("--published", action="store_true", help="only the tables of the repository's results")
    return parser.parse_args(arguments)


def _asked(options: argparse.Namespace) -> tuple[list[int], list[str]]:
    seeds = list(TUNING_SEEDS if options.tuning else PLANNED_SEEDS if options.planned else TEST_SEEDS)
    if options.seeds:
        seeds = [int(seed) for seed in options.seeds.split(",")]
    arms = options.arms.split(",") if options.arms else [arm.name for arm in ARMS]
    if unknown := [name for name in arms if name not in BY_NAME]:
        sys.exit(f"there is no arm {', '.join(unknown)}: use {', '.join(BY_NAME)}")
    return seeds, arms


def _save(results: Sequence[Result], table: Path, picture: Path) -> None:
    names = list(BY_NAME)
    save_table(table, sorted(results, key=lambda result: (result.seed, names.index(result.arm))))
    save_picture(picture, results)


def _cost(settings: Settings, results: Sequence[Result], minutes: float, processes: int) -> str:
    seeds = len({result.seed for result in results})
    arms = len({result.arm for result in results})
    versions = (("torch", torch), ("transformers", transformers), ("chatspan", chatspan))
    return (
        f"{seeds} seeds, {arms} arms: a first training of {settings.first_steps} steps a seed, then {settings.steps} "
        f"steps an arm, each of {settings.rows} rows or samples. {minutes:.1f} minutes with {processes} processes of "
        f"one thread, {', '.join(f'{name} {module.__version__}' for name, module in versions)}."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
