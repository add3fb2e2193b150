"""Self-distillation batches in each layout: beside TRL's collation and the forward pass that they feed; padding."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from chatspan import DistillationConfig, SelfDistillationCollator, pack_dataset
from inputs import Inputs
from sides import messages_of
from tables import Report, median, ratio
from timing import alternate, ratios
from transformers import Qwen2Config, Qwen2ForCausalLM

_ROWS = 8
_MESSAGES = 24
_PADDED_ROWS = 64
_PACKED_LENGTH = 16_384
# All of a large vocabulary for 8 rows of 3,000 tokens would take 15 GB.
_ONE_LOGIT = {"use_cache": False, "logits_to_keep": 1}
_HINT = "The call before this turn failed. Read what the error says, and try a call that avoids it."
_LAYOUTS: dict[str, dict[str, Any]] = {
    "aligned": {"layout": "aligned"},
    "indexed": {"layout": "indexed"},
    "indexed, packed": {"layout": "indexed", "packing": True},
}


def report_distillation(report: Report, inputs: Inputs, rounds: int) -> None:
    """Prints milliseconds a row and ratios."""
    rows = distillation_rows(inputs, _ROWS)
    collators = {name: _collator(inputs, options) for name, options in _LAYOUTS.items()}
    calls: dict[str, Callable[[], object]] = {name: partial(each, rows) for name, each in collators.items()}
    trl = _trl(inputs.tokenizer, rows)
    if trl is not None:
        calls["TRL, student and teacher"] = trl
    model = _model(len(inputs.tokenizer))
    batch = collators["aligned"](rows)
    keys = ("input_ids", "attention_mask", "position_ids")
    inputs_of_model = {key: batch[key] for key in keys}
    calls["forward pass, student"] = torch.no_grad()(lambda: model(**inputs_of_model, **_ONE_LOGIT))
    if torch.cuda.is_available():
        calls["copy to the device"] = partial(_copied, {key: tensor.pin_memory() for key, tensor in batch.items()})
    for call in calls.values():
        call()
    times = alternate(list(calls.values()), rounds)
    table = report.table(
        f"9. {_ROWS} rows of about {_MESSAGES // 2} messages, student and teacher, cut behind the recovery",
        ["", "ms a row", "this / aligned"],
    )
    for column, name in enumerate(calls):
        table.add_row(name, median(times[:, column] / _ROWS), ratio(ratios(times, column)))
    report.show(
        table,
        "TRL: DataCollatorForChatML (experimental) on the student's messages and on the teacher's: the last message is",
        "the completion. The forward pass is that of a Qwen2 with 2 layers of 64, without the logits.",
    )
    _report_padding(report, inputs)


def distillation_rows(inputs: Inputs, count: int) -> list[dict[str, Any]]:
    """Real conversations up to a recovery; the teacher has a hint at the end of the message before."""
    sites = inputs.sites(_MESSAGES)
    rows = []
    for i in range(count):
        messages = messages_of(inputs.trace(_MESSAGES, sites[i % len(sites)]))
        messages = messages[: _MESSAGES // 2 + 2 * (i % 4)]
        *before, asked, recovery = messages
        hinted = {**asked, "content": f"{asked['content']}\n\n{_HINT}"}
        loss_messages = [len(messages) - 1]
        rows.append(
            {"messages": messages, "teacher_messages": [*before, hinted, recovery], "loss_messages": loss_messages}
        )
    return rows


def _collator(inputs: Inputs, options: dict[str, Any]) -> SelfDistillationCollator:
    collate = SelfDistillationCollator(inputs.tokenizer, DistillationConfig(**options))
    collate.warm_up()
    return collate


def _trl(tokenizer: Any, rows: Sequence[Any]) -> Callable[[], object] | None:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    try:
        from trl.experimental.utils import DataCollatorForChatML
    except ImportError:
        return None
    collate = DataCollatorForChatML(tokenizer, max_length=1_000_000)
    sides = [[{"messages": row[key]} for row in rows] for key in ("messages", "teacher_messages")]
    return lambda: [collate(side) for side in sides]


def _model(vocabulary: int) -> Any:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return Qwen2ForCausalLM(config).eval()


def _copied(batch: dict[str, torch.Tensor]) -> None:
    for tensor in batch.values():
        tensor.to("cuda", non_blocking=True)
    torch.cuda.synchronize()


def _report_padding(report: Report, inputs: Inputs) -> None:
    rows = distillation_rows(inputs, _PADDED_ROWS)
    table = report.table(f"10. Padding: {_PADDED_ROWS} rows, both sides", ["batches", "columns", "tokens", "padding"])
    for name, options in _LAYOUTS.items():
        collate = _collator(inputs, options)
        if "packing" in options:
            groups: list[Any] = pack_dataset(rows, max_length=_PACKED_LENGTH, collator=collate)
            batches = [collate([group]) for group in groups]
        else:
            batches = [collate(rows[start : start + _ROWS]) for start in range(0, len(rows), _ROWS)]
        columns = sum(batch[f"{side}input_ids"].numel() for batch in batches for side in ("", "ctx_teacher_"))
        tokens = sum(_tokens(batch, side) for batch in batches for side in ("", "ctx_teacher_"))
        table.add_row(f"{len(batches)}, {name}", f"{columns:,}", f"{tokens:,}", f"{1 - tokens / columns:.1%}")
    note = f"Batches of {_ROWS} rows in the order of the data set; packed into up to {_PACKED_LENGTH:,} tokens."
    report.show(table, note)


def _tokens(batch: dict[str, Any], side: str) -> int:
    mask = batch.get(f"{side}attention_mask")
    return int(mask.sum()) if mask is not None else batch[f"{side}input_ids"].numel()
