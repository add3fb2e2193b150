"""Rows that are too long: whole messages are left out, by slicing their tokens out of the full render."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.chats import EncodedChat
from chatspan.errors import TokenizerError, TruncationError
from chatspan.pairs import Pair

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
        TruncationError: what has to stay is longer; with the turn of the first loss message.
        TokenizerError: whose each token is, is not known.
    """
    if pair.width <= max_length:
        return pair
    counts = [_counts(chat) for chat in (pair.student, pair.teacher or pair.student)]
    lengths = [len(pair.student_tokens), len(pair.teacher_tokens)]
    left_out: list[_Unit] = []
    for unit in _units(pair):
        if max(lengths) <= max_length:
            break
        if not unit.protected:
            left_out.append(unit)
            lengths[0] -= sum(counts[0].get(index, 0) for index in unit.student)
            if pair.teacher is not None:
                lengths[1] -= sum(counts[1].get(index, 0) for index in unit.teacher)
    if max(lengths) > max_length:
        turn_index = pair.example.loss_messages[0] if pair.example.loss_messages else None
        raise TruncationError(
            f"{max(lengths)} tokens are more than max_length={max_length}, with every message left out that may be: "
            'the system message, hints, recoveries and the last message are never cut; overflow="drop_row" or '
            '"drop_site" leaves it out',
            trace_id=pair.example.student.trace_id,
            turn_index=turn_index,
        )
    of_student = [index for unit in left_out for index in unit.student]
    of_teacher = [index for unit in left_out for index in unit.teacher]
    student_tokens = _kept(pair.student, of_student, bos_token_id)
    teacher_tokens = pair.teacher_tokens if pair.teacher is None else _kept(pair.teacher, of_teacher, bos_token_id)
    return replace(
        pair, student_tokens=student_tokens, teacher_tokens=teacher_tokens, dropped_messages=sorted(of_student)
    )


def _message_index(chat: EncodedChat) -> NDArray[np.int32]:
    if chat.encoding is None:
        raise TokenizerError("max_length needs an HF fast tokenizer, which tells whose each token is")
    return chat.encoding.message_index


def _counts(chat: EncodedChat) -> Mapping[int, int]:
    indices, counts = np.unique(_message_index(chat), return_counts=True)
    return dict(zip(indices.tolist(), counts.tolist(), strict=True))


def _kept(chat: EncodedChat, left_out: Sequence[int], bos_token_id: int | None) -> NDArray[np.int64]:
    kept = ~np.isin(_message_index(chat), list(left_out))
    # A template may write it as a part of its first message.
    if len(kept) and chat.input_ids[0] == bos_token_id:
        kept[0] = True
    return np.flatnonzero(kept)


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
