"""Rows of a student's and a teacher's messages → examples."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.examples.example import Example
from chatspan.distillation.examples.message_map import ambiguous, map_messages
from chatspan.distillation.examples.reading import name_of
from chatspan.distillation.examples.sampled import student_of, with_shared_ids
from chatspan.encode.token_ids import without_token_ids
from chatspan.errors import AlignmentError, TraceError, quoted
from chatspan.rows.conversations import Chat
from chatspan.rows.messages import is_blank, name_text
from chatspan.rows.same_text import message_key, text_difference
from chatspan.rows.steps.plain import plain_data

# How alike a column is to one that it may have been meant for.
_NEAR = 0.8


def row_examples(chats: Sequence[Chat]) -> list[Example]:
    """Examples of rows ``{"messages", "teacher_messages", "loss_messages"?, "teacher_loss_messages"?, …}``, read.

    Raises:
        TraceError: a row without a teacher that does not say so, or a loss message that is no assistant's.
        AlignmentError: a loss message is not the teacher's, or is another one there, or could be several.
    """
    return [_example(chat, index) for index, chat in enumerate(chats)]


def _example(chat: Chat, row_index: int) -> Example:
    trace_id, kwargs = name_of(chat, row_index), chat.template_kwargs
    student = student_of(chat, trace_id)
    if chat.teacher_messages is None:
        _require_told(chat, trace_id)
        return Example(row_index, student)
    # Which message is which says what they say, not what they were sampled as.
    plain = replace(student, messages=[dict(message) for message in without_token_ids(student.messages)[0]])
    loss_messages, message_map = _loss_messages(chat, plain, without_token_ids(chat.teacher_messages)[0])
    if not loss_messages:
        return Example(row_index, student)
    messages, teacher_messages = with_shared_ids(student.messages, chat.teacher_messages, message_map, trace_id)
    student = replace(student, messages=messages)
    turn_of = {at: index for index, at in message_map.items()}
    turn_indices = [turn_of.get(index) for index in range(len(teacher_messages))]
    teacher = Conversation(trace_id, teacher_messages, turn_indices, kwargs, is_checked=student.is_checked)
    example = Example(row_index, student, teacher, message_map, loss_messages, message_weights=chat.weights)

    def with_loss_on(fewer: Sequence[int]) -> Example:
        dropped = len(loss_messages) - len(fewer)
        if not fewer:
            return Example(row_index, student, dropped_sites=dropped)
        return replace(example, loss_messages=list(fewer), dropped_sites=dropped)

    return replace(example, with_loss_on=with_loss_on)


def _require_told(chat: Chat, trace_id: str) -> None:
    """A row without a teacher says so itself: else a misspelt column would train nothing, without a word."""
    # An array has no truth of its own.
    if plain_data(chat.row.get("loss_messages")):
        raise TraceError("it has 'loss_messages', but no 'teacher_messages'", trace_id=trace_id)
    if "teacher_messages" in chat.row:
        return
    names = [name_text(key) for key in chat.row]
    near = difflib.get_close_matches("teacher_messages", names, 1, _NEAR)
    hint = f"; did you mean {near[0]!r}?" if near else f"; its columns: {', '.join(map(repr, names))}."
    raise TraceError(
        f"it has no 'teacher_messages'{hint} "
        'For a row without a teacher, which has no loss, set "teacher_messages": None',
        trace_id=trace_id,
    )


def _loss_messages(chat: Chat, student: Conversation, teacher: Sequence[Any]) -> tuple[list[int], dict[int, int]]:
    """The messages that the loss is on, and which of the teacher's each of the student's is."""
    messages, trace_id = student.messages, student.trace_id
    given, given_teacher = chat.loss_messages, chat.teacher_loss_messages
    if given is None or isinstance(given, range):
        if given_teacher is not None:
            raise TraceError("it has 'teacher_loss_messages', but no 'loss_messages'", trace_id=trace_id)
        return _shared(chat, student, teacher)
    loss_messages = _indices(given, "'loss_messages'", len(messages), trace_id)
    for index in loss_messages:
        if chat.weights.get(index, 1) == 0:
            raise TraceError(
                "it is in 'loss_messages', but its own flag excludes it from training: keep one of the two",
                trace_id=trace_id,
                turn_index=index,
            )
        if (role := messages[index]["role"]) != "assistant":
            raise TraceError(
                f"a loss message must be an assistant's, not {role!r}", trace_id=trace_id, turn_index=index
            )
    if given_teacher is not None:
        at = _indices(given_teacher, "'teacher_loss_messages'", len(teacher), trace_id)
        if len(at) != len(loss_messages):
            raise TraceError(
                f"{len(loss_messages)} 'loss_messages', but {len(at)} 'teacher_loss_messages': pass one for each",
                trace_id=trace_id,
            )
        message_map = map_messages(messages, teacher, list(zip(loss_messages, at, strict=True)))
    else:
        message_map = map_messages(messages, teacher)
        _require_certain(messages, teacher, loss_messages, trace_id)
    for index in loss_messages:
        _require_same(messages, teacher, index, message_map.get(index), trace_id)
    return loss_messages, message_map


def _shared(chat: Chat, student: Conversation, teacher: Sequence[Any]) -> tuple[list[int], dict[int, int]]:
    """The answers that both sides have; of a row with a completion, those of it; of one as sampled, its turns."""
    messages, trace_id, sampled = student.messages, student.trace_id, student.sampled
    message_map = map_messages(messages, teacher)
    answers = [
        index
        for index, message in enumerate(messages)
        if message["role"] == "assistant"
        and chat.weights.get(index, 1) > 0
        and (chat.loss_messages is None or index in chat.loss_messages)
        and (sampled is None or index in sampled.turns)
        and not (is_blank(message.get("content")) and not message.get("tool_calls"))
    ]
    alike = {i: at for i, at in message_map.items() if message_key(messages[i]) == message_key(teacher[at])}
    shared = [index for index in answers if index in alike]
    for index in answers:
        if index not in alike:
            _require_not_equal(messages, teacher, index, set(alike.values()), trace_id)
    _require_certain(messages, teacher, shared, trace_id)
    return shared, message_map


def _require_certain(messages: Any, teacher: Any, loss_messages: Sequence[int], trace_id: str) -> None:
    for index in ambiguous(messages, teacher, loss_messages):
        raise AlignmentError(
            "this message could be several of the teacher's, or a teacher's message several of the student's: select "
            "it with 'loss_messages' and 'teacher_loss_messages'",
            trace_id=trace_id,
            turn_index=index,
        )


def _indices(given: Any, what: str, count: int, trace_id: str) -> list[int]:
    is_list = isinstance(given, Sequence) and not isinstance(given, (str, bytes))
    if not is_list or not all(type(index) is int for index in given):
        raise TraceError(f"{what} must be a list of message indices, got {quoted(given)}", trace_id=trace_id)
    for index in given:
        if not 0 <= index < count:
            raise TraceError(f"{what} names message {index}, but there are {count}", trace_id=trace_id)
    if sorted(set(given)) != list(given):
        raise TraceError(f"{what} must be in increasing order: {quoted(list(given))}", trace_id=trace_id)
    return list(given)


def _require_not_equal(messages: Any, teacher: Any, index: int, taken: Collection[int], trace_id: str) -> None:
    """No message of the teacher's is this one for Python, but not for the template: it would be lost without a word."""
    for at, message in enumerate(teacher):
        if at not in taken and message == messages[index]:
            _require_same(messages, teacher, index, at, trace_id)


def _require_same(messages: Any, teacher: Any, index: int, at: int | None, trace_id: str) -> None:
    place: dict[str, Any] = {"trace_id": trace_id, "turn_index": index}
    if at is None:
        raise AlignmentError("the teacher's messages lack this loss message", **place)
    for key in sorted({*messages[index], *teacher[at]}, key=name_text):
        found = text_difference(messages[index].get(key), teacher[at].get(key), str(key))
        if found is not None:
            where = "" if found.start_char is None else f"; they differ from character {found.start_char} on"
            raise AlignmentError(
                f"a loss message must be the same on both sides, but {found.path!r} of the teacher's message {at} is "
                f"{found.other}, the student's {found.one}{where}",
                start_char=found.start_char,
                **place,
            )
