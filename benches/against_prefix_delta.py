"""The collator against the same collator on the prefix-delta route, at growing lengths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from inputs import GROWTH_LENGTHS, LENGTHS, Inputs, Trace
from sides import PrefixDeltaView, collator, require_equal
from tables import Report, median, ratio
from timing import Milliseconds, alternate, growth, ratios


@dataclass(frozen=True)
class Compared:
    """Both routes at one length; the columns of ``times`` are the collator's and prefix delta's."""

    messages: int
    tokens: int
    times: Milliseconds


@dataclass(frozen=True)
class Outcome:
    """What the target is about."""

    what: str
    ratio: float
    exponent: float


def report_prefix_delta(report: Report, inputs: Inputs, rounds: int) -> list[Outcome]:
    """Prints a table for a student-only row, one for a row with an error site, and both without the system text."""
    alone, with_site = "One row, student only", "One row with one error site: student and teacher"
    outcomes = [
        _report(report, inputs, rounds, f"1a. {alone}", with_hints=False),
        _report(report, inputs, rounds, f"1b. {with_site}", with_hints=True),
    ]
    # Prefix delta tokenizes the system text with every prefix, so how much of a row it is decides the ratio.
    return outcomes + [
        _report(report, inputs, rounds, f"{number}. {title}, no system text", with_hints=with_hints, with_system=False)
        for number, title, with_hints in (("1c", alone, False), ("1d", with_site, True))
    ]


def _report(
    report: Report, inputs: Inputs, rounds: int, title: str, *, with_hints: bool, with_system: bool = True
) -> Outcome:
    rows = [inputs.row(messages, with_system=with_system) for messages in LENGTHS]
    compared = [_compare(inputs, row, rounds, with_hints) for row in rows]
    table = report.table(
        f"{title}: collator against prefix delta",
        [
            "messages",
            "tokens",
            "chatspan ms",
            "prefix delta ms",
            "ratio of pairs",
            "ms per 1k tokens",
            "prefix delta's",
        ],
    )
    for each in compared:
        per_thousand = [median(each.times[:, column] / each.tokens * 1e3) for column in (0, 1)]
        medians = [median(each.times[:, column]) for column in (0, 1)]
        table.add_row(str(each.messages), str(each.tokens), *medians, ratio(ratios(each.times, 1)), *per_thousand)
    exponents = [_growth(compared, column) for column in (0, 1)]
    lengths = f"{GROWTH_LENGTHS[0]} to {GROWTH_LENGTHS[-1]} messages"
    report.show(
        table,
        "The tensors of both sides are equal. Tokens are of student and teacher together.",
        f"Growth of time with tokens, {lengths} (1 = linear): "
        f"chatspan {exponents[0]:.2f}, prefix delta {exponents[1]:.2f}",
    )
    return Outcome(title, float(np.median(ratios(compared[-1].times, 1))), exponents[0])


def _compare(inputs: Inputs, trace: Trace, rounds: int, with_hints: bool) -> Compared:
    provenance = collator(inputs.tokenizer, with_hints=with_hints)
    prefix_delta = collator(PrefixDeltaView(inputs.tokenizer), with_hints=with_hints)
    batch, reference = provenance([trace]), prefix_delta([trace])
    if set(provenance.routes) != {"provenance"} or set(prefix_delta.routes) != {"prefix_delta"}:
        raise SystemExit(f"the sides took the routes {provenance.routes} and {prefix_delta.routes}")
    require_equal(batch, reference, batch.keys() | reference.keys())
    tokens = sum(int(mask.sum()) for name, mask in batch.items() if name.endswith("attention_mask"))
    return Compared(
        len(trace["turns"]), tokens, alternate([partial(provenance, [trace]), partial(prefix_delta, [trace])], rounds)
    )


def _growth(compared: list[Compared], column: int) -> float:
    long = [each for each in compared if each.messages in GROWTH_LENGTHS]
    return growth([each.tokens for each in long], [float(np.median(each.times[:, column])) for each in long])
