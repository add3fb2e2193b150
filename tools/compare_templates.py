"""Compares the template machine with traced Jinja2 on random templates and random messages, for as long as one likes.

    python tools/compare_templates.py --renders 100000 --seed 1
    python tools/compare_templates.py --renders 20000 --seed 2 --templates real

Half of the renders are of random templates, half of random messages on the real templates of the zoo (``CHATSPAN_ZOO``,
default ``../shared/zoo``). Each difference is printed with the smallest template and values found that show it. Exits
with 1 if there is one.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st

REPO = Path(__file__).parents[1]
ZOO = Path(os.environ.get("CHATSPAN_ZOO", REPO.parent / "shared" / "zoo"))
sys.path.insert(0, str(REPO / "tests"))

from machine import compare, given  # noqa: E402
from random_chats import CONVERSATIONS, OPTIONS  # noqa: E402
from random_templates import VALUES, templates  # noqa: E402

# Renders of one search: what shrinks is the first difference of each.
BATCH = 500
# Of what is shown of a difference.
LINES = 60


class Search:
    """Renders, counts what comes of it, and keeps the smallest render that differs.

    Attributes:
        renders: how many there were, those that made a difference smaller included.
        counts: outcomes.
        differences: by what was said of them, each in its smallest form.
    """

    def __init__(self) -> None:
        self.renders = 0
        self.counts: Counter[str] = Counter()
        self.differences: dict[str, str] = {}
        self._last = ""

    def one(self, name: str, source: str, messages: list[Any], keywords: dict[str, Any]) -> None:
        self.renders += 1
        try:
            self.counts[compare(source, given(messages, **keywords))] += 1
        except BaseException as difference:
            # A panic of the core is no Exception.
            if isinstance(difference, KeyboardInterrupt):
                raise
            shown = name or source
            self._last = f"template: {shown!r}\nmessages: {messages!r}\nvalues: {keywords!r}\n{_short(difference)}"
            raise

    def batch(self, test: Callable[[], None], number: int) -> bool:
        """Whether all renders were the same."""
        try:
            seed(number)(test)()
        except KeyboardInterrupt:
            raise
        except BaseException as difference:
            # The same difference is found again and again: it is shown once, in its smallest form.
            self.counts["searches with a difference"] += 1
            cause = _short(difference).split("\n")[-1][:60]
            if cause not in self.differences:
                self.differences[cause] = self._last
                print(f"\n--- a difference (seed {number})\n{self._last}", flush=True)
            return False
        return True


def _short(difference: BaseException) -> str:
    text = f"{type(difference).__name__}: {difference}"
    return "\n".join(text.splitlines()[:LINES])


def searches(search: Search, renders: int, which: str) -> list[Callable[[], None]]:
    """Searches of ``renders`` renders each."""
    profile = settings(
        max_examples=renders,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    real = sorted((ZOO / "templates").glob("*.jinja")) if which != "random" else []
    sources = {path.stem: path.read_text(encoding="utf-8") for path in real}

    @profile
    @hypothesis.given(source=templates(), messages=CONVERSATIONS, options=OPTIONS, values=VALUES)
    def of_random_templates(source: str, messages: list[Any], options: dict[str, Any], values: dict[str, Any]) -> None:
        search.one("", source, messages, {**options, **values})

    @profile
    @hypothesis.given(name=st.sampled_from(sorted(sources) or [""]), messages=CONVERSATIONS, options=OPTIONS)
    def of_real_templates(name: str, messages: list[Any], options: dict[str, Any]) -> None:
        search.one(name, sources[name], messages, options)

    found = [of_random_templates] if which != "real" else []
    return [*found, of_real_templates] if sources else found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--renders", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--templates", choices=["both", "random", "real"], default="both")
    options = parser.parse_args()
    search = Search()
    begun = time.monotonic()
    tests = searches(search, min(BATCH, options.renders), options.templates)
    if not tests:
        print(f"there are no templates at {ZOO / 'templates'}", file=sys.stderr)
        return 2
    same, number = True, 0
    # A search ends with the first difference.
    while search.renders < options.renders:
        same = search.batch(tests[number % len(tests)], options.seed * 1_000_003 + number) and same
        number += 1
    print(f"\n{search.renders:,} renders in {time.monotonic() - begun:.0f} s, seed {options.seed}")
    for outcome, count in search.counts.most_common():
        print(f"{count:8,} {outcome}")
    print(f"{len(search.differences)} differences")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
