"""Rows → the arrays of a batch, padded; or packed into one row without padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chatspan.batch.per_token import PlacedArrays, batch_arrays, gathered, starts_of
from chatspan.batch.sides import Arrays, Ints, packed_side, side_arrays
from chatspan.distillation.config import DistillationConfig
from chatspan.distillation.layouts import Row
from chatspan.errors import AlignmentError

_TEACHER = "ctx_teacher_"
# What torch's cross entropy passes over.
IGNORED = -100


def batch_of(rows: Sequence[Row], config: DistillationConfig, pad_id: int) -> Arrays:
    """The arrays of a batch; see :class:`chatspan.SelfDistillationCollator`."""
    make = _packed if config.packing else _padded
    batch = make(rows, config, pad_id)
    batch["row_index"] = np.array([row.pair.example.row_index for row in rows], dtype=np.int64)
    batch["dropped_tokens"] = np.array([row.dropped_tokens for row in rows], dtype=np.int64)
    batch["dropped_messages"] = np.array([len(row.pair.dropped_messages) for row in rows], dtype=np.int64)
    batch["dropped_sites"] = np.array([row.pair.example.dropped_sites for row in rows], dtype=np.int64)
    if config.constant_keys:
        batch |= _denominators(batch)
    if config.shift_labels:
        batch["shift_labels"] = _shifted(batch)
    if f"{_TEACHER}input_ids" in batch:
        _require_equal_ids(batch, rows)
    return batch | _side_arrays(rows, config, batch) if config.per_token else batch


def _side_arrays(rows: Sequence[Row], config: DistillationConfig, batch: Arrays) -> Arrays:
    """The student's side arrays, in its columns, and those of the in-loss tokens by themselves."""
    width = batch["input_ids"].shape[1]
    starts = starts_of((row.student.width for row in rows), width, config)
    placed = [
        PlacedArrays(
            row.per_token,
            start + row.student.columns,
            bool(row.pair.student.sampled),
            {"trace_id": row.pair.example.student.trace_id},
        )
        for row, start in zip(rows, starts, strict=True)
    ]
    found = batch_arrays(config.per_token, placed, width, packed=config.packing)
    if "student_response_idx" in batch:
        at, mask = batch["student_response_idx"], batch["response_idx_mask"]
        found |= {f"student_response_{name}": gathered(array, at, mask) for name, array in found.items()}
    return found


def _padded(rows: Sequence[Row], config: DistillationConfig, pad_id: int) -> Arrays:
    batch, starts = side_arrays("", [row.student for row in rows], config, pad_id)
    shape = batch["input_ids"].shape
    response_mask = np.zeros(shape, dtype=np.int64)
    for i, row in enumerate(rows):
        response_mask[i, starts[i] + row.response] = 1
    batch["response_mask"] = response_mask
    if not _has_teacher(rows, config):
        return batch
    teacher, teacher_starts = side_arrays(_TEACHER, [row.teacher or row.student for row in rows], config, pad_id)
    batch |= teacher
    batch |= _loss_arrays(rows, shape, config, starts, teacher_starts)
    return batch


def _has_teacher(rows: Sequence[Row], config: DistillationConfig) -> bool:
    """Whether the batch has a teacher part; where no row has one, the students are the teachers."""
    return config.constant_keys or any(row.teacher is not None for row in rows)


def _denominators(batch: Arrays) -> Arrays:
    """What a loss over several batches is divided by, summed over these."""
    return {
        "in_loss_tokens": np.array([batch["response_idx_mask"].sum()], dtype=np.int64),
        "in_loss_weight": np.array([batch["sdpo_loss_weight"].sum(dtype=np.float64)], dtype=np.float32),
    }


def _entries(most: int, config: DistillationConfig) -> int:
    """R. With constant keys at least 1, which the mask leaves out: a model takes no empty ``logits_to_keep``."""
    return max(1, most) if config.constant_keys else most


def _shifted(batch: Arrays) -> Ints:
    """The in-loss tokens at the columns whose logits predict them."""
    labels = np.full(batch["input_ids"].shape, IGNORED, dtype=np.int64)
    if "response_idx_mask" in batch:
        row, entry = np.nonzero(batch["response_idx_mask"])
        at, token = batch["student_logit_idx"][row, entry], batch["student_response_idx"][row, entry]
        labels[row, at] = batch["input_ids"][row, token]
    return labels


