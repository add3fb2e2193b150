"""Rows → one prompt and one response each, for trainers whose batches know no more than that.

Each message that the loss is on becomes a row of its own. Both sides end with it, so that a template writes it as the
last message, as the model wrote it: many leave earlier reasoning out of a conversation that goes on. The prompt is
everything in front of the response, what the generation prompt writes included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.examples.example import Example
from chatspan.distillation.layouts import Row, row_of
from chatspan.distillation.prompts.asked import require_asked
from chatspan.encode.token_ids import without_token_ids
from chatspan.errors import EmptyBatchError, LayoutError, OptionError

if TYPE_CHECKING:
    from chatspan.distillation.collator import SelfDistillationCollator

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Response:
    """What one trained message is to a trainer that knows a prompt and a response.

    Attributes:
        row_index: the row of the input that it is of.
        trace_id: what errors call that.
        message_index: the student's message (a trace's turn) that it is of.
        prompt_ids, teacher_prompt_ids: int64 ``[P]``, ``[Pt]``, all tokens in front of the response on either side.
        response_ids: int64 ``[R]``, the same on both sides, from the first in-loss token to the last.
        response_mask: int64 ``[R]``, 1 where the loss is.
        dropped_tokens: in-loss tokens that came out different on the teacher's side, at an edge of the response.
    """

    row_index: int
    trace_id: str
    message_index: int
    prompt_ids: Ints
    teacher_prompt_ids: Ints
    response_ids: Ints
    response_mask: Ints
    dropped_tokens: int


def responses_of(
    collator: SelfDistillationCollator, rows: Sequence[Any], *, check_prompt: bool = True
) -> list[Response]:
    """One response for each message that the loss is on.

    Args:
        collator: what makes examples of rows, and says what the loss is on. Of its configuration the form of the batch
            (``layout``, ``packing``, padding) does not count.
        check_prompt: whether a prompt that a model would not be asked with is an error.

    Raises:
        LayoutError: a message is not one prompt and one response, or the chat template writes another prompt when it is
            asked for that message; with ``trace_id`` and ``turn_index``.
        EmptyBatchError: the loss is nowhere on these rows.
        ChatspanError: as a call of the collator.
    """
    require_teacher(collator, "is not a prompt")
    examples = [one for example in collator._examples(rows) for one in _one_a_message(example)]
    if not examples:
        raise EmptyBatchError(f"no message of {len(rows)} rows is in the loss, so there is no response")
    fitted = collator._fitted(collator._pairs(examples))
    responses = []
    for pair in fitted:
        row = None if pair is None else row_of(pair, "indexed")
        if row is not None and len(row.weights):
            responses.append(_response(row))
            if check_prompt:
                _require_both_asked(collator.tokenizer, row)
    if not responses:
        raise EmptyBatchError(
            f"none of {len(examples)} responses is left: they are too long, or the template leaves them out"
        )
    return responses


def require_teacher(collator: Any, filler: str) -> None:
    """A collator makes a teacher's side, and shows the student no filler text.

    Args:
        filler: what is wrong with filler text.

    Raises:
        OptionError: it does not.
    """
    layout = getattr(getattr(collator, "config", None), "layout", None)
    if layout is None:
        raise OptionError(
            f"{type(collator).__name__} has no teacher: use a SelfDistillationCollator or a ComposerDataCollator"
        )
    require_text(collator)
    if layout == "placeholder":
        raise OptionError(f'layout="placeholder" gives the student filler text, which {filler}: use "indexed"')


def require_text(collator: Any) -> None:
    """A trainer whose rows are ids alone has no place for the tensors of media.

    Raises:
        OptionError: the collator has a processor.
    """
    if getattr(collator, "processor", None) is not None:
        raise OptionError(
            f"{type(collator).__name__} has a processor, but rows here are ids alone, without the tensors of "
            "media: pass it the tokenizer for rows of text, or train with chatspan.trainer.SelfDistillationTrainer"
        )


def _one_a_message(example: Example) -> Iterator[Example]:
    for index in example.loss_messages:
        cut = example_up_to(example, index)
        yield replace(
            cut,
            loss_messages=[index],
            hints={mine: hint for mine, hint in example.hints.items() if mine <= index},
            with_loss_on=partial(_without_loss, Example(example.row_index, cut.student, dropped_sites=1)),
        )


def example_up_to(example: Example, last: int) -> Example:
    """Both sides up to a message that the loss is on, that included."""
    assert example.teacher is not None
    student = _up_to(example.student, last)
    teacher = _up_to(example.teacher, example.message_map[last])
    return replace(
        example,
        student=student,
        teacher=replace(teacher, plain=student if example.teacher.plain is not None else None),
        message_map={mine: theirs for mine, theirs in example.message_map.items() if mine <= last},
    )


def _without_loss(plain: Example, fewer: Sequence[int]) -> Example:
    assert not fewer
    return plain


def _up_to(conversation: Conversation, last: int) -> Conversation:
    """The conversation up to a message, that included."""
    sampled = conversation.sampled
    return replace(
        conversation,
        messages=conversation.messages[: last + 1],
        turn_indices=conversation.turn_indices[: last + 1],
        sampled=None if sampled is None else sampled.truncate(sampled.turns[last][-1][1]),
        side_arrays={index: values for index, values in conversation.side_arrays.items() if index <= last},
    )


def _require_both_asked(tokenizer: Any, row: Row) -> None:
    """The prompts are what the chat template writes when it is asked for the response."""
    pair, example = row.pair, row.pair.example
    assert pair.teacher is not None
    assert example.teacher is not None
    sides = (
        ("", example.student, pair.student, pair.student_loss),
        ("teacher's ", example.teacher, pair.teacher, pair.teacher_loss),
    )
    for whose, conversation, chat, in_loss in sides:
        if chat.encoding is None:
            continue
        require_asked(
            tokenizer,
            without_token_ids(conversation.messages[:-1])[0],
            conversation.template_kwargs,
            chat.encoding.text[: int(chat.encoding.offsets[in_loss[0], 0])],
            whose,
            trace_id=conversation.trace_id,
            turn_index=example.loss_messages[0],
        )


def _response(row: Row) -> Response:
    example = row.pair.example
    (index,) = example.loss_messages
    place: dict[str, Any] = {"trace_id": example.student.trace_id, "turn_index": index}
    assert row.teacher is not None
    first, end = int(row.student_response[0]), int(row.student_response[-1]) + 1
    teacher_first, teacher_end = int(row.teacher_response[0]), int(row.teacher_response[-1]) + 1
    ids, teacher_ids = row.student.input_ids[first:end], row.teacher.input_ids[teacher_first:teacher_end]
    if not np.array_equal(ids, teacher_ids):
        raise LayoutError(
            f"the response is not the same {len(ids)} tokens on both sides ({len(row.weights)} in the "
            "loss), but a batch of one prompt and one response has a single `responses` for both; "
            'use a SelfDistillationCollator with layout="indexed", which pairs tokens one by one',
            **place,
        )
    if not np.all(row.weights == 1):
        raise LayoutError(
            "its tokens have weights other than 1, which a response mask cannot carry; set loss_on to a set of Kinds",
            **place,
        )
    mask = np.zeros(len(ids), dtype=np.int64)
    mask[row.student_response - first] = 1
    return Response(
        row_index=example.row_index,
        trace_id=example.student.trace_id,
        message_index=index,
        prompt_ids=row.student.input_ids[:first],
        teacher_prompt_ids=row.teacher.input_ids[:teacher_first],
        response_ids=ids,
        response_mask=mask,
        dropped_tokens=row.dropped_tokens,
    )
