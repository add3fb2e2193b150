"""Rows that are too long: whole messages are left out, by slicing their tokens out of the full render."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.distillation.chats.encoded_chat import EncodedChat
from chatspan.distillation.pairs.pair import Pair
from chatspan.errors import TokenizerError, TruncationError

_SYSTEM_ROLES = ("system", "developer")


@dataclass(frozen=True)
class _Unit:
    """Messages that stay or go together, as a call and its results: those of the student, and the teacher's."""

    student: Sequence[int]
    teacher: Sequence[int]
    protected: bool


def fitted(pair: Pair, max_length: int, bos_token_id: int | None) -> Pair:
    """The pair with messages left out from the left until the longer side has at most ``max_length`` tokens.

    The system message, the tools, hints, messages that the loss is on, messages that only one side has and the last
    one stay; a tool's result leaves with its call.

    Raises:
        TruncationError: what has to stay is longer; with the turn of a loss message that is longer by itself, or else
            of the first one.
        TokenizerError: whose each token is, is not known.
    """
    if pair.width <= max_length:
        return pair
    owners = [_owners(chat, bos_token_id, pair) for chat in (pair.student, pair.teacher or pair.student)]
    counts = [Counter(of.tolist()) for of in owners]
    lengths = [len(pair.student_tokens), len(pair.teacher_tokens)]
    left_out: list[_Unit] = []
    for unit in _units(pair):
        if max(lengths) <= max_length:
            break
        if not unit.protected:
            left_out.append(unit)
            lengths[0] -= sum(counts[0][index] for index in unit.student)
            if pair.teacher is not None:
                lengths[1] -= sum(counts[1][index] for index in unit.teacher)
    if max(lengths) > max_length:
        loss_messages = pair.example.loss_messages
        alone = [index for index in loss_messages if counts[0][index] > max_length]
        raise TruncationError(
            f"{max(lengths)} tokens are more than max_length={max_length}, even without every message that may be "
            "left out: the system message, hints, recoveries and the last message are never cut; use "
            'overflow="drop_row" or "drop_site" to leave it out',
            trace_id=pair.example.student.trace_id,
            turn_index=next(iter([*alone, *loss_messages]), None),
        )
    of_student = [index for unit in left_out for index in unit.student]
    of_teacher = [index for unit in left_out for index in unit.teacher]
    student_tokens = np.flatnonzero(~np.isin(owners[0], of_student))
    teacher_tokens = pair.teacher_tokens if pair.teacher is None else np.flatnonzero(~np.isin(owners[1], of_teacher))
    return replace(
        pair, student_tokens=student_tokens, teacher_tokens=teacher_tokens, dropped_messages=sorted(of_student)
    )


def _owners(chat: EncodedChat, bos_token_id: int | None, pair: Pair) -> NDArray[np.int32]:
    """The message of each token; none's is what begins the text."""
    owners = chat.owners
    if owners is None:
        raise TokenizerError(
            f"{pair.width} tokens are more than max_length, and leaving messages out needs an HF fast tokenizer, "
            "which shows what each token belongs to",
            trace_id=pair.example.student.trace_id,
        )
    if len(owners) and chat.input_ids[0] == bos_token_id:
        # A template may write it as a part of its first message.
        owners = owners.copy()
        owners[0] = -1
    return owners


def _units(pair: Pair) -> list[_Unit]:
    """The messages that both sides have, in order."""
    example, messages = pair.example, pair.example.student.messages
    message_map = example.message_map if example.teacher is not None else {i: i for i in range(len(messages))}
    holders = {hint.message_index for hint in example.hints.values()}
    units = []
    for group in _groups(messages):
        of_teacher = [message_map[index] for index in group if index in message_map]
        protected = (
            len(of_teacher) < len(group)
            or any(index in example.loss_messages for index in group)
            or not holders.isdisjoint(of_teacher)
            or (group[0] == 0 and messages[0]["role"] in _SYSTEM_ROLES)
            or group[-1] == len(messages) - 1
        )
        units.append(_Unit(group, of_teacher, protected))
    return units


def _groups(messages: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Message indices; a call and the results behind it are one group."""
    groups: list[list[int]] = []
    calls = False
    for index, message in enumerate(messages):
        if calls and message["role"] in ("tool", "function", "ipython", "observation"):
            groups[-1].append(index)
        else:
            groups.append([index])
            calls = bool(message.get("tool_calls"))
    return groups
