"""A view cut into blocks, one a message, and the blocks of a student and a teacher beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from chatspan.distillation.pairs.alignment import align
from chatspan.encoding import Encoding
from chatspan.kinds import Kind
from chatspan.view.view import View

Row = tuple[int | None, int | None]


@dataclass(frozen=True)
class Block:
    """Tokens that are shown together.

    Attributes:
        message: whose; -1 for what belongs to no message and is more than scaffold: tools, the generation prompt.
        start, end: tokens, half-open.
    """

    message: int
    start: int
    end: int


def message_blocks(encoding: Encoding) -> list[Block]:
    """All tokens, in order, without gaps. A message that others interrupt has several blocks.

    Scaffold that belongs to no message stands in front of the message that it leads to; blanks, behind the last one.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from chatspan import ChatEncoder
        >>> encoder = ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> message_blocks(encoder.encode([{"role": "user", "content": "Hi"}], add_generation_prompt=True))
        [Block(message=0, start=0, end=7), Block(message=-1, start=7, end=10)]
    """
    blocks: list[Block] = []
    shown = 0
    for message, start, end in _runs(encoding.message_index):
        if message < 0:
            if blocks:
                start = _behind_blanks(encoding, start, end)
                blocks[-1] = replace(blocks[-1], end=start)
                shown = start
            if (encoding.kind[start:end] == Kind.SCAFFOLD).all():
                continue
        elif blocks and blocks[-1].message == message:
            start, shown = shown, blocks.pop().start
        blocks.append(Block(message, shown, end))
        shown = end
    if shown < len(encoding):
        blocks.append(Block(-1, shown, len(encoding)))
    return blocks


def block_rows(view: View) -> list[Row]:
    """The blocks of both sides by their numbers, those of the same message beside each other.

    Of one conversation all in a row of their own.
    """
    blocks = [message_blocks(side.encoding) for side in view.sides]
    if len(blocks) == 1:
        return [(index, None) for index in range(len(blocks[0]))]
    mine = [(view.message_map.get(message) if message >= 0 else message, n) for message, n in _numbered(blocks[0])]
    theirs = _numbered(blocks[1])
    return list(_beside(mine, theirs))


def same_tokens(view: View) -> NDArray[np.int64]:
    """The student's tokens and the teacher's that are the same, ``[N, 2]``, rising in the student's.

    Those that the loss compares, those of the same field, and in blocks beside each other what the template writes.
    """
    if len(view.sides) == 1:
        return np.zeros((0, 2), dtype=np.int64)
    student, teacher = (side.encoding for side in view.sides)
    mine, theirs = message_blocks(student), message_blocks(teacher)
    found = dict(view.pairs.tolist())
    taken = set(found.values())
    # Any number may have no counterpart: this is for a person to see, no loss is computed from it.
    aligned = align(student, teacher, view.message_map, max_dropped=1.0)
    for ours, other in zip(aligned.student_tokens.tolist(), aligned.teacher_tokens.tolist(), strict=True):
        if ours not in found and other not in taken:
            found[ours] = other
            taken.add(other)
    for i, j in block_rows(view):
        if i is None or j is None:
            continue
        for ours, other in _equal_ends(student.input_ids, mine[i], teacher.input_ids, theirs[j]):
            if ours not in found and other not in taken:
                found[ours] = other
                taken.add(other)
    return np.array(sorted(found.items()), dtype=np.int64).reshape(-1, 2)


def _runs(values: NDArray[np.int32]) -> Iterator[tuple[int, int, int]]:
    start = 0
    for value, run in groupby(values.tolist()):
        end = start + sum(1 for _ in run)
        yield value, start, end
        start = end


def _behind_blanks(encoding: Encoding, start: int, end: int) -> int:
    while start < end and not encoding.text[slice(*encoding.offsets[start].tolist())].strip():
        start += 1
    return start


def _numbered(blocks: Sequence[Block]) -> list[tuple[int, int]]:
    """Each block's message, and which of that message's blocks it is."""
    seen: dict[int, int] = {}
    numbered = []
    for block in blocks:
        seen[block.message] = seen.get(block.message, -1) + 1
        numbered.append((block.message, seen[block.message]))
    return numbered


def _beside(mine: Sequence[tuple[int | None, int]], theirs: Sequence[tuple[int, int]]) -> Iterator[Row]:
    shown = 0
    for number, block in enumerate(mine):
        if block not in theirs[shown:]:
            yield number, None
            continue
        at = theirs.index(block, shown)
        yield from ((None, other) for other in range(shown, at))
        yield number, at
        shown = at + 1
    yield from ((None, other) for other in range(shown, len(theirs)))


def _equal_ends(
    mine: NDArray[np.int64], block: Block, theirs: NDArray[np.int64], other: Block
) -> Iterator[tuple[int, int]]:
    left, right = mine[block.start : block.end], theirs[other.start : other.end]
    shorter = min(len(left), len(right))
    front = _equal_from_start(left[:shorter], right[:shorter])
    rest = shorter - front
    back = _equal_from_start(left[::-1][:rest], right[::-1][:rest])
    yield from ((block.start + i, other.start + i) for i in range(front))
    yield from ((block.end - i, other.end - i) for i in range(back, 0, -1))


def _equal_from_start(left: NDArray[np.int64], right: NDArray[np.int64]) -> int:
    differing = np.flatnonzero(left != right)
    return int(differing[0]) if len(differing) else len(left)
