"""A student's and a teacher's tokens in the columns of a row.

``aligned``: every token has a column; a token that both sides have has the same one, and where only one side has a
token the other has a *hole* (``attention_mask`` 0, ``position_ids`` going on as if it were not there). ``indexed``:
each side is its own plain row. Either way the in-loss tokens of both sides are given by index, and in front of each of
them stands a real token, whose logits predict it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan._core import align_columns
from chatspan.batch.sides import Side
from chatspan.distillation.config import Layout
from chatspan.distillation.pairs.alignment import predicted
from chatspan.distillation.pairs.media_parts import ids_by_part
from chatspan.distillation.pairs.pair import Pair
from chatspan.distillation.pairs.student_arrays import student_arrays

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """A row of the batch.

    Attributes:
        pair: what it is of.
        student, teacher: ``teacher`` is ``None`` where there is no loss.
        response: int64, the student's columns of assistants' contents.
        student_response, teacher_response: int64 ``[R]``, the columns of the in-loss tokens.
        weights: float32 ``[R]``.
        dropped: int64, tokens of the student's chat that would be in the loss, but have no counterpart or no token in
            front of them.
        per_token: the side arrays of the student's tokens, ``[S, …]`` each.
    """

    pair: Pair
    student: Side
    teacher: Side | None
    response: Ints
    student_response: Ints
    teacher_response: Ints
    weights: Floats
    dropped: Ints
    per_token: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def dropped_tokens(self) -> int:
        """How many those are."""
        return len(self.dropped)

    @property
    def messages_of_dropped(self) -> list[int]:
        """The student's messages that those are of, where it is known."""
        owners = self.pair.student.owners
        return [] if owners is None else np.unique(owners[self.dropped]).tolist()


def row_of(pair: Pair, layout: Layout) -> Row:
    """The columns of a pair."""
    student_ids = pair.student.input_ids[pair.student_tokens]
    ranges = [np.arange(start, end) for spans in pair.student.content_tokens for start, end in spans]
    response = _at(pair.student_tokens, np.concatenate(ranges or [_NONE]))
    per_token = student_arrays(pair, mirrored=layout == "placeholder")
    if pair.teacher is None:
        side = _plain(student_ids)
        return Row(pair, side, None, response, _NONE, _NONE, pair.weights, pair.dropped, per_token)
    teacher_ids = pair.teacher.input_ids[pair.teacher_tokens]
    student_loss = _at(pair.student_tokens, pair.student_loss)
    teacher_loss = _at(pair.teacher_tokens, pair.teacher_loss)
    kept = predicted(student_loss, teacher_loss)
    student_loss, teacher_loss = student_loss[kept], teacher_loss[kept]
    if layout == "aligned":
        blocks = _blocks(student_loss, teacher_loss)
        student_columns, teacher_columns, width = align_columns(*_compared(pair, student_ids, teacher_ids), *blocks)
        student = Side(student_ids, student_columns, width)
        teacher = Side(teacher_ids, teacher_columns, width)
    else:
        student, teacher = _plain(student_ids), _plain(teacher_ids)
    return Row(
        pair=pair,
        student=student,
        teacher=teacher,
        response=student.columns[response],
        student_response=student.columns[student_loss],
        teacher_response=teacher.columns[teacher_loss],
        weights=pair.weights[kept],
        dropped=np.sort(np.concatenate([pair.dropped, pair.student_loss[~kept]])),
        per_token=per_token,
    )


def _compared(pair: Pair, student_ids: Ints, teacher_ids: Ints) -> tuple[Ints, Ints]:
    """The ids by which tokens of both sides share columns: media only those of the same part."""
    if pair.student.inputs_without is None or pair.teacher is None:
        return student_ids, teacher_ids
    student, teacher = pair.student.encoding, pair.teacher.encoding
    assert student is not None
    assert teacher is not None
    mine, theirs = ids_by_part(student, teacher, pair.example.message_map)
    return mine[pair.student_tokens], theirs[pair.teacher_tokens]


_NONE: Ints = np.zeros(0, dtype=np.int64)


def _plain(ids: Ints) -> Side:
    return Side(ids, np.arange(len(ids)), len(ids))


def _at(kept: Ints, tokens: Ints) -> Ints:
    """Where tokens stand among those that are kept; those that are not, nowhere."""
    at = np.searchsorted(kept, tokens)
    found = at < len(kept)
    found[found] = kept[at[found]] == tokens[found]
    return at[found]


def _blocks(student: Ints, teacher: Ints) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The in-loss tokens of both sides as ranges that adjoin on both."""
    if not len(student):
        return [], []
    breaks = np.flatnonzero((np.diff(student) != 1) | (np.diff(teacher) != 1)) + 1
    starts, ends = [0, *breaks.tolist()], [*breaks.tolist(), len(student)]
    sides = [
        [(int(tokens[start]), int(tokens[end - 1]) + 1) for start, end in zip(starts, ends, strict=True)]
        for tokens in (student, teacher)
    ]
    return sides[0], sides[1]
