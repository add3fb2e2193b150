"""``layout="placeholder"``: a student with filler text of the hint's token length in the hint's place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from chatspan.distillation.chats.encoded_chat import EncodedChat, TokenRange
from chatspan.distillation.examples.example import Example
from chatspan.distillation.pairs.pair import Pair
from chatspan.errors import LayoutError

# Filler of which some number makes any token length, in the tokenizers there are.
_FILLERS = (" x", " .", "x", ".", "\n")
_MOST_TRIES = 12


def with_placeholder(pair: Pair, encode_with: Callable[[Sequence[str]], EncodedChat]) -> Pair:
    """The pair with a student of the teacher's length.

    Args:
        encode_with: encodes the example's teacher with other texts in the hints' places.

    Raises:
        LayoutError: no number of filler words makes the length of a hint.
    """
    example, teacher = pair.example, pair.teacher
    assert teacher is not None
    wanted, blocks = _hint_lengths(example, teacher), _recoveries(example, teacher)
    for filler in _FILLERS:
        # Hints that all stand in one place make up its length between them: the first one does.
        counts = [
            n if example.hints[at].right_before else 1 for n, at in zip(wanted, example.loss_messages, strict=True)
        ]
        for _ in range(_MOST_TRIES):
            student = encode_with([(filler * count).lstrip(" ") for count in counts])
            lengths = _hint_lengths(example, student)
            if lengths == wanted and len(student.input_ids) == len(teacher.input_ids):
                if _recoveries(example, student) != blocks:
                    break
                columns = np.arange(len(student.input_ids))
                loss = np.concatenate([columns[start:end] for start, end in blocks])
                ones = np.ones(len(loss), dtype=np.float32)
                return replace(
                    pair, student=student, student_tokens=columns, student_loss=loss, teacher_loss=loss, weights=ones
                )
            # Each site by its own difference, so that one hint's filler does not answer for another's.
            changed = [
                max(1, n + _step(want - have, copies))
                for n, want, have, copies in zip(counts, wanted, lengths, _hint_copies(example, student), strict=True)
            ]
            if changed == counts:
                break
            counts = changed
    raise LayoutError(
        'no filler text has the token length of the hint; use layout="aligned"',
        trace_id=example.student.trace_id,
        turn_index=example.loss_messages[0],
    )


def _step(missing_tokens: int, copies: int) -> int:
    """How many filler words more, if each word is rendered some times."""
    return missing_tokens // copies if missing_tokens > 0 else -(-missing_tokens // copies)


def _hint_copies(example: Example, chat: EncodedChat) -> list[int]:
    """How often the template writes the message that holds each hint; filler of nothing but blanks is not listed."""
    return [max(1, chat.content_order.count(example.hints[index].message_index)) for index in example.loss_messages]


def _tokens_of_loss_messages(example: Example, chat: EncodedChat) -> list[Sequence[TokenRange]]:
    return [chat.content_tokens[example.message_map[index]] for index in example.loss_messages]


def _recoveries(example: Example, chat: EncodedChat) -> list[TokenRange]:
    return [tokens for of_message in _tokens_of_loss_messages(example, chat) for tokens in of_message]


def _hint_lengths(example: Example, chat: EncodedChat) -> list[int]:
    """For each site the tokens between the recovery before it and its own."""
    blocks = _tokens_of_loss_messages(example, chat)
    ends = [0, *(block[-1][1] for block in blocks[:-1])]
    return [block[0][0] - end for block, end in zip(blocks, ends, strict=True)]
