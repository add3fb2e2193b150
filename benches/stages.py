"""Where a collator's time goes: its own functions, timed in place during real calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import chatspan.distillation.chats.provenance
import chatspan.distillation.collator
import chatspan.distillation.composer
import chatspan.render.native.template
import chatspan.render.renderer
import chatspan.tokenize.backends
import numpy as np
from inputs import Inputs, Trace
from sides import collator
from tables import Report

_MESSAGES = 80
_REST = "rest"


class Stopwatch:
    """Sums the time of wrapped functions, each without the wrapped functions inside of it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]  # for each running function the time of those inside of it

    def timed(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed under a label."""
        self.seconds.setdefault(label, 0.0)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = time.perf_counter() - start
                self.seconds[label] += elapsed - self._inner.pop()
                self._inner[-1] += elapsed

        return wrapper


def report_stages(report: Report, inputs: Inputs, rounds: int) -> None:
    """Prints what each stage of a row of 80 messages takes, without and with an error site."""
    trace = inputs.row(_MESSAGES)
    sides = [_breakdown(inputs.tokenizer, trace, with_hints, 3 * rounds) for with_hints in (False, True)]
    totals = [stages.pop("total") for stages in sides]
    table = report.table(
        f"4. Where the time goes: one row of {_MESSAGES} messages",
        ["stage", "student only, ms", "%", "with an error site, ms", "%"],
    )
    for name in sides[0]:
        table.add_row(name, *_cells([stages[name] for stages in sides], totals))
    table.add_section()
    table.add_row("sum of the medians", *_cells([sum(stages.values()) for stages in sides], totals))
    table.add_row("median of the whole call", *_cells(totals, totals))
    report.show(table, "Each function without the others of this table inside of it. The error site doubles the chats.")


def _cells(milliseconds: Sequence[float], totals: Sequence[float]) -> list[str]:
    pairs = zip(milliseconds, totals, strict=True)
    return [cell for value, total in pairs for cell in (f"{value:.2f}", f"{value / total:.1%}")]


def _breakdown(tokenizer: Any, trace: Trace, with_hints: bool, calls: int) -> dict[str, float]:
    """Median milliseconds of each stage and of the whole call, ``"total"``."""
    samples = [_one_call(tokenizer, trace, with_hints) for _ in range(calls)]
    return {name: float(np.median([sample[name] for sample in samples])) for name in samples[0]}


def _one_call(tokenizer: Any, trace: Trace, with_hints: bool) -> dict[str, float]:
    collate = collator(tokenizer, with_hints=with_hints)
    watch = Stopwatch()
    with ExitStack() as patches:
        for owner, name, label in _functions(tokenizer):
            patches.enter_context(patch.object(owner, name, watch.timed(label, getattr(owner, name))))
        start = time.perf_counter()
        collate([trace])
        total = time.perf_counter() - start
    seconds = {**watch.seconds, _REST: total - sum(watch.seconds.values()), "total": total}
    return {name: value * 1e3 for name, value in seconds.items()}


def _functions(tokenizer: Any) -> list[tuple[Any, str, str]]:
    """Owner, name and label of what is timed, in the order of the way; under the names that the callers look up."""
    return [
        (chatspan.distillation.composer, "read_traces", "check traces, make hints"),
        (chatspan.render.native.template.NativeTemplate, "read", "read the messages (Rust)"),
        (chatspan.render.renderer, "render_jobs", "render, with provenance (Rust)"),
        (chatspan.tokenize.backends.Backends, "encode_batch", "tokenize (Rust)"),
        (chatspan.distillation.chats.provenance.ProvenanceRoute, "_chat", "runs to token ranges"),
        (chatspan.distillation.chats.provenance, "token_spans", "token_spans (Rust)"),
        (chatspan.distillation.collator, "pair_of", "pair both sides' tokens"),
        (chatspan.distillation.collator, "row_of", "layout"),
        (chatspan.distillation.collator, "batch_of", "tensors"),
    ]
