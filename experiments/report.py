"""The tables of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from experiments.arms import ARMS
from experiments.intervals import Interval, interval, paired
from experiments.results import Result

AGAINST = "sft"


def by_arm(results: Sequence[Result]) -> dict[str, dict[int, float]]:
    """Held-out success: arms in their order, and seeds."""
    return {
        arm.name: of_seeds
        for arm in ARMS
        if (of_seeds := {result.seed: result.held_out for result in results if result.arm == arm.name})
    }


def print_tables(console: Console, results: Sequence[Result]) -> None:
    """Means with intervals, differences to SFT and to the best of the others, and every seed."""
    successes = by_arm(results)
    for table in (means(successes, results), seeds(successes)):
        console.print(table)
        console.print()


def means(successes: Mapping[str, Mapping[int, float]], results: Sequence[Result]) -> Table:
    """A row an arm."""
    table = _table(
        "success on held-out combinations, in %", "mean", "95 % interval", "seen", "less SFT", "95 % interval", "+ / −"
    )
    for arm in ARMS:
        if arm.name not in successes:
            continue
        own = interval(list(successes[arm.name].values()))
        seen = interval([result.seen for result in results if result.arm == arm.name])
        cells = [_percent(own.mean), _ends(own), _percent(seen.mean)]
        if AGAINST in successes and arm.name != AGAINST:
            less = paired(successes[arm.name], successes[AGAINST])
            cells += [_percent(less.mean, "+"), _ends(less, "+"), f"{less.above} / {less.below}"]
        table.add_row(arm.title, *cells)
    return table


def seeds(successes: Mapping[str, Mapping[int, float]]) -> Table:
    """A row an arm, a column a seed."""
    of_all = sorted({seed for of_seeds in successes.values() for seed in of_seeds})
    table = _table("each seed, in %", *(str(seed) for seed in of_all))
    for name, of_seeds in successes.items():
        table.add_row(name, *(_percent(of_seeds[seed]) if seed in of_seeds else "" for seed in of_all))
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _percent(part: float, sign: str = "") -> str:
    return f"{100 * part:{sign}.1f}"


def _ends(of: Interval, sign: str = "") -> str:
    return f"{_percent(of.low, sign)} to {_percent(of.high, sign)}"
