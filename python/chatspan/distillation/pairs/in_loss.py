"""Which tokens of both sides the loss compares: of sampled turns each with itself, else by where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatspan.distillation.chats.encoded_chat import EncodedChat
from chatspan.distillation.config import DistillationConfig
from chatspan.distillation.examples.example import Example
from chatspan.distillation.pairs.alignment import align
from chatspan.encode.first_rows import weights_of_row
from chatspan.errors import AlignmentError, quoted
from chatspan.options import LossOn

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class InLoss(NamedTuple):
    """Tokens that are the same on both sides.

    Attributes:
        student, teacher: int64 ``[R]``, rising; equal ids.
        weights: float32 ``[R]``.
        dropped: int64, the student's tokens that would be in the loss and have no counterpart.
    """

    student: Ints
    teacher: Ints
    weights: Floats
    dropped: Ints


def in_loss(example: Example, student: EncodedChat, teacher: EncodedChat, config: DistillationConfig) -> InLoss:
    """The tokens that the loss is on.

    Raises:
        AlignmentError: too many of a message's tokens differ on the two sides; with ``message_index``.
        TurnBoundaryError, StraddleError: of the student's loss messages.
    """
    weights = _weights(example, student, teacher, config)
    wanted = weights > 0
    parts: list[tuple[Ints, Ints]] = []
    for index in example.loss_messages:
        mine, theirs = student.sampled.get(index), teacher.sampled.get(example.message_map[index])
        if mine is None or theirs is None:
            continue
        _require_equal(student.input_ids[slice(*mine)], teacher.input_ids[slice(*theirs)], index)
        at = np.flatnonzero(wanted[slice(*mine)])
        parts.append((mine[0] + at, theirs[0] + at))
        wanted[slice(*mine)] = False
    dropped: Ints = np.zeros(0, dtype=np.int64)
    if wanted.any():
        assert student.encoding is not None
        assert teacher.encoding is not None
        loss_map = {index: example.message_map[index] for index in example.loss_messages}
        found = align(student.encoding, teacher.encoding, loss_map, wanted=wanted, max_dropped=config.max_dropped)
        parts.append((found.student_tokens, found.teacher_tokens))
        dropped = found.dropped
    student_tokens, teacher_tokens = (
        np.concatenate([part[side] for part in parts] or [np.zeros(0, dtype=np.int64)]) for side in (0, 1)
    )
    order = np.argsort(student_tokens, kind="stable")
    student_tokens, teacher_tokens = student_tokens[order], teacher_tokens[order]
    return InLoss(student_tokens, teacher_tokens, weights[student_tokens], dropped)


def _require_equal(mine: Ints, theirs: Ints, index: int) -> None:
    if not np.array_equal(mine, theirs):
        raise AlignmentError(f"message {index}: its sampled ids are not the teacher's", message_index=index)


def _weights(example: Example, student: EncodedChat, teacher: EncodedChat, config: DistillationConfig) -> Floats:
    """float32 ``[S]``: what each of the student's tokens weighs, its message's own weight included."""
    if student.row is None:
        weights = loss_weights(student, example.loss_messages, config.loss_on)
    else:
        weights = _weights_as_sampled(example, student, teacher, config.loss_on)
    if student.owners is not None:
        for index, weight in example.message_weights.items():
            weights[student.owners == index] *= np.float32(weight)
    return weights


def _weights_as_sampled(example: Example, student: EncodedChat, teacher: EncodedChat, loss_on: LossOn) -> Floats:
    """By the teacher's side, which is rendered, and so tells what each token of a turn is."""
    weights = np.zeros(len(student.input_ids), dtype=np.float32)
    for index in example.loss_messages:
        at = example.message_map[index]
        if at not in teacher.sampled:
            continue
        if loss_on == "turn":
            weights[slice(*student.sampled[index])] = 1
        elif at in teacher.respelled:
            raise AlignmentError(
                f"message {index}: the chat template writes it in other words than were sampled, so "
                f'loss_on={quoted(loss_on)} cannot select its tokens; use loss_on="turn" to train '
                "all that were sampled",
                message_index=index,
            )
        else:
            weights[slice(*student.sampled[index])] = loss_weights(teacher, [at], loss_on)[slice(*teacher.sampled[at])]
    return weights


def loss_weights(chat: EncodedChat, messages: Sequence[int], loss_on: LossOn) -> Floats:
    """float32 ``[T]``: what each token of a side weighs in the loss.

    Args:
        messages: of that side.
    """
    if loss_on == "content":
        weights = np.zeros(len(chat.input_ids), dtype=np.float32)
        for index in messages:
            for start, end in chat.content_tokens[index]:
                weights[start:end] = 1
        return weights
    encoding = chat.encoding
    assert encoding is not None
    if loss_on == "turn":
        return encoding.mask(what="turn", messages=messages).astype(np.float32)
    if not isinstance(loss_on, Mapping):
        return encoding.mask(None, loss_on, messages=messages).astype(np.float32)
    weights = encoding.weights(weights_of_row(loss_on, encoding.roles))
    return np.where(np.isin(encoding.message_index, list(messages)), weights, np.float32(0))
