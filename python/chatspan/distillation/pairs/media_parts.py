"""Media of both sides: which are the same, by their part of a message and never by their ids, which all media share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from chatspan.attribute.media import Medium
from chatspan.encoding import Encoding

Ints = NDArray[np.int64]
# The number of a message's images, of its videos ….
_Part = tuple[int, str, int]


def same_media(student: Encoding, teacher: Encoding, message_map: Mapping[int, int]) -> list[tuple[Medium, Medium]]:
    """The student's media and the teacher's of the same part, where they have the same tokens; in the student's order.

    Args:
        message_map: for messages of the student the teacher's that they are.
    """
    theirs = _by_part(teacher, {index: index for index in range(len(teacher.roles))})
    found = []
    for part, mine in _by_part(student, message_map).items():
        their = theirs.get(part)
        if their is not None and np.array_equal(_ids(student, mine), _ids(teacher, their)):
            found.append((mine, their))
    return found


def ids_by_part(student: Encoding, teacher: Encoding, message_map: Mapping[int, int]) -> tuple[Ints, Ints]:
    """int64 ``[S]``, ``[T]``: ids in which each medium has ids of its own, which no other has but the same one."""
    ids = (student.input_ids.copy(), teacher.input_ids.copy())
    free = -1
    for side, encoding in zip(ids, (student, teacher), strict=True):
        for each in encoding.media:
            side[each.start_token : each.end_token] = np.arange(free, free - (each.end_token - each.start_token), -1)
            free -= each.end_token - each.start_token
    for mine, their in same_media(student, teacher, message_map):
        ids[0][mine.start_token : mine.end_token] = ids[1][their.start_token : their.end_token]
    return ids


def _by_part(encoding: Encoding, message_map: Mapping[int, int]) -> dict[_Part, Medium]:
    seen: Counter[tuple[int, str]] = Counter()
    found = {}
    for each in encoding.media:
        place = (each.message_index, each.modality)
        if each.message_index in message_map:
            found[message_map[each.message_index], each.modality, seen[place]] = each
        seen[place] += 1
    return found


def _ids(encoding: Encoding, medium: Medium) -> Ints:
    return encoding.input_ids[medium.start_token : medium.end_token]
