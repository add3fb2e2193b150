"""Compares the template machine with traced Jinja2 on random templates and random messages, for as long as one likes.

    python tools/compare_templates.py --renders 100000 --seed 1
    python tools/compare_templates.py --renders 20000 --seed 2 --templates real

Half of the renders are of random templates, half of random messages on the real templates of the zoo (``CHATSPAN_ZOO``,
default ``../shared/zoo``). No template is rendered twice with the same input. Each difference is printed with the
smallest template and values found that show it. Exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

REPO = Path(__file__).parents[1]
ZOO = Path(os.environ.get("CHATSPAN_ZOO", REPO.parent / "shared" / "zoo"))
sys.path[:0] = [str(REPO / "tests" / "render"), str(REPO / "tests")]

from chatspan.render.jinja.template import TemplateRaisedError  # noqa: E402
from chatspan.render.native.program import Unsupported  # noqa: E402
from chatspan.render.rendered import Render  # noqa: E402
from machine import EQUAL, LEFT, assert_same, given, native, traced  # noqa: E402
from random_inputs import Input, pool  # noqa: E402
from random_templates import template  # noqa: E402
from smallest import Word, smallest  # noqa: E402

# Of one search, which has inputs of its own: random templates; renders of each, and of each real one. Together with the
# real ones they are fewer than the compiled templates that are kept.
TEMPLATES, RENDERS, RENDERS_OF_REAL = 150, 40, 80
# A random template is given up where none of the first renders is one, or where one is that long, with its runs.
FIRST, LONG = 5, 100_000
# What Jinja2 takes at most for one, as it remembers where each character of each text on the way came from.
MEMORY, TOO_LONG = 4 << 30, "too long for the memory"
# Renders that a difference is made smaller with; differences that are.
TRIES, MADE_SMALLER = 3000, 30
TAGS = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|[^{]+|.", re.DOTALL)
WORDS = re.compile(r"\{%[-+]?|[-+]?%\}|\{\{-?|-?\}\}|'[^']*'|\w+|.", re.DOTALL)
# Of what is shown of a difference.
LINES = 60


@dataclass(frozen=True)
class Case:
    """A template and what it is rendered with.

    Attributes:
        name: of a real one.
        choices: that the template was written with.
    """

    source: str
    messages: list[Any]
    keywords: dict[str, Any]
    name: str = ""
    choices: tuple[int, ...] = ()

    def outcome(self) -> tuple[str, int]:
        """What comes of it, and how long the render is.

        Raises:
            BaseException: there is a difference. A panic of the core is no ``Exception``.
        """
        what = given(self.messages, **self.keywords)
        try:
            found = native(self.source, what)
            if isinstance(found, Unsupported):
                return f"{LEFT}: {found}", 0
            wanted = traced(self.source, what)
            if isinstance(wanted, TemplateRaisedError) and isinstance(wanted.error, MemoryError):
                return TOO_LONG, LONG
            return assert_same(wanted, found), len(wanted.text) + len(wanted.runs) if isinstance(wanted, Render) else 0
        except MemoryError:
            return TOO_LONG, LONG

    def difference(self) -> BaseException | None:
        try:
            self.outcome()
        except KeyboardInterrupt:
            raise
        except BaseException as difference:
            return difference
        return None

    def smallest(self, kind: str) -> Case:
        """The smallest one found with a difference of that kind."""
        case = self
        if not self.name:
            case = case.smaller(list(self.choices), lambda choices: template(Choices(choices)), kind)
            for words in (TAGS, WORDS):
                case = case.smaller([Word(word) for word in words.findall(case.source)], "".join, kind)
        return case.smaller(None, lambda _: case.source, kind)

    def smaller(self, parts: Any, source: Callable[[Any], str], kind: str) -> Case:
        """With less of the parts that the source is made of, of the messages and of the values."""

        def case(found: Any) -> Case:
            return replace(self, source=source(found[0]), messages=found[1], keywords=found[2])

        def shows(found: Any) -> bool:
            difference = case(found).difference()
            return difference is not None and kind_of(difference) == kind

        return case(smallest((parts, self.messages, self.keywords), shows, TRIES))

    def __str__(self) -> str:
        return f"template: {self.name or self.source!r}\nmessages: {self.messages!r}\nvalues: {self.keywords!r}"


class Choices:
    """Decides for a writer of templates: as given, and then by chance, or else always for what is simplest."""

    def __init__(self, given: Sequence[int] = (), random: Random | None = None) -> None:
        self.made: list[int] = []
        self._given = given
        self._random = random

    def __call__(self, low: int, high: int) -> int:
        if len(self.made) < len(self._given):
            choice = min(self._given[len(self.made)], high - low)
        else:
            choice = self._random.randint(0, high - low) if self._random else 0
        self.made.append(choice)
        return low + choice


class Search:
    """Renders, counts what comes of it, and keeps the smallest renders that differ.

    Attributes:
        renders: how many there were, of random templates and of real ones.
        counts: outcomes.
        sources: that were rendered.
        differences: of these, the kinds and the smallest templates.
    """

    def __init__(self) -> None:
        self.renders: Counter[bool] = Counter()
        self.counts: Counter[str] = Counter()
        self.sources: set[int] = set()
        self.differences: set[tuple[str, str]] = set()
        self._rendered: set[int] = set()
        self._made_smaller = 0

    def of_random_templates(self, number: int) -> None:
        random, inputs = Random(number), pool(number, values=True)
        for _ in range(TEMPLATES):
            choices, renders = Choices(random=random), False
            source = template(choices)
            for index, one in enumerate(random.sample(inputs, RENDERS)):
                case = Case(source, one.messages, one.keywords, choices=tuple(choices.made))
                outcome, length = self.one(case, one)
                renders = renders or outcome == EQUAL
                if not outcome or length >= LONG or (index + 1 >= FIRST and not renders):
                    break

    def of_real_templates(self, number: int, sources: dict[str, str]) -> None:
        random, inputs = Random(number), pool(number, values=False)
        for name, source in sources.items():
            for one in random.sample(inputs, RENDERS_OF_REAL):
                self.one(Case(source, one.messages, one.keywords, name), one)

    def one(self, case: Case, what: Input) -> tuple[str, int]:
        """The outcome and the length; none where it was rendered before, or there is a difference."""
        key = hash((case.source, what.key))
        if key in self._rendered:
            return "", 0
        self._rendered.add(key)
        self.sources.add(hash(case.source))
        self.renders[bool(case.name)] += 1
        try:
            outcome, length = case.outcome()
        except KeyboardInterrupt:
            raise
        except BaseException as difference:
            self.counts["different"] += 1
            self.show(case, difference)
            return "", 0
        self.counts[outcome] += 1
        return outcome, length

    def show(self, case: Case, difference: BaseException) -> None:
        """Prints it in its smallest form, if that is another one than those before."""
        if self._made_smaller == MADE_SMALLER:
            return
        self._made_smaller += 1
        kind = kind_of(difference)
        case = case.smallest(kind)
        if (kind, case.name or case.source) not in self.differences:
            self.differences.add((kind, case.name or case.source))
            print(f"\n--- a difference\n{case}\n{short(case.difference() or difference)}", flush=True)


def kind_of(difference: BaseException) -> str:
    """What is said of a difference, as far as it stays the same when the case gets smaller."""
    lines = [re.split(r"['\"\[\d]", line)[0] for line in str(difference).splitlines()[:2]]
    return f"{type(difference).__name__}: {' '.join(lines)}"


def short(difference: BaseException) -> str:
    text = f"{type(difference).__name__}: {difference}"
    return "\n".join(text.splitlines()[:LINES])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--renders", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--templates", choices=["both", "random", "real"], default="both")
    options = parser.parse_args()
    real = sorted((ZOO / "templates").glob("*.jinja")) if options.templates != "random" else []
    sources = {path.stem: path.read_text(encoding="utf-8") for path in real}
    if options.templates == "real" and not sources:
        print(f"there are no templates at {ZOO / 'templates'}", file=sys.stderr)
        return 2
    with contextlib.suppress(ImportError):
        # There is no such module on Windows.
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    # Of the code that Jinja2 makes of random templates.
    warnings.simplefilter("ignore", SyntaxWarning)
    search, number, begun = Search(), options.seed * 1_000_003, time.monotonic()
    while search.renders.total() < options.renders:
        number += 10
        if sources and (options.templates == "real" or search.renders[True] < search.renders[False]):
            search.of_real_templates(number, sources)
        else:
            search.of_random_templates(number)
    said(search, time.monotonic() - begun, options.seed)
    return 1 if search.differences else 0


def said(search: Search, seconds: float, seed: int) -> None:
    left = sum(count for outcome, count in search.counts.items() if outcome.startswith(LEFT))
    compared = search.renders.total() - left - search.counts[TOO_LONG]
    print(f"\n{search.renders.total():,} renders in {seconds:.0f} s, seed {seed}, of {len(search.sources):,} templates")
    print(f"{search.renders[False]:,} of random templates, {search.renders[True]:,} of real ones")
    print(f"{compared:,} compared; the others are left to Jinja2, or too long")
    for outcome, count in search.counts.most_common():
        print(f"{count:8,} {outcome}")
    print(f"{len(search.differences)} differences")


if __name__ == "__main__":
    sys.exit(main())