def _loss_arrays(
    rows: Sequence[Row], shape: tuple[int, ...], config: DistillationConfig, starts: Ints, teacher_starts: Ints
) -> Arrays:
    most = _entries(max(len(row.weights) for row in rows), config)
    loss_mask = np.full(shape, config.sdpo_ignore_index, dtype=np.int64)
    weights = np.zeros(shape, dtype=np.float32)
    index_mask = np.zeros((len(rows), most), dtype=bool)
    student, teacher = np.zeros((2, len(rows), most), dtype=np.int64)
    for i, row in enumerate(rows):
        count = len(row.weights)
        index_mask[i, :count] = True
        student[i, :count] = row.student_response + starts[i]
        teacher[i, :count] = row.teacher_response + teacher_starts[i]
        loss_mask[i, student[i, :count]] = 1
        weights[i, student[i, :count]] = row.weights
    return {"sdpo_loss_mask": loss_mask, "sdpo_loss_weight": weights, **_indices(student, teacher, index_mask)}


def _indices(student: Ints, teacher: Ints, index_mask: NDArray[np.bool_]) -> Arrays:
    return {
        "student_response_idx": student,
        "teacher_response_idx": teacher,
        "response_idx_mask": index_mask,
        # A real token stands in front of each; see chatspan.distillation.pairs.alignment.predicted.
        "student_logit_idx": np.where(index_mask, student - 1, 0),
        "teacher_logit_idx": np.where(index_mask, teacher - 1, 0),
    }


def _packed(rows: Sequence[Row], config: DistillationConfig, pad_id: int) -> Arrays:
    """One row of all rows, one behind the other."""
    students = [row.student for row in rows]
    batch, starts = packed_side("", students, config, pad_id)
    length = batch["input_ids"].shape[1]
    response_mask = np.zeros((1, length), dtype=np.int64)
    for start, row in zip(starts, rows, strict=True):
        response_mask[0, start + row.response] = 1
    batch["response_mask"] = response_mask
    if not _has_teacher(rows, config):
        return batch
    teacher, teacher_starts = packed_side(_TEACHER, [row.teacher or row.student for row in rows], config, pad_id)
    batch |= teacher
    student_at = np.concatenate([start + row.student_response for start, row in zip(starts, rows, strict=True)])
    teacher_at = np.concatenate([start + row.teacher_response for start, row in zip(teacher_starts, rows, strict=True)])
    loss_mask = np.full((1, length), config.sdpo_ignore_index, dtype=np.int64)
    weights = np.zeros((1, length), dtype=np.float32)
    loss_mask[0, student_at] = 1
    weights[0, student_at] = np.concatenate([row.weights for row in rows])
    batch |= {"sdpo_loss_mask": loss_mask, "sdpo_loss_weight": weights}
    index_mask = np.arange(_entries(len(student_at), config))[None] < len(student_at)
    # Of no tokens np.resize makes zeros.
    student_at, teacher_at = (np.resize(at, index_mask.shape) for at in (student_at, teacher_at))
    return batch | _indices(student_at, teacher_at, index_mask)


def _require_equal_ids(batch: Arrays, rows: Sequence[Row]) -> None:
    """The promise of the batch, checked on what is returned: equal ids, and real tokens in front of them."""
    row, column = np.nonzero(batch["response_idx_mask"])
    student, teacher = batch["student_response_idx"][row, column], batch["teacher_response_idx"][row, column]
    wrong = batch["input_ids"][row, student] != batch[f"{_TEACHER}input_ids"][row, teacher]
    for prefix, side in (("", "student"), (_TEACHER, "teacher")):
        before = batch[f"{side}_logit_idx"][row, column]
        wrong |= before < 0
        if f"{prefix}attention_mask" in batch:
            wrong |= batch[f"{prefix}attention_mask"][row, before] == 0
        else:
            wrong |= batch[f"{prefix}position_ids"][row, before + 1] == 0
    if wrong.any():
        at = int(np.argmax(wrong))
        raise AlignmentError(
            f"student and teacher differ in the in-loss column {student[at]}",
            trace_id=rows[int(row[at])].pair.example.student.trace_id if len(rows) > row[at] else None,
        )
