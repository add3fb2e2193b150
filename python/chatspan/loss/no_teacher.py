"""Batches without a teacher part: what a collator makes of rows that the loss is nowhere on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# What every batch of a distillation collator has, whether it has a teacher part or not.
_OF_THE_STUDENT = ("input_ids", "response_mask")
_OF_THE_LOSS = ("student_logit_idx", "teacher_logit_idx", "response_idx_mask", "sdpo_loss_mask", "sdpo_loss_weight")


def has_no_teacher(batch: Any) -> bool:
    """Whether it is a distillation collator's batch without a teacher part.

    A batch that lacks one key of several is none: that is a mistake, and no batch without a loss. Neither is one with
    ``labels``, which is of supervised fine-tuning.

    Example:
        >>> ids = torch.zeros(1, 3, dtype=torch.int64)
        >>> has_no_teacher({"input_ids": ids, "response_mask": ids}), has_no_teacher({"input_ids": ids})
        (True, False)
    """
    if not isinstance(batch, Mapping) and not hasattr(batch, "keys"):
        return False
    keys = set(batch.keys())
    if not keys.issuperset(_OF_THE_STUDENT) or keys.intersection((*_OF_THE_LOSS, "labels")):
        return False
    return not any(isinstance(key, str) and key.startswith("ctx_teacher_") for key in keys)


def batch_of_nothing(student: Any) -> dict[str, Tensor]:
    """A batch of no in-loss tokens for logits or hidden states ``[B, T, …]``; its loss is a 0 with a gradient.

    The gradient is 0, and is there: with DDP each process waits for the gradients of all.
    """
    rows = len(student) if isinstance(student, Tensor) and student.dim() else 0
    device = student.device if isinstance(student, Tensor) else None
    columns = torch.zeros(rows, 0, dtype=torch.int64, device=device)
    return {
        **dict.fromkeys(("student_logit_idx", "teacher_logit_idx", "student_response_idx", "input_ids"), columns),
        "response_idx_mask": columns.bool(),
        "old_log_probs": columns.float(),
    }
