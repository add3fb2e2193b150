"""Rows of a student's and a teacher's messages → examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.examples.example import Example
from chatspan.distillation.examples.message_map import ambiguous, map_messages
from chatspan.errors import AlignmentError, TraceError
from chatspan.rows.messages import is_blank, read_messages, template_kwargs_of, trace_id_of


def row_examples(rows: Sequence[Mapping[str, Any]]) -> list[Example]:
    """Checks rows ``{"messages", "teacher_messages", "loss_messages"?, "teacher_loss_messages"?, "trace_id"?, "tools"?,
    "chat_template_kwargs"?}``.

    Raises:
        TraceError: a row is of the wrong form, or a loss message is no assistant's.
        AlignmentError: a loss message is not the teacher's, or is another one there, or could be several.
    """
    if not isinstance(rows, Sequence) or isinstance(rows, (str, bytes)):
        raise TraceError(f"expected a list of rows, got {type(rows).__name__}")
    if not rows:
        raise TraceError("an empty list of rows makes no batch")
    return [_example(row, index) for index, row in enumerate(rows)]


def _example(row: Any, row_index: int) -> Example:
    if not isinstance(row, Mapping):
        raise TraceError(f"expected a dict, got {type(row).__name__}", trace_id=f"row {row_index}")
    trace_id = trace_id_of(row, row_index)
    kwargs = template_kwargs_of(row, trace_id)
    messages = read_messages(row.get("messages"), trace_id, "'messages'")
    student = Conversation(trace_id, messages, range(len(messages)), kwargs)
    if row.get("teacher_messages") is None:
        if row.get("loss_messages"):
            raise TraceError("it has 'loss_messages', but no 'teacher_messages'", trace_id=trace_id)
        return Example(row_index, student)
    teacher_messages = read_messages(row["teacher_messages"], trace_id, "'teacher_messages'")
    loss_messages, message_map = _loss_messages(row, student, teacher_messages)
    if not loss_messages:
        return Example(row_index, student)
    turn_of = {at: index for index, at in message_map.items()}
    turn_indices = [turn_of.get(index) for index in range(len(teacher_messages))]
    teacher = Conversation(trace_id, teacher_messages, turn_indices, kwargs)
    example = Example(row_index, student, teacher, message_map, loss_messages)

    def with_loss_on(fewer: Sequence[int]) -> Example:
        dropped = len(loss_messages) - len(fewer)
        if not fewer:
            return Example(row_index, student, dropped_sites=dropped)
        return replace(example, loss_messages=list(fewer), dropped_sites=dropped)

    return replace(example, with_loss_on=with_loss_on)


def _loss_messages(
    row: Mapping[str, Any], student: Conversation, teacher: Sequence[Any]
) -> tuple[list[int], dict[int, int]]:
    """The messages that the loss is on, and which of the teacher's each of the student's is."""
    messages, trace_id = student.messages, student.trace_id
    given, given_teacher = row.get("loss_messages"), row.get("teacher_loss_messages")
    if given is None:
        if given_teacher is not None:
            raise TraceError("it has 'teacher_loss_messages', but no 'loss_messages'", trace_id=trace_id)
        message_map = map_messages(messages, teacher)
        shared = [
            index
            for index, message in enumerate(messages)
            if message["role"] == "assistant"
            and not (is_blank(message.get("content")) and not message.get("tool_calls"))
            and index in message_map
            and teacher[message_map[index]] == message
        ]
        _require_certain(messages, teacher, shared, trace_id)
        return shared, message_map
    loss_messages = _indices(given, "'loss_messages'", len(messages), trace_id)
    for index in loss_messages:
        if messages[index]["role"] != "assistant":
            role = messages[index]["role"]
            raise TraceError(
                f"a loss message must be an assistant's, not {role!r}", trace_id=trace_id, turn_index=index
            )
    if given_teacher is not None:
        at = _indices(given_teacher, "'teacher_loss_messages'", len(teacher), trace_id)
        if len(at) != len(loss_messages):
            raise TraceError(
                f"{len(loss_messages)} 'loss_messages', but {len(at)} 'teacher_loss_messages': give one for each",
                trace_id=trace_id,
            )
        message_map = map_messages(messages, teacher, list(zip(loss_messages, at, strict=True)))
    else:
        message_map = map_messages(messages, teacher)
        _require_certain(messages, teacher, loss_messages, trace_id)
    for index in loss_messages:
        _require_same(messages, teacher, index, message_map.get(index), trace_id)
    return loss_messages, message_map


def _require_certain(messages: Any, teacher: Any, loss_messages: Sequence[int], trace_id: str) -> None:
    for index in ambiguous(messages, teacher, loss_messages):
        raise AlignmentError(
            "the teacher has several messages that this one could be, or it could be several of the student's: say "
            "which with 'loss_messages' and 'teacher_loss_messages'",
            trace_id=trace_id,
            turn_index=index,
        )


def _indices(given: Any, what: str, count: int, trace_id: str) -> list[int]:
    is_list = isinstance(given, Sequence) and not isinstance(given, (str, bytes))
    if not is_list or not all(type(index) is int for index in given):
        raise TraceError(f"{what} must be a list of message indices, got {given!r:.60}", trace_id=trace_id)
    for index in given:
        if not 0 <= index < count:
            raise TraceError(f"{what} names message {index}, but there are {count}", trace_id=trace_id)
    if sorted(set(given)) != list(given):
        raise TraceError(f"{what} must rise: {list(given)!r:.60}", trace_id=trace_id)
    return list(given)


def _require_same(messages: Any, teacher: Any, index: int, at: int | None, trace_id: str) -> None:
    place: dict[str, Any] = {"trace_id": trace_id, "turn_index": index}
    if at is None:
        raise AlignmentError("the teacher's messages lack this loss message", **place)
    for key in sorted({*messages[index], *teacher[at]}):
        mine, theirs = messages[index].get(key), teacher[at].get(key)
        if mine != theirs:
            raise AlignmentError(
                f"a loss message must be the same on both sides, but {key!r} of the teacher's message {at} is "
                f"{theirs!r:.60}, the student's {mine!r:.60}",
                **place,
            )
