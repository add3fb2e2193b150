"""Example + both sides' tokens → which tokens the loss is on, and where each is on either side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.distillation.chats.encoded_chat import EncodedChat, TokenRange
from chatspan.distillation.config import DistillationConfig
from chatspan.distillation.examples.example import Example
from chatspan.distillation.pairs.hint_places import require_hints_in_place
from chatspan.distillation.pairs.in_loss import InLoss, in_loss
from chatspan.errors import AlignmentError, ChatspanError, ContentNotFoundError
from chatspan.kinds import Kind
from chatspan.options import LossOn
from chatspan.rows.messages import is_blank

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_NONE: Ints = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Pair:
    """Both sides of an example as tokens.

    Attributes:
        example: what it is of.
        student, teacher: the chats; ``teacher`` is ``None`` where there is no loss.
        student_tokens, teacher_tokens: int64 ``[S]``, ``[T]``, the tokens of the chats that are in the row; all, until
            messages are left out.
        student_loss, teacher_loss: int64 ``[R]``, the in-loss tokens of the chats; equal ids.
        weights: float32 ``[R]``.
        dropped: int64, the student's tokens that would be in the loss and have no counterpart.
        dropped_messages: messages that were left out for length.
    """

    example: Example
    student: EncodedChat
    teacher: EncodedChat | None
    student_tokens: Ints
    teacher_tokens: Ints
    student_loss: Ints = field(default_factory=_NONE.copy)
    teacher_loss: Ints = field(default_factory=_NONE.copy)
    weights: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    dropped: Ints = field(default_factory=_NONE.copy)
    dropped_messages: Sequence[int] = ()

    @property
    def width(self) -> int:
        """The tokens of the longer side."""
        return max(len(self.student_tokens), len(self.teacher_tokens))


def pair_of(example: Example, student: EncodedChat, teacher: EncodedChat | None, config: DistillationConfig) -> Pair:
    """The in-loss tokens of an example on both sides.

    Raises:
        HintPlacementError: a hint does not stand before its recovery, or elsewhere too.
        AlignmentError: too many of a message's tokens differ on the two sides.
        TurnBoundaryError, StraddleError: of the student's loss messages.
    """
    all_student = np.arange(len(student.input_ids))
    if teacher is None:
        return Pair(example, student, None, all_student, _NONE)
    require_hints_in_place(example, teacher)
    try:
        if student.route != "prefix_delta" and teacher.encoding is not None:
            found = in_loss(example, student, teacher, config)
        else:
            student_loss, teacher_loss = _by_ranges(example, student, teacher)
            found = InLoss(student_loss, teacher_loss, np.ones(len(student_loss), dtype=np.float32), _NONE)
    except ChatspanError as error:
        raise error.at(**example.student.place(error.message_index)) from None
    return Pair(
        example=example,
        student=student,
        teacher=teacher,
        student_tokens=all_student,
        teacher_tokens=np.arange(len(teacher.input_ids)),
        student_loss=found.student,
        teacher_loss=found.teacher,
        weights=found.weights,
        dropped=found.dropped,
    )


def placeholder_pair(example: Example, teacher: EncodedChat) -> Pair:
    """A pair whose student is the teacher, until another one of the same length is found.

    Raises:
        HintPlacementError: a hint does not stand before its recovery, or elsewhere too.
        ContentNotFoundError: the template leaves a recovery out.
    """
    require_hints_in_place(example, teacher)
    for index in example.loss_messages:
        if not teacher.content_tokens[example.message_map[index]]:
            raise ContentNotFoundError(
                "the chat template leaves the recovery's content out, so there is nothing to distil",
                **example.student.place(index),
            )
    tokens = np.arange(len(teacher.input_ids))
    return Pair(example, teacher, teacher, tokens, tokens)


def unrendered(example: Example, student: EncodedChat, teacher: EncodedChat, loss_on: LossOn) -> list[int]:
    """The loss messages whose content a template leaves out, on either side.

    Not those of which it writes calls that the loss may be on.
    """
    assert example.teacher is not None
    teacher_messages = example.teacher.messages

    def is_out(chat: EncodedChat, message: Any, index: int) -> bool:
        if is_blank(message.get("content")) or chat.content_tokens[index]:
            return False
        # A hint's place is found by the content behind it.
        by_content = loss_on == "content" or bool(example.hints)
        return by_content or not _has_calls(chat, index)

    return [
        index
        for index in example.loss_messages
        if is_out(student, example.student.messages[index], index)
        or is_out(teacher, teacher_messages[example.message_map[index]], example.message_map[index])
    ]


def _has_calls(chat: EncodedChat, index: int) -> bool:
    encoding = chat.encoding
    return encoding is not None and bool(encoding.mask(None, {Kind.TOOL_CALL}, messages=[index]).any())


def _by_ranges(example: Example, student: EncodedChat, teacher: EncodedChat) -> tuple[Ints, Ints]:
    """By the ranges of contents alone, where no more is known."""
    tokens: list[tuple[TokenRange, TokenRange]] = []
    for index in example.loss_messages:
        on_student = student.content_tokens[index]
        on_teacher = teacher.content_tokens[example.message_map[index]]
        lengths = [[end - start for start, end in ranges] for ranges in (on_student, on_teacher)]
        ids = [
            [chat.input_ids[start:end].tolist() for start, end in ranges]
            for chat, ranges in ((student, on_student), (teacher, on_teacher))
        ]
        if lengths[0] != lengths[1] or ids[0] != ids[1]:
            raise AlignmentError("the content has other ids on the two sides", message_index=index)
        tokens += zip(on_student, on_teacher, strict=True)
    both = [np.concatenate([np.arange(*pair[side]) for pair in tokens] or [_NONE]) for side in (0, 1)]
    return both[0], both[1]
