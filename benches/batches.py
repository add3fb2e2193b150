"""A batch at once against the same rows one by one: what the tokenizer's parallelism is worth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from chatspan import ComposerDataCollator
from inputs import Inputs, Trace
from sides import collator
from tables import Report, median, ratio
from timing import alternate, ratios

_ROWS, _MESSAGES = 8, 40


def report_batches(report: Report, inputs: Inputs, rounds: int) -> None:
    """Prints rows without error sites, and with one each."""
    table = report.table(
        f"3a. {_ROWS} rows of {_MESSAGES} messages: one call against a call a row",
        ["rows", "tokens", "one call ms", "a call a row ms", "ratio of pairs"],
    )
    sites = inputs.sites(_MESSAGES)
    step = max(1, len(sites) // _ROWS)
    traces = [inputs.trace(_MESSAGES, sites[row * step % len(sites)]) for row in range(_ROWS)]
    for what, with_hints in (("student only", False), ("with one error site each", True)):
        collate = collator(inputs.tokenizer, with_hints=with_hints)
        masks = [mask for name, mask in collate(traces).items() if name.endswith("attention_mask")]
        times = alternate([partial(collate, traces), partial(_one_by_one, collate, traces)], rounds)
        tokens = str(sum(int(mask.sum()) for mask in masks))
        table.add_row(what, tokens, median(times[:, 0]), median(times[:, 1]), ratio(ratios(times, 1)))
    report.show(table, "A call with an error site already hands the tokenizer two chats, student and teacher.")


def _one_by_one(collate: ComposerDataCollator, traces: Sequence[Trace]) -> None:
    for trace in traces:
        collate([trace])
