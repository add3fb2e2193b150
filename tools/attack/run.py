"""``make attack``: divides the time among the attacks, and prints one table of what came of them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from attack.attacks import ATTACKS, BY_NAME, Attack
from attack.table import failures, notes, setting, table, write_markdown
from attack.watch import Result, Watch

_MINUTES = 10.0
# Between two lines that say how far it is, where no terminal shows them in one place.
_EVERY_SECONDS = 30


def run(attacks: Sequence[Attack], seconds: float, seed: int, *, everything: bool = False) -> list[Result]:
    """Runs attacks one after the other: what one leaves of its time goes to those after it."""
    deadline, results = time.monotonic() + seconds, []
    for index, attack in enumerate(attacks):
        left = deadline - time.monotonic()
        part = max(left, 0) * attack.share / sum(each.share for each in attacks[index:])
        count = attack.all_count if everything else attack.count
        results.append(Watch(attack, seed, everything).run(part, end=count, told=_Progress()))
        _said(results[-1], "\n")
    return results


class _Progress:
    """Says how far an attack is, at once where it fails."""

    def __init__(self) -> None:
        self._failed = 0
        self._last = time.monotonic()

    def __call__(self, result: Result) -> None:
        now, one_place = time.monotonic(), sys.stderr.isatty()
        if result.counts["failed"] > self._failed or now - self._last > (1 if one_place else _EVERY_SECONDS):
            self._failed, self._last = result.counts["failed"], now
            _said(result, "\r" if one_place else "\n")


def _said(result: Result, end: str) -> None:
    counts = ", ".join(f"{result.counts[kind]:,} {kind}" for kind in ("right", "refused", "failed"))
    print(f"{result.attack.name}: {result.counts.total():,} tried, {counts}", end=end, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """0 where nothing failed, 1 where something did."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.attempt is not None and options.only is None:
        parser.error("--try is the try of one attack: give --only too")
    attacks = [attack for attack in ATTACKS if options.only in (None, attack.name)]
    begun = time.monotonic()
    if options.attempt is not None:
        watch = Watch(attacks[0], options.seed, options.all)
        # A try of an attack on the memory goes on from those before it.
        first = 0 if attacks[0].name.startswith("memory") else options.attempt
        results = [watch.run(3600, first=first, end=options.attempt + 1)]
    else:
        results = run(attacks, options.minutes * 60, options.seed, everything=options.all)
    seconds = time.monotonic() - begun
    print(f"{setting(options.seed, seconds)}\n\n{table(results)}\n")
    print("\n".join([*notes(results), *failures(results, options.seed)]))
    if options.markdown is not None:
        write_markdown(options.markdown, results, options.seed, seconds)
    return 1 if any(result.counts["failed"] for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make attack", description=(__doc__ or "").split(": ", 1)[1])
    parser.add_argument("--minutes", type=float, default=_MINUTES, help=f"for all together; {_MINUTES:.0f}")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices; 0")
    parser.add_argument("--only", choices=BY_NAME, metavar="NAME", help=f"one of: {', '.join(BY_NAME)}")
    parser.add_argument("--try", type=int, dest="attempt", metavar="NUMBER", help="that try alone, with --only")
    parser.add_argument("--all", action="store_true", help="200 kills, pairs and changed inputs in place of 20")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table goes to this page, too")
    return parser
