"""Rows as sampled → the student's conversation, with its ids, and the row of messages that a reader takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.batch.given_rows import SAMPLED, GivenRow
from chatspan.distillation.examples.conversation import Conversation
from chatspan.encode.token_ids import with_token_ids, without_token_ids
from chatspan.errors import AlignmentError, RolloutError, RowError, TraceError
from chatspan.rollout.sampled_row import SampledRow
from chatspan.rows.conversations import Chat
from chatspan.rows.messages import Message, shown
from chatspan.rows.same_text import message_key
from chatspan.tokenize.sampled_ids import whole_ids


def as_row(given: GivenRow) -> dict[str, Any]:
    """A row of messages that is read like any other: those of the row as sampled, and what is said of them.

    Raises:
        RowError: the row as sampled has none, or what is said is of another message; with ``message_index``.
    """
    row = given.row
    if row.chat is None:
        raise RowError(
            "it is a row as sampled without its messages, which the teacher's side needs: "
            "pass the rows of rollout.rows() or encoder.sampled_rows(…), uncut"
        )
    said = {**given.said, "loss_messages": given.loss_messages}
    errors, meta = (_by_message(said.pop(name, None), name) for name in ("tool_errors", "error_meta"))
    found = row.chat.as_row()
    for index, error in errors.items():
        if index >= len(found["messages"]):
            # Of a later row of the same rollout.
            continue
        if index < 0 or found["messages"][index].get("role") != "assistant":
            raise RowError(
                f"its 'tool_errors' names message {index}, which is not an assistant message", message_index=index
            )
        found["messages"][index] |= {"tool_error": error, "error_meta": meta.get(index)}
    return {**found, **said, SAMPLED: row}


def _by_message(value: Any, name: str) -> Mapping[int, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(type(index) is int for index in value):
        raise RowError(f"its {name!r} must be a mapping of message indices, such as {{3: …}}, got {shown(value)}")
    return value


def student_of(chat: Chat, trace_id: str) -> Conversation:
    """The student's conversation of a chat: with its ids, where it was sampled.

    Raises:
        TraceError: a turn that was sampled in several parts.
    """
    sampled = chat.row.get(SAMPLED)
    plain = Conversation(
        trace_id, chat.messages, range(len(chat.messages)), chat.template_kwargs, side_arrays=chat.side_arrays
    )
    if not isinstance(sampled, SampledRow):
        return plain
    ids = {index: _ids(sampled, index, trace_id) for index in sampled.turns}
    return Conversation(
        trace_id,
        with_token_ids(chat.messages, ids),
        plain.turn_indices,
        chat.template_kwargs,
        sampled=sampled,
        is_checked=False,
    )


def _ids(row: SampledRow, index: int, trace_id: str) -> list[int]:
    ranges = row.turns[index]
    if len(ranges) != 1:
        raise TraceError(
            f"its turn has {len(ranges)} parts with results between them, so it is not one response to distil",
            trace_id=trace_id,
            turn_index=index,
        )
    [(start, end)] = ranges
    found: list[int] = row.input_ids[start:end].tolist()
    return found


def with_shared_ids(
    student: Sequence[Message], teacher: Sequence[Message], message_map: Mapping[int, int], trace_id: str
) -> tuple[list[Message], list[Message]]:
    """Both sides' messages, each with the ids that are known of it on either side.

    Raises:
        AlignmentError: the same message was sampled as other ids on the two sides; with ``turn_index``.
    """
    plain, mine = _with_whole_ids(student, trace_id)
    teacher_plain, theirs = _with_whole_ids(teacher, trace_id)
    for index, at in message_map.items():
        if message_key(plain[index]) != message_key(teacher_plain[at]):
            continue
        if index in mine and at in theirs and mine[index] != theirs[at]:
            raise AlignmentError(
                f"its token_ids differ from those in the teacher's message {at}: the same message was sampled once",
                trace_id=trace_id,
                turn_index=index,
            )
        known = mine.get(index, theirs.get(at))
        if known is not None:
            mine[index] = theirs[at] = known
    return with_token_ids(plain, mine), with_token_ids(teacher_plain, theirs)


def _with_whole_ids(messages: Any, trace_id: str) -> tuple[Any, dict[int, list[int]]]:
    """The messages without their ids, and these as numbers of Python."""
    plain, given = without_token_ids(messages)
    found = {}
    for index, ids in given.items():
        try:
            found[index] = whole_ids(None, ids)
        except RolloutError as error:
            raise error.at(trace_id=trace_id, turn_index=index) from None
    return plain, found
