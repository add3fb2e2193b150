"""The proof that each hint stands in front of its recovery, and nowhere else."""

from __future__ import annotations

from typing import Any

from chatspan.distillation.chats.encoded_chat import EncodedChat
from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.examples.example import Example, Hint
from chatspan.encoding import Encoding
from chatspan.errors import HintPlacementError


def require_hints_in_place(example: Example, teacher: EncodedChat) -> None:
    """Refuses a teacher in which a hint is not before its turn, as where a template moves or drops system messages.

    Raises:
        HintPlacementError: with the turn.
    """
    for turn_index, hint in example.hints.items():
        problem = _problem(hint, example.message_map[turn_index], teacher)
        if problem is not None:
            assert example.teacher is not None
            raise HintPlacementError(
                f"the chat template does not put the hint {'right ' if hint.right_before else ''}before its turn: "
                f"{problem}; {hint_remedy(hint, example.teacher)}",
                trace_id=example.student.trace_id,
                turn_index=turn_index,
            )


def _problem(hint: Hint, recovery: int, teacher: EncodedChat) -> str | None:
    """What is wrong with a hint's place, if anything is."""
    moved = "it moves or drops the message that holds it"
    # Of a turn without a content, of nothing but calls, its other fields tell.
    has_content = recovery in teacher.content_order or teacher.encoding is None
    if hint.right_before and has_content and not teacher.stands_right_before(hint.message_index, recovery):
        return moved
    if teacher.encoding is None:
        order = list(teacher.content_order)
        known = hint.message_index in order and recovery in order
        return None if known and order.index(hint.message_index) < order.index(recovery) else moved
    return hint_problem(hint, recovery, teacher.encoding)


def hint_problem(hint: Hint, recovery: int, encoding: Encoding) -> str | None:
    """What is wrong with a hint's place, by where each of its characters is in the render; ``None``: nothing is.

    Args:
        recovery: the teacher's message that it is for; one behind the last where that is still to be written.
    """
    fields = encoding._attributed.fields
    contents = [(start, end, index) for start, end, index, path, _ in fields if path[:1] == ("content",)]
    of_recovery = [start for start, _, index in contents if index == recovery] or [
        start for start, _, index, path, _ in fields if index == recovery and path != ("role",)
    ]
    first_of_recovery = min(of_recovery, default=len(encoding.text))
    behind = 0
    if hint.right_before:
        # Whatever another message says between the hint and its turn would see the hint too.
        others = (
            end
            for start, end, index in contents
            if start < first_of_recovery and index not in (-1, hint.message_index, recovery)
        )
        behind = max(others, default=0)
    rendered: set[int] = set()
    for start, end, index, path, at in fields:
        if index != hint.message_index or path != hint.path:
            continue
        if at < 0:
            # Derived as a whole, such as in other letters: only its place can be checked.
            rendered.update(range(hint.start_char, hint.end_char))
            at, first, last = 0, 0, end - start
        else:
            first, last = max(at, hint.start_char), min(at + end - start, hint.end_char)
            rendered.update(range(first, last))
        if first < last and start + first - at >= first_of_recovery:
            return "a part of it comes after the turn"
        if first < last and start + first - at < behind:
            return "a part of it comes before other messages"
    left_out = [at for at in range(hint.start_char, hint.end_char) if at not in rendered]
    if left_out:
        text = _text_of(hint, encoding)
        if any(not text[at].isspace() for at in left_out):
            return "it leaves a part of it out"
    return None


def _text_of(hint: Hint, encoding: Encoding) -> str:
    value: Any = encoding._render.messages[hint.message_index]
    for key in hint.path:
        value = value[key]
    return str.__str__(value)


def hint_remedy(hint: Hint, teacher: Conversation) -> str:
    """The option that puts a hint where this template keeps it."""
    if not hint.right_before:
        return 'use hint_placement="before_turn" or "append_to_previous"'
    if teacher.turn_indices[hint.message_index] is None:
        return 'use hint_placement="append_to_previous"'
    return "give the message before the turn a role that the template keeps in its place"
