"""The table: what was tried, and what came of it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from attack.tries import ODD
from attack.watch import Result

_COLUMNS = ("attack", "what is tried", "tried", "right", "refused", "failed")
# Of an attack's failures, as many kinds are told of; of each both ends of the first, and as many numbers of others.
_KINDS, _CHARACTERS, _NUMBERS = 20, 1200, 20
# What is that of a single case: texts, numbers, and the rest of a list.
_VALUE, _KIND_CHARACTERS = re.compile(r"'[^']*'|\"[^\"]*\"|\d+|\[.*"), 150
BEGIN, END = "<!-- make attack begins -->", "<!-- make attack ends -->"


def table(results: Sequence[Result]) -> str:
    """The table, as Markdown that also reads well in a terminal."""
    rows = [_COLUMNS, *map(_row, results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    rule = "|".join("-" * (width + 1) + (":" if column > 1 else "-") for column, width in enumerate(widths))
    lines = [_line(rows[0], widths), f"|{rule}|", *(_line(row, widths) for row in rows[1:])]
    return "\n".join(lines)


def _row(result: Result) -> tuple[str, ...]:
    counts = [f"{count:,}" for count in (result.counts.total(), *(result.counts[kind] for kind in _COLUMNS[3:]))]
    return (result.attack.name, result.attack.what, *counts)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if column > 1 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return f"| {' | '.join(cells)} |"


def setting(seed: int, seconds: float) -> str:
    """Where, with what and for how long."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("chatspan", "transformers", "tokenizers", "jinja2"))
    where = f"{os.cpu_count()} CPUs, Python {platform.python_version()}"
    return f"Seed {seed}, {seconds / 60:.1f} minutes, {where}, {packages}"


def notes(results: Sequence[Result]) -> list[str]:
    """Lines for below the table: of what sort the tries were, and the memory."""
    lines = []
    for result in results:
        if result.notes:
            sorts = ", ".join(f"{count:,} {note}" for note, count in result.notes.most_common(8))
            lines.append(f"{result.attack.name}: {sorts}")
        lines += [f"{result.attack.name}: {shown}" for shown in result.shown]
    return lines


def failures(results: Sequence[Result], seed: int) -> list[str]:
    """How to see the failures again, by kind, one of each in full."""
    lines = []
    for result in results:
        kinds: dict[str, list[int]] = {}
        for number, how in result.failures.items():
            kinds.setdefault(kind_of(how), []).append(number)
        name = f"'{result.attack.name}'" if " " in result.attack.name else result.attack.name
        for numbers in list(kinds.values())[:_KINDS]:
            again = f'make attack ARGS="--only {name} --seed {seed} --try {numbers[0]}"'
            lines.append(f"FAILED {result.attack.name}, {len(numbers)} times: {again}")
            lines += _shortened(result.failures[numbers[0]])
            if others := numbers[1:]:
                lines.append(
                    f"    also tries {', '.join(map(str, others[:_NUMBERS]))}{' …' * (len(others) > _NUMBERS)}"
                )
        if len(kinds) > _KINDS:
            lines.append(f"FAILED {result.attack.name}: {len(kinds) - _KINDS} kinds more")
    return lines


def kind_of(how: str) -> str:
    """What stays the same of failures that have one cause: where it was, and what was said without its values."""
    places = re.findall(r"/(chatspan/\S+)\", line (\d+)", how)
    last = (how.strip().splitlines() or [""])[-1]
    # What an odd object raises is drawn by chance.
    said = ODD if ODD in last else _VALUE.sub("…", last)[:_KIND_CHARACTERS]
    return f"{places[-1:]} {said}"


def _shortened(how: str) -> list[str]:
    """The beginning, which says what was given, and the end, which says what came of it."""
    if len(how) > 2 * _CHARACTERS:
        how = f"{how[:_CHARACTERS]} …\n… {how[-_CHARACTERS:]}"
    return [f"    {line}" for line in how.splitlines()]


def write_markdown(path: Path, results: Sequence[Result], seed: int, seconds: float) -> None:
    """Writes what was printed to a page, between its two marks; a page without them is written anew."""
    shown = [f"{setting(seed, seconds)}.", "", table(results), ""]
    shown += [f"- {line}" for line in notes(results)]
    block = "\n".join([BEGIN, "", *shown, "", END])
    text = path.read_text("utf-8") if path.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{block}{after}" if begin else f"{block}\n", encoding="utf-8")
