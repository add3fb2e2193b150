"""The table of verdicts in the docs: what the templates of the zoo do with each event, with their default keywords.

python tests/rollout/stability_table.py
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "attribute"))

import chatspan
from chatspan import ChatEncoder, StabilityEvent, StabilityReport
from prompts import SOURCES, tokenizer_for
from turn_shapes import NEEDED
from zoo import ZOO

VERDICTS = ("stable", "rewritten", "refused")
HEADER = ("| event | " + " | ".join(VERDICTS) + " | why not stable |", "|---|---:|---:|---:|---|")


@functools.cache
def report_of(name: str) -> StabilityReport:
    """The report of a template."""
    encoder = ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name])
    return chatspan.stability(encoder, **NEEDED.get(name, {}))


def own_events(report: StabilityReport) -> list[StabilityEvent]:
    """The events with the default keywords."""
    return [event for event in report.events if not (event.keywords or event.next_keywords)]


def lines() -> Iterator[str]:
    names = [path.stem for path in sorted((ZOO / "templates").glob("*.jinja"))]
    counts: dict[str, Counter[str]] = {}
    steady = 0
    for name in names:
        events = own_events(report_of(name))
        steady += all(event.verdict == "stable" for event in events)
        for event in events:
            counts.setdefault(event.event, Counter()).update([event.verdict, *([event.cause] if event.cause else [])])
    yield from HEADER
    for event, found in counts.items():
        causes = sorted((-count, cause) for cause, count in found.items() if cause not in VERDICTS)
        why = ", ".join(f"`{cause}` {-count}" for count, cause in causes)
        yield f"| {event} | {' | '.join(str(found[verdict]) for verdict in VERDICTS)} | {why} |"
    yield f"| each of these | {steady} | | | |"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print("\n".join(lines()))
