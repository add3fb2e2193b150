"""Which tokens of a student's and a teacher's encoding are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatspan._core import pair_tokens
from chatspan.distillation.pairs.media_parts import same_media
from chatspan.encoding import Encoding
from chatspan.errors import AlignmentError, OptionError, is_a, quoted
from chatspan.kinds import Kind
from chatspan.render.origins import Path

Ints = NDArray[np.int64]
# So many may always fall out: a merge at either edge.
_ALWAYS_ALLOWED = 2


class Alignment(NamedTuple):
    """Pairs of tokens that are the same token of the same field of the same message.

    Attributes:
        student_tokens: int64 ``[K]``, rising.
        teacher_tokens: int64 ``[K]``, rising; the ids are those of ``student_tokens``.
        dropped: int64 ``[D]``, the student's tokens that were wanted and have no counterpart.
    """

    student_tokens: Ints
    teacher_tokens: Ints
    dropped: Ints


def align(
    student: Encoding,
    teacher: Encoding,
    message_map: Mapping[int, int],
    *,
    wanted: NDArray[np.bool_] | None = None,
    max_dropped: float = 0.02,
) -> Alignment:
    """Pairs of tokens by where they come from, and then by id.

    Args:
        student, teacher: encodings whose messages may be other ones but for those of the map.
        message_map: for messages of the student the teacher's messages that they are.
        wanted: bool ``[S]``, the student's tokens to pair; all of the messages in the map if not given.
        max_dropped: how large a part of a message's wanted tokens may have no counterpart, as where a token came out
            different at an edge. Two may always.

    Raises:
        AlignmentError: more of a message's tokens fall out; with the student's ``message_index``.
        OptionError: the map names a message that there is not, or ``wanted`` is of another length.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> question, answer = {"role": "user", "content": "Go"}, {"role": "assistant", "content": "Gone"}
        >>> student = encoder.encode([question, answer])
        >>> teacher = encoder.encode([question, {"role": "system", "content": "Be quick."}, answer])
        >>> found = chatspan.align(student, teacher, {1: 2}, wanted=student.mask(what="content"))
        >>> encoder.decode(student.input_ids[found.student_tokens])
        'Gone'
        >>> encoder.decode(teacher.input_ids[found.teacher_tokens])
        'Gone'
    """
    for name, each in (("student", student), ("teacher", teacher)):
        if not isinstance(each, Encoding):
            raise OptionError(f"{name} is {type(each).__name__}: pass an Encoding, as ChatEncoder.encode makes it")
    if not isinstance(message_map, Mapping):
        raise OptionError(f"message_map is {type(message_map).__name__}: pass a dict of message indices")
    for name, side, indices in (
        ("student", student, list(message_map.keys())),
        ("teacher", teacher, list(message_map.values())),
    ):
        for index in indices:
            if not isinstance(index, (int, np.integer)):
                raise OptionError(f"message_map has {quoted(index)}, which is not the index of a message")
            if not 0 <= index < len(side.roles):
                raise OptionError(f"message_map names message {index} of the {name}, which has {len(side.roles)}")
    if wanted is not None and not is_a(wanted, np.ndarray):
        raise OptionError(f"wanted is {type(wanted).__name__}: pass an array of booleans, as mask() returns it")
    if wanted is not None and wanted.dtype != bool:
        raise OptionError(f"wanted has the dtype {wanted.dtype}: pass booleans, as mask() returns them")
    if wanted is not None and wanted.shape != student.input_ids.shape:
        raise OptionError(f"wanted has the shape {wanted.shape}, the student {len(student)} tokens")
    as_array = np.full(len(student.roles), -1, dtype=np.int32)
    as_array[list(message_map)] = list(message_map.values())
    numbers: dict[tuple[int, Path], int] = {}
    same = {index: index for index in message_map.values()}
    pairs = pair_tokens(
        (student.input_ids, student.table, student._segments, _runs(student, message_map, numbers)),
        (teacher.input_ids, teacher.table, teacher._segments, _runs(teacher, same, numbers)),
        as_array,
    )
    if wanted is None:
        wanted = np.isin(student.message_index, list(message_map))
    pairs = _with_media(pairs, student, teacher, message_map)
    pairs = pairs[wanted[pairs[:, 0]]]
    paired = np.zeros(len(student), dtype=bool)
    paired[pairs[:, 0]] = True
    dropped = np.flatnonzero(wanted & ~paired)
    if len(dropped):
        _check_dropped(student, wanted, dropped, max_dropped)
    return Alignment(pairs[:, 0].copy(), pairs[:, 1].copy(), dropped)


def _with_media(pairs: Ints, student: Encoding, teacher: Encoding, message_map: Mapping[int, int]) -> Ints:
    """The pairs, and those of the same media."""
    found = [
        np.column_stack([np.arange(*mine), np.arange(*theirs)])
        for mine, theirs in (
            ((mine.start_token, mine.end_token), (theirs.start_token, theirs.end_token))
            for mine, theirs in same_media(student, teacher, message_map)
        )
    ]
    if not found:
        return pairs
    every = np.concatenate([pairs[student.kind[pairs[:, 0]] != Kind.MEDIA], *found])
    every = every[np.argsort(every[:, 0], kind="stable")]
    # Media of one message rise on both sides; where a template moves messages, what falls has no counterpart.
    rising: Ints = every[every[:, 1] == np.maximum.accumulate(every[:, 1])]
    return rising


def _runs(encoding: Encoding, message_map: Mapping[int, int], numbers: dict[tuple[int, Path], int]) -> Ints:
    """int64 ``[N, 4]``: the verbatim runs of the fields of the messages, numbered as the teacher's are."""
    rows = []
    for start, end, message_index, path, at in encoding._attributed.fields:
        message = message_map.get(message_index)
        if message is not None and at >= 0:
            rows.append((start, end, numbers.setdefault((message, path), len(numbers)), at))
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def _check_dropped(student: Encoding, wanted: NDArray[np.bool_], dropped: Ints, max_dropped: float) -> None:
    for index in np.unique(student.message_index[dropped]).tolist():
        of_message = dropped[student.message_index[dropped] == index]
        count = int((wanted & (student.message_index == index)).sum())
        if len(of_message) > max(_ALWAYS_ALLOWED, max_dropped * count):
            start, end = student.offsets[of_message[0]].tolist()
            raise AlignmentError(
                f"message {index}: {len(of_message)} of {count} tokens differ on the teacher's side, from "
                f"{student.text[start : max(end, start) + 30]!r} on",
                message_index=index,
                start_char=start,
            )


def predicted(student_tokens: Ints, teacher_tokens: Ints) -> NDArray[np.bool_]:
    """bool ``[K]``: the pairs in front of which both sides have a token, in a common column.

    Logits at that token predict the pair's. Where only one side has tokens between two pairs, the other one's column
    in front would be a hole.
    """
    keep = np.ones(len(student_tokens), dtype=bool)
    # The last pair that is kept: what is left out stands between two that are, on both sides.
    last_student = last_teacher = -1
    breaks = np.flatnonzero((np.diff(student_tokens, prepend=-2) != 1) | (np.diff(teacher_tokens, prepend=-2) != 1))
    for at in breaks.tolist():
        if at and keep[at - 1]:
            last_student, last_teacher = int(student_tokens[at - 1]), int(teacher_tokens[at - 1])
        student_has_one = student_tokens[at] - last_student > 1
        teacher_has_one = teacher_tokens[at] - last_teacher > 1
        # Only the first token of a row has none on either side.
        keep[at] = student_has_one and teacher_has_one
    return keep
