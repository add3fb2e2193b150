"""A student and a teacher in common columns.

``aligned``: every token has a column; a token that both sides have has the same one, and where only one side has a
token the other has a *hole* (``attention_mask`` 0, ``position_ids`` going on as if it were not there). ``placeholder``:
the student's conversation has filler text of the hint's token length, so both rows are of the same length by
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatspan._core import align_columns
from chatspan.chats import EncodedChat, TokenRange
from chatspan.errors import AlignmentError, ContentNotFoundError, HintPlacementError, LayoutError
from chatspan.traces import Conversation, ErrorSite

Ints = NDArray[np.int64]

# Filler of which some number makes any token length, in the tokenizers there are.
_FILLERS = (" x", " .", "x", ".", "\n")
_MOST_TRIES = 12


class Encoded(NamedTuple):
    """A conversation and what became of it."""

    conversation: Conversation
    chat: EncodedChat


@dataclass(frozen=True)
class Side:
    """One side's tokens, the columns they stand in, and its in-loss tokens."""

    chat: EncodedChat
    columns: Ints
    blocks: Sequence[TokenRange] = ()

    def columns_of(self, ranges: Sequence[TokenRange]) -> Ints:
        """The columns of some of its tokens."""
        return np.concatenate([self.columns[start:end] for start, end in ranges] or [self.columns[:0]])


@dataclass(frozen=True)
class Row:
    """A row of the batch: the student's side, and the teacher's if a site fires."""

    student: Side
    teacher: Side | None
    width: int


def plain_row(student: EncodedChat) -> Row:
    """A row without an error site."""
    return Row(Side(student, np.arange(len(student.input_ids))), None, len(student.input_ids))


def aligned_row(sites: Sequence[ErrorSite], student: Encoded, teacher: Encoded) -> Row:
    """Both sides in common columns, with equal ids in each in-loss column.

    Raises:
        HintPlacementError: a hint does not stand right before its turn.
        ContentNotFoundError: the template leaves a recovery out.
        AlignmentError: the in-loss tokens differ, or cannot stand behind a token of their own on both sides.
    """
    _require_hints_in_place(sites, teacher)
    student_blocks, turns = _recoveries(sites, student)
    teacher_blocks, _ = _recoveries(sites, teacher)
    trace_id = student.conversation.trace_id
    if len(student_blocks) != len(teacher_blocks):
        raise AlignmentError("a recovery is in other pieces on the two sides", trace_id=trace_id)
    try:
        student_columns, teacher_columns, width = align_columns(
            student.chat.input_ids, teacher.chat.input_ids, student_blocks, teacher_blocks
        )
    except AlignmentError as error:
        turn_index = None if error.block_index is None else turns[error.block_index]
        raise error.at(trace_id=trace_id, turn_index=turn_index) from None
    return Row(
        Side(student.chat, student_columns, student_blocks), Side(teacher.chat, teacher_columns, teacher_blocks), width
    )


def placeholder_row(
    sites: Sequence[ErrorSite], teacher: Encoded, encode_with: Callable[[Sequence[str]], Encoded]
) -> Row:
    """The teacher's row, and a student's of the same length with filler where the teacher has hints.

    Args:
        encode_with: encodes the trace with one text a site in the hints' places.

    Raises:
        HintPlacementError, ContentNotFoundError: as :func:`aligned_row`.
        LayoutError: no number of filler words makes the length of a hint.
    """
    _require_hints_in_place(sites, teacher)
    wanted, blocks = _hint_lengths(sites, teacher), _recoveries(sites, teacher)[0]
    width = len(teacher.chat.input_ids)
    for filler in _FILLERS:
        counts = list(wanted)
        for _ in range(_MOST_TRIES):
            student = encode_with([(filler * count).lstrip(" ") for count in counts])
            lengths = _hint_lengths(sites, student)
            if lengths == wanted and len(student.chat.input_ids) == width:
                if _recoveries(sites, student)[0] != blocks:
                    break
                columns = np.arange(width)
                return Row(Side(student.chat, columns, blocks), Side(teacher.chat, columns, blocks), width)
            # Each site by its own difference, so that one hint's filler does not answer for another's.
            changed = [
                max(1, n + _step(want - have, copies))
                for n, want, have, copies in zip(counts, wanted, lengths, _hint_copies(sites, student), strict=True)
            ]
            if changed == counts:
                break
            counts = changed
    raise LayoutError(
        'no filler text has the token length of the hint; use layout="aligned"',
        trace_id=teacher.conversation.trace_id,
        turn_index=sites[0].turn_index,
    )


def _step(missing_tokens: int, copies: int) -> int:
    """How many filler words more, if each word is rendered some times."""
    return missing_tokens // copies if missing_tokens > 0 else -(-missing_tokens // copies)


def _hint_copies(sites: Sequence[ErrorSite], encoded: Encoded) -> list[int]:
    """How often the template writes the message that holds each hint."""
    holders = [encoded.conversation.message_of_turn(site.turn_index) - 1 for site in sites]
    return [encoded.chat.content_order.count(holder) for holder in holders]


def _require_hints_in_place(sites: Sequence[ErrorSite], teacher: Encoded) -> None:
    """Refuses a teacher in which a hint is not the text before its turn, as where a template moves system messages."""
    for site in sites:
        turn = teacher.conversation.message_of_turn(site.turn_index)
        if not teacher.chat.stands_right_before(turn - 1, turn):
            of_its_own = teacher.conversation.turn_indices[turn - 1] is None
            remedy = (
                'use hint_placement="append_to_previous"'
                if of_its_own
                else "give the message before the turn a role that the template keeps in its place"
            )
            raise HintPlacementError(
                "the chat template does not put the hint right before its turn: it moves or drops the message that "
                f"holds it; {remedy}",
                trace_id=teacher.conversation.trace_id,
                turn_index=site.turn_index,
            )


def _recoveries(sites: Sequence[ErrorSite], encoded: Encoded) -> tuple[list[TokenRange], list[int]]:
    """The tokens of each recovery in order, and the turn that each is of."""
    blocks: list[TokenRange] = []
    turns: list[int] = []
    for site in sites:
        tokens = encoded.chat.content_tokens[encoded.conversation.message_of_turn(site.turn_index)]
        if not tokens:
            raise ContentNotFoundError(
                "the chat template leaves the recovery's content out, so there is nothing to distil",
                trace_id=encoded.conversation.trace_id,
                turn_index=site.turn_index,
            )
        blocks += tokens
        turns += [site.turn_index] * len(tokens)
    return blocks, turns


def _hint_lengths(sites: Sequence[ErrorSite], encoded: Encoded) -> list[int]:
    """For each site the tokens between the recovery before it and its own."""
    blocks = [_recoveries([site], encoded)[0] for site in sites]
    ends = [0, *(block[-1][1] for block in blocks[:-1])]
    return [block[0][0] - end for block, end in zip(blocks, ends, strict=True)]
