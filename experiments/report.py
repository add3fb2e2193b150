"""The tables of a run, for a terminal and for a page of the docs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from experiments.arms import ARMS, BY_NAME
from experiments.intervals import Interval, interval, paired
from experiments.results import Result

# What is compared, seed by seed: the first less the second.
PAIRS = (
    ("sft-filtered", "sft"),
    ("grpo", "sft"),
    ("sdpo-off", "sft"),
    ("sdpo-on", "sft"),
    ("sdpo-off", "sft-filtered"),
    ("sdpo-on", "sft-filtered"),
    ("sdpo-on", "grpo"),
    ("sdpo-on", "sdpo-off"),
    ("sdpo-off", "sft-hints"),
    ("sdpo-on", "sft-hints"),
    ("sdpo-shuffled", "sdpo-off"),
    ("sdpo-shifted", "sdpo-off"),
)
# Around what a run wrote; of the run that was planned with its name.
_MARKS = "<!-- make experiment{} begins -->\n", "<!-- make experiment{} ends -->"

Rows = list[list[str]]


def by_arm(results: Sequence[Result]) -> dict[str, dict[int, float]]:
    """Held-out success: arms in their order, and seeds."""
    return {
        arm.name: of_seeds
        for arm in ARMS
        if (of_seeds := {result.seed: result.held_out for result in results if result.arm == arm.name})
    }


def tables(results: Sequence[Result]) -> list[Rows]:
    """Means, differences, and every seed; the first row of each has the headings."""
    return [_means(results), _differences(results), _seeds(results)]


def _means(results: Sequence[Result]) -> Rows:
    rows = [["arm", "success, %", "95 % interval", "on seen, %", "seconds"]]
    for name, of_seeds in by_arm(results).items():
        of_arm = [result for result in results if result.arm == name]
        own, seen = interval(list(of_seeds.values())), interval([result.seen for result in of_arm])
        seconds = interval([result.seconds for result in of_arm])
        rows.append([BY_NAME[name].title, _percent(own.mean), _ends(own), _percent(seen.mean), f"{seconds.mean:.0f}"])
    return rows


def _differences(results: Sequence[Result]) -> Rows:
    rows = [["difference, in points", "mean", "95 % interval", "seeds over 0", "under 0"]]
    successes = by_arm(results)
    for one, other in PAIRS:
        if one in successes and other in successes:
            less = paired(successes[one], successes[other])
            ends = [_percent(less.mean, "+"), _ends(less, "+")]
            rows.append([f"{one} − {other}", *ends, str(less.above), str(less.below)])
    return rows


def _seeds(results: Sequence[Result]) -> Rows:
    of_all = sorted({result.seed for result in results})
    rows = [["seed", *(str(seed) for seed in of_all)]]
    for name, of_seeds in by_arm(results).items():
        rows.append([name, *(_percent(of_seeds[seed]) if seed in of_seeds else "" for seed in of_all)])
    return rows


def print_tables(console: Console, results: Sequence[Result]) -> None:
    """All of them, in a terminal."""
    for head, *rows in tables(results):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for place, heading in enumerate(head):
            table.add_column(heading, justify="right" if place else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def markdown(results: Sequence[Result]) -> str:
    """All of them, for a page."""
    return "\n".join(_as_markdown(rows) for rows in tables(results))


def _as_markdown(rows: Rows) -> str:
    head, *others = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def section_of(page: Path, name: str = "") -> str:
    """What :func:`write_section` wrote."""
    begins, ends = (mark.format(name) for mark in _MARKS)
    return page.read_text(encoding="utf-8").split(begins)[1].split(ends)[0]


def write_section(page: Path, results: Sequence[Result], cost: str, name: str = "") -> None:
    """Puts what a run cost and its tables between its two marks on the page."""
    begins, ends = (mark.format(name) for mark in _MARKS)
    before, rest = page.read_text(encoding="utf-8").split(begins)
    after = rest.split(ends)[1]
    page.write_text(f"{before}{begins}\n{cost}\n\n{markdown(results)}\n{ends}{after}", encoding="utf-8")


def _percent(part: float, sign: str = "") -> str:
    return f"{100 * part:{sign}.1f}"


def _ends(of: Interval, sign: str = "") -> str:
    return f"{_percent(of.low, sign)} to {_percent(of.high, sign)}"
