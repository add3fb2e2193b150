"""Real traces through a DataLoader: tokens a second of the collator, and of plain collation with transformers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from inputs import Inputs
from sides import collator, messages_of
from tables import Report
from torch.utils.data import DataLoader

_ROWS = 64
_MESSAGES = 24
_BATCH = 8


def report_loader(report: Report, inputs: Inputs, rounds: int) -> None:
    """Prints tokens a second with 0 and 2 workers."""
    sites = inputs.sites(_MESSAGES)
    traces = [inputs.trace(_MESSAGES, sites[i % len(sites)]) for i in range(_ROWS)]
    plain = partial(_plain, inputs.tokenizer)
    sides: dict[str, Callable[[Any], Any]] = {
        "chatspan, student only": collator(inputs.tokenizer, with_hints=False),
        "transformers, ids only": plain,
    }
    table = report.table(
        f"8. {_ROWS} real traces of {_MESSAGES} messages through a DataLoader, batches of {_BATCH}",
        ["collation", "0 workers, tokens/s", "2 workers, tokens/s"],
    )
    for name, collate in sides.items():
        speeds = [_speed(traces, collate, workers, min(rounds, 5)) for workers in (0, 2)]
        table.add_row(name, *(f"{speed:,.0f}" for speed in speeds))
    report.show(table, "Epochs after the first; with workers, their start is not counted.")


def _plain(tokenizer: Any, traces: Sequence[Any]) -> dict[str, torch.Tensor]:
    rows = [tokenizer.apply_chat_template(messages_of(trace), return_dict=True)["input_ids"] for trace in traces]
    batch: dict[str, torch.Tensor] = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    return batch


def _speed(traces: Any, collate: Callable[[Any], Any], workers: int, rounds: int) -> float:
    """Tokens a second: the median of some epochs."""
    loader: Any = DataLoader(
        traces, batch_size=_BATCH, num_workers=workers, collate_fn=collate, persistent_workers=workers > 0
    )
    speeds = []
    for epoch in range(rounds + 1):
        start = time.perf_counter()
        tokens = sum(int(batch["attention_mask"].sum()) for batch in loader)
        if epoch:
            speeds.append(tokens / (time.perf_counter() - start))
    return sorted(speeds)[len(speeds) // 2]
