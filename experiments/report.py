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
# The part of its hints that a teacher follows, from which on it counts as taught.
_FOLLOWED = 0.98
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


def taught(results: Sequence[Result]) -> list[Result]:
    """Those of seeds whose teacher follows its hints, which is known before any arm is trained."""
    seeds = {result.seed for result in results if result.arm == "teacher" and result.held_out >= _FOLLOWED}
    return [result for result in results if result.seed in seeds]


def write_taught(page: Path, results: Sequence[Result]) -> None:
    """Puts means and differences of these seeds between their marks on the page."""
    of_taught = taught(results)
    seeds = [str(seed) for seed in sorted({result.seed for result in of_taught})]
    of_all = len({result.seed for result in results})
    text = f"{len(seeds)} of {of_all} seeds: {', '.join(seeds)}.\n\n{markdown(of_taught, count=2)}"
    _write(page, text, "-taught")


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


def markdown(results: Sequence[Result], count: int = 3) -> str:
    """The first ``count`` of them, for a page."""
    return "\n".join(_as_markdown(rows) for rows in tables(results)[:count])


def _as_markdown(rows: Rows) -> str:
    head, *others = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def section_of(page: Path, name: str = "") -> str:
    """What :func:`write_section` wrote."""
    begins, ends = (mark.format(name) for mark in _MARKS)
    return page.read_text(encoding="utf-8").split(begins)[1].split(ends)[0]


def write_section(page: Path, results: Sequence[Result], cost: str | None, name: str = "") -> None:
    """Puts what a run cost and its tables between its two marks on the page; ``None``: what it cost stays."""
    cost = section_of(page, name).strip().splitlines()[0] if cost is None else cost
    _write(page, f"{cost}\n\n{markdown(results)}", name)


def _write(page: Path, text: str, name: str) -> None:
    begins, ends = (mark.format(name) for mark in _MARKS)
    before, rest = page.read_text(encoding="utf-8").split(begins)
    after = rest.split(ends)[1]
    page.write_text(f"{before}{begins}\n{text}\n{ends}{after}", encoding="utf-8")


def _percent(part: float, sign: str = "") -> str:
    return f"{100 * part:{sign}.1f}"


def _ends(of: Interval, sign: str = "") -> str:
    return f"{_percent(of.low, sign)} to {_percent(of.high, sign)}"
