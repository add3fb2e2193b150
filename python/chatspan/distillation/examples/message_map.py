"""Which of a teacher's messages is which of the student's, where the teacher's conversation says more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from chatspan.errors import first_difference
from chatspan.rows.same_text import message_key

Messages = Sequence[Any]
Pairs = list[tuple[int, int]]


def map_messages(student: Messages, teacher: Messages, known: Sequence[tuple[int, int]] = ()) -> dict[int, int]:
    """For the student's messages the teacher's that they are, rising on both sides.

    As many as can be that templates write alike; between those, messages of the same role, from the end on: a content
    that was replaced or appended to. What the teacher inserted is nobody's.

    Args:
        known: pairs that are given, rising.
    """
    found = dict(known)
    for (student_from, teacher_from), (student_to, teacher_to) in pairwise(
        [(-1, -1), *known, (len(student), len(teacher))]
    ):
        in_student, in_teacher = range(student_from + 1, student_to), range(teacher_from + 1, teacher_to)
        numbers = _numbers([student[i] for i in in_student], [teacher[i] for i in in_teacher])
        equal = [(in_student[i], in_teacher[j]) for i, j in _longest_common(*numbers)]
        found.update(equal)
        for (s_from, t_from), (s_to, t_to) in pairwise(
            [(student_from, teacher_from), *equal, (student_to, teacher_to)]
        ):
            found.update(_by_role(student, teacher, range(s_from + 1, s_to), range(t_from + 1, t_to)))
    return dict(sorted(found.items()))


def ambiguous(student: Messages, teacher: Messages, wanted: Sequence[int]) -> list[int]:
    """Those of the wanted messages of the student for which another mapping pairs as many equal ones."""
    mine, theirs = _numbers(student, teacher)
    repeated = [index for index in wanted if mine.count(mine[index]) > 1 or theirs.count(mine[index]) > 1]
    if not repeated:
        return []
    behind, before = _common_lengths(mine, theirs), _common_lengths(mine[::-1], theirs[::-1])
    possible = [
        (i, j)
        for i in range(len(mine))
        for j in range(len(theirs))
        if mine[i] == theirs[j] and before[len(mine) - i][len(theirs) - j] + 1 + behind[i + 1][j + 1] == behind[0][0]
    ]
    # Certain is a message that has one counterpart, which has no other.
    counterparts = {index: {j for i, j in possible if i == index} for index in repeated}
    return [
        index
        for index, others in counterparts.items()
        if len(others) > 1 or len([i for i, j in possible if j in others]) > 1
    ]


def _numbers(student: Messages, teacher: Messages) -> tuple[list[int], list[int]]:
    """The same number for messages that templates write alike."""
    known: dict[str, int] = {}
    numbers = [known.setdefault(message_key(message), len(known)) for message in (*student, *teacher)]
    return numbers[: len(student)], numbers[len(student) :]


def _longest_common(student: Sequence[int], teacher: Sequence[int]) -> Pairs:
    """The pairs of a longest common subsequence."""
    # Taking what is equal in front loses nothing, and mostly leaves little for the table.
    front = first_difference(student, teacher)
    pairs = [(i, i) for i in range(front)]
    lengths = _common_lengths(student[front:], teacher[front:])
    i = j = 0
    while front + i < len(student) and front + j < len(teacher):
        if student[front + i] == teacher[front + j]:
            pairs.append((front + i, front + j))
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _common_lengths(student: Sequence[int], teacher: Sequence[int]) -> list[list[int]]:
    """For each pair of indices the length of a longest common subsequence from there on."""
    lengths = [[0] * (len(teacher) + 1)]
    for number in reversed(student):
        below, row = lengths[-1], [0]
        for j in range(len(teacher) - 1, -1, -1):
            row.append(below[j + 1] + 1 if number == teacher[j] else max(below[j], row[-1]))
        lengths.append(row[::-1])
    return lengths[::-1]


def _by_role(student: Messages, teacher: Messages, in_student: range, in_teacher: range) -> Pairs:
    pairs = []
    for index in reversed(in_student):
        role = student[index].get("role")
        at = next((at for at in reversed(in_teacher) if teacher[at].get("role") == role), None)
        if at is not None:
            pairs.append((index, at))
            in_teacher = range(in_teacher.start, at)
    return pairs
