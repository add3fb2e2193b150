"""Rows with media → what models of both sides take beside ids; the teacher has no tensors that are the student's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatspan.attribute.media import IDS, ModelInputs
from chatspan.batch.media import MediaRow, is_tied, media_tensors
from chatspan.batch.per_token import starts_of
from chatspan.batch.sides import Side
from chatspan.distillation.chats.encoded_chat import EncodedChat
from chatspan.distillation.config import DistillationConfig
from chatspan.distillation.layouts import Row
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.errors import LayoutError, TruncationError
from chatspan.kinds import Kind
from chatspan.media.positions import makes_own_positions

Ints = NDArray[np.int64]
_TEACHER = "ctx_teacher_"


def with_media(
    batch: dict[str, Any], rows: Sequence[Row], config: DistillationConfig, pipeline: EncodingPipeline
) -> dict[str, Any]:
    """A batch with the tensors of its media.

    Of a side with media, models that find positions themselves get none: those of the batch are of text alone.

    Raises:
        LayoutError: the tensors of these rows cannot be those of one batch; or the student has media of a kind that the
            teacher has none of.
        TruncationError: messages with media were left out for length, and the processor makes others of the rest.
    """
    student = _of_side(
        [(row.pair.student, row.pair.student_tokens, row.student) for row in rows], "", batch, config, pipeline
    )
    found = dict(batch)
    sides = {"": student}
    if f"{_TEACHER}input_ids" in batch:
        teacher = [
            (row.pair.student, row.pair.student_tokens, row.student)
            if row.teacher is None or row.pair.teacher is None
            else (row.pair.teacher, row.pair.teacher_tokens, row.teacher)
            for row in rows
        ]
        sides[_TEACHER] = _of_side(teacher, _TEACHER, batch, config, pipeline)
    for prefix, (tied, of_media) in sides.items():
        found |= {f"{prefix}{name}": value for name, value in tied.items()}
        if of_media and makes_own_positions(pipeline.processor):
            del found[f"{prefix}position_ids"]
    found |= student[1]
    if _TEACHER in sides:
        found |= {f"{_TEACHER}{name}": value for name, value in _not_shared(student[1], sides[_TEACHER][1]).items()}
    return found


def _not_shared(student: dict[str, Any], teacher: dict[str, Any]) -> dict[str, Any]:
    """The teacher's tensors that are not the student's."""
    missing = sorted(student.keys() - teacher.keys())
    if missing:
        raise LayoutError(
            f"the student's rows have {', '.join(missing)}, and none of the teacher's has: a teacher must see the "
            "student's media, and may see more; add the images to its messages, or remove them from both"
        )
    return {
        name: value for name, value in teacher.items() if name not in student or not _is_equal(value, student[name])
    }


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one is other or (one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return type(one) is type(other) and bool(one == other)


def _of_side(
    chats: Sequence[tuple[EncodedChat, Ints, Side]],
    prefix: str,
    batch: dict[str, Any],
    config: DistillationConfig,
    pipeline: EncodingPipeline,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What has a value for each token, and what is of media alone."""
    shape = tuple(batch[f"{prefix}input_ids"].shape)
    starts = starts_of((side.width for _, _, side in chats), shape[1], config)
    made = _made(chats, pipeline)
    rows = [
        MediaRow(each, len(tokens), slice(None), _kinds(chat, tokens) == Kind.MEDIA, start + side.columns)
        for each, (chat, tokens, side), start in zip(made, chats, starts, strict=True)
    ]
    found = media_tensors(rows, shape)
    tied = {name for name in found if is_tied(made[0], name)}
    return (
        {name: value for name, value in found.items() if name in tied},
        {name: value for name, value in found.items() if name not in tied},
    )


def _kinds(chat: EncodedChat, tokens: Ints) -> NDArray[np.uint8]:
    assert chat.encoding is not None
    return chat.encoding.kind[tokens]


def _made(chats: Sequence[tuple[EncodedChat, Ints, Side]], pipeline: EncodingPipeline) -> list[ModelInputs]:
    """What the processor returned of the rows in one call; in a call of its own where these are not those of one."""
    own = [chat.encoding._model_inputs for chat, _, _ in chats if chat.encoding is not None]
    if len(own) < len(chats):
        raise LayoutError(
            "a row as sampled has no media, but a processor's batch needs rows that it renders: pass "
            "messages with token_ids, or the tokenizer in place of the processor"
        )
    is_whole = all(len(tokens) == len(chat.input_ids) for chat, tokens, _ in chats)
    count = len(own[0].of_call[IDS[0]])
    if (
        is_whole
        and count == len(chats)
        and all(each.of_call is own[0].of_call and each.place == at for at, each in enumerate(own))
    ):
        return own
    made = pipeline.made_together([_inputs_of(chat, tokens) for chat, tokens, _ in chats])
    for row, (chat, tokens, _) in zip(made.rows, chats, strict=True):
        if len(tokens) < len(chat.input_ids) and not np.array_equal(row.ids, chat.input_ids[tokens]):
            raise TruncationError(
                "messages are left out for max_length, and the processor makes other tokens from the "
                "rest than before: leave them out of the row, or make media smaller"
            )
    return [ModelInputs(made.outputs, at) for at in range(len(chats))]


def _inputs_of(chat: EncodedChat, tokens: Ints) -> Any:
    encoding = chat.encoding
    assert encoding is not None
    assert chat.inputs_without is not None
    is_kept = np.zeros(len(encoding), dtype=bool)
    is_kept[tokens] = True
    left_out = {int(index) for index in np.unique(encoding.message_index[~is_kept]) if index >= 0}
    # A BOS stays, of which a template may say that it is its first message's.
    begins = is_kept[:1].any() and int(encoding.message_index[0]) in left_out
    return chat.inputs_without(left_out, int(encoding.offsets[0, 1]) if begins else 0)
