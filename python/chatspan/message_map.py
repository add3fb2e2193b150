"""Which of a teacher's messages is which of the student's, where the teacher's conversation says more."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

Messages = Sequence[Any]


def map_messages(student: Messages, teacher: Messages) -> dict[int, int]:
    """For the student's messages the teacher's that they are, rising on both sides.

    Equal ones first, as a diff finds them; between those, messages of the same role, from the end on: a content that
    was replaced or appended to. What the teacher inserted is nobody's.
    """
    found: dict[int, int] = {}
    student_from = teacher_from = 0
    for student_at, teacher_at, size in _equal_blocks(student, teacher):
        found.update(_by_role(student, teacher, range(student_from, student_at), range(teacher_from, teacher_at)))
        found.update((student_at + i, teacher_at + i) for i in range(size))
        student_from, teacher_from = student_at + size, teacher_at + size
    return found


def ambiguous(student: Messages, teacher: Messages, found: dict[int, int]) -> list[int]:
    """The student's messages that would be other ones of the teacher's if one read from the end."""
    last, last_teacher = len(student) - 1, len(teacher) - 1
    backwards = map_messages(student[::-1], teacher[::-1])
    other = {last - index: last_teacher - at for index, at in backwards.items()}
    return [index for index, at in found.items() if other.get(index) != at]


def _equal_blocks(student: Messages, teacher: Messages) -> Sequence[tuple[int, int, int]]:
    known: dict[tuple[Any, str], list[Any]] = {}
    numbers = [_number(message, known) for message in (*student, *teacher)]
    matcher = SequenceMatcher(None, numbers[: len(student)], numbers[len(student) :], autojunk=False)
    return matcher.get_matching_blocks()


def _number(message: Any, known: dict[tuple[Any, str], list[Any]]) -> tuple[Any, ...]:
    """The same for equal messages, which have no hash."""
    content = message.get("content")
    key = (message.get("role"), content if isinstance(content, str) else repr(content))
    same = known.setdefault(key, [])
    if message not in same:
        same.append(message)
    return (*key, same.index(message))


def _by_role(student: Messages, teacher: Messages, in_student: range, in_teacher: range) -> list[tuple[int, int]]:
    pairs = []
    free = list(in_teacher)
    for index in reversed(in_student):
        role = student[index].get("role")
        while free and teacher[free[-1]].get("role") != role:
            free.pop()
        if free:
            pairs.append((index, free.pop()))
    return pairs
