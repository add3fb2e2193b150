"""Rows → both sides without padding and holes, and where the in-loss tokens stand in each, for trainers with frames of
their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatspan.batch.sides import Side
from chatspan.distillation.layouts import Row
from chatspan.distillation.prompts.responses import require_teacher
from chatspan.errors import AlignmentError, EmptyBatchError, LayoutError

if TYPE_CHECKING:
    from chatspan.distillation.collator import SelfDistillationCollator

Ints = NDArray[np.int64]
_NONE: Ints = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class PlainRow:
    """What a student and a teacher see of a row.

    Attributes:
        row_index: the row of the input that it is of.
        trace_id: what errors call that.
        student_ids, teacher_ids: int64 ``[S]``, ``[T]``; the student's on both sides where nothing is distilled.
        student_at, teacher_at: int64 ``[R]``, rising, at least 1: where the in-loss tokens stand in them. The ids there
            are equal.
        per_token: side arrays of the student's tokens, ``[S, …]`` each.
    """

    row_index: int
    trace_id: str
    student_ids: Ints
    teacher_ids: Ints
    student_at: Ints
    teacher_at: Ints
    per_token: Mapping[str, NDArray[Any]]


def plain_rows(collator: SelfDistillationCollator, rows: Sequence[Any]) -> list[PlainRow]:
    """The rows of a batch, as a distillation collator makes them.

    Args:
        collator: which tokens the loss is on, hints, and what becomes of what is too long. Of its configuration the
            form of the batch (``layout``, ``packing``, padding) does not count.

    Raises:
        OptionError: a collator without a teacher, or with ``layout="placeholder"``.
        LayoutError: tokens with weights other than 1, which a mask cannot carry; with ``trace_id``.
        EmptyBatchError: no row is left.
        ChatspanError: as a call of the collator.
    """
    require_teacher(collator, "it was never shown")
    found = [_plain(row) for row in collator.examined(rows)]
    if not found:
        raise EmptyBatchError(
            f"none of {len(rows)} rows is left: they are too long, or have no loss and keep_empty=False"
        )
    return found


def _plain(row: Row) -> PlainRow:
    example = row.pair.example
    trace_id = example.student.trace_id
    if not np.all(row.weights == 1):
        raise LayoutError(
            "its tokens have weights other than 1, which a mask cannot carry; set loss_on to a name or a set "
            "of Kinds, and the weights of messages to 0 or 1",
            trace_id=trace_id,
        )
    teacher = row.teacher or row.student
    student_at, teacher_at = (
        (_tokens(row.student, row.student_response), _tokens(teacher, row.teacher_response))
        if row.teacher is not None
        else (_NONE, _NONE)
    )
    found = PlainRow(
        row_index=example.row_index,
        trace_id=trace_id,
        student_ids=row.student.input_ids,
        teacher_ids=teacher.input_ids,
        student_at=student_at,
        teacher_at=teacher_at,
        per_token=row.per_token,
    )
    # The promise, checked on what is returned.
    if not np.array_equal(found.student_ids[student_at], found.teacher_ids[teacher_at]):
        raise AlignmentError("student and teacher differ in an in-loss token", trace_id=trace_id)
    return found


def _tokens(side: Side, columns: Ints) -> Ints:
    """Which token of a side stands in each of the columns."""
    return np.searchsorted(side.columns, columns)
