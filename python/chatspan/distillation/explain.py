"""A row of a batch, for a person to read."""

from __future__ import annotations

from typing import Any

import numpy as np

from chatspan.distillation.layouts import Row


def explain_row(row: Row, tokenizer: Any) -> str:
    """What each side sees, what the loss is on, and what was left out."""
    pair, example = row.pair, row.pair.example
    lines = [f"trace {example.student.trace_id!r} (row {example.row_index})"]
    lines.append(f"  student: {len(row.student.input_ids)} tokens")
    if row.teacher is None:
        lines.append("  no loss")
    else:
        holes = f", in {row.student.width} columns" if row.student.width != len(row.student.input_ids) else ""
        lines.append(f"  teacher: {len(row.teacher.input_ids)} tokens{holes}")
    ids = {int(column): int(token) for column, token in zip(row.student.columns, row.student.input_ids, strict=True)}
    owners = None if pair.student.owners is None else pair.student.owners[pair.student_loss]
    for index in example.loss_messages:
        hint = example.hints.get(index)
        if hint is not None:
            lines.append(f"  turn {index}, hint in the teacher's message {hint.message_index}")
        if owners is None:
            continue
        columns = row.student_response[np.isin(row.student_response, _columns(row, owners == index))]
        text = tokenizer.decode([ids[int(column)] for column in columns])
        lines.append(f"  turn {index}, {len(columns)} tokens in the loss: {text!r}")
    for count, what in (
        (row.dropped_tokens, "in-loss tokens without a counterpart"),
        (example.dropped_sites, "loss messages left out"),
    ):
        if count:
            lines.append(f"  {count} {what}")
    if pair.dropped_messages:
        lines.append(f"  messages left out for max_length: {', '.join(map(str, pair.dropped_messages))}")
    return "\n".join(lines)


def _columns(row: Row, chosen: Any) -> Any:
    at = np.searchsorted(row.pair.student_tokens, row.pair.student_loss[chosen])
    return row.student.columns[at]
