"""A batch → for each of the teacher's rows the ids to score, and where the in-loss tokens stand in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.errors import LossError

Ints = NDArray[np.int64]

_IDS = "ctx_teacher_input_ids"


@dataclass(frozen=True)
class TeacherPrompt:
    """What the teacher has to score of a row, or of a packed conversation.

    Attributes:
        row: of the batch.
        input_ids: from the beginning to the last in-loss token, without padding and holes.
        positions: where the in-loss tokens stand in ``input_ids``.
        entries: which of the batch's R each is: ``response_idx_mask[row, entry]`` is true.
    """

    row: int
    input_ids: list[int]
    positions: list[int]
    entries: list[int]

    @property
    def first(self) -> int:
        """The position of the first in-loss token: from there on distributions are needed."""
        return min(self.positions)


def teacher_prompts(batch: Mapping[str, Any]) -> list[TeacherPrompt]:
    """What a teacher has to score for a batch: one prompt for each row, and of packed rows for each conversation.

    Those without an in-loss token are left out.

    Args:
        batch: of a distillation collator, in any layout, padded or packed.

    Raises:
        LossError: a key that is missing, or an in-loss token that does not stand right behind the column that predicts
            it; with row and in-loss token.

    Example:
        >>> import torch
        >>> batch = {"ctx_teacher_input_ids": torch.tensor([[0, 5, 6, 7, 8]]),
        ...          "ctx_teacher_attention_mask": torch.tensor([[0, 1, 1, 1, 1]]),
        ...          "teacher_logit_idx": torch.tensor([[2]]), "teacher_response_idx": torch.tensor([[3]]),
        ...          "response_idx_mask": torch.tensor([[True]])}
        >>> teacher_prompts(batch)
        [TeacherPrompt(row=0, input_ids=[5, 6, 7], positions=[2], entries=[0])]
    """
    ids = _array(batch, _IDS)
    mask = _array(batch, "response_idx_mask")
    if ids.ndim != 2 or mask.ndim != 2 or len(ids) != len(mask) or mask.dtype != np.bool_:
        raise LossError(
            f"batch[{_IDS!r}] is {ids.dtype} {list(ids.shape)} and batch['response_idx_mask'] is {mask.dtype} "
            f"{list(mask.shape)}: expected ids [B, T] and bool [B, R]"
        )
    logits, tokens = (_columns(batch, key, mask.shape) for key in ("teacher_logit_idx", "teacher_response_idx"))
    positions, conversations = _places(batch, ids.shape)
    for row, entry in np.argwhere(mask).tolist():
        _require_predicted(positions[row], conversations[row], logits[row, entry], tokens[row, entry], row, entry)
    return [
        prompt
        for row in range(len(ids))
        for prompt in _prompts_of(row, ids[row], positions[row], conversations[row], tokens[row], mask[row])
    ]


def _prompts_of(
    row: int, ids: Ints, positions: Ints, conversations: Ints, tokens: Ints, mask: NDArray[np.bool_]
) -> Iterator[TeacherPrompt]:
    entries = np.flatnonzero(mask)
    of_entries = conversations[tokens[entries]]
    for conversation in np.unique(of_entries).tolist():
        chosen = entries[of_entries == conversation]
        at = positions[tokens[chosen]]
        whole = ids[(conversations == conversation) & (positions >= 0)]
        yield TeacherPrompt(row, whole[: at.max() + 1].tolist(), at.tolist(), chosen.tolist())


def _places(batch: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[Ints, Ints]:
    """Of each column its position among the tokens of its conversation, -1 for none, and its conversation."""
    rows, width = shape
    if "ctx_teacher_cu_seq_lens_q" in batch:
        ends = _array(batch, "ctx_teacher_cu_seq_lens_q")
        if rows != 1 or ends.ndim != 1 or len(ends) < 2 or ends[0] != 0 or (np.diff(ends) < 0).any():
            raise LossError(
                f"batch['ctx_teacher_cu_seq_lens_q'] is {list(ends.shape)} in a batch of {rows} rows: pass the batch "
                "of a collator with packing=True, which is one row"
            )
        columns = np.arange(width)
        conversations = np.searchsorted(ends, columns, side="right") - 1
        starts = np.append(ends, width)[conversations]
        return np.where(columns < ends[-1], columns - starts, -1)[None], conversations[None]
    real = _array(batch, "ctx_teacher_attention_mask") != 0
    if real.shape != shape:
        raise LossError(f"batch['ctx_teacher_attention_mask'] is {list(real.shape)}, and {_IDS!r} is {list(shape)}")
    return np.where(real, np.cumsum(real, axis=1) - 1, -1), np.zeros(shape, dtype=np.int64)


def _require_predicted(positions: Ints, conversations: Ints, logit: int, token: int, row: int, entry: int) -> None:
    """The distribution that predicts a token is at the token before it, in the same conversation."""
    width = len(positions)
    follows = (
        0 <= logit < width
        and 0 <= token < width
        and positions[logit] >= 0
        and positions[token] == positions[logit] + 1
        and conversations[token] == conversations[logit]
    )
    if not follows:
        raise LossError(
            f"row {row}, in-loss token {entry}: teacher_response_idx is {token}, and teacher_logit_idx is {logit}, "
            "which is not the token before it: pass the batch as the collator made it"
        )


def _columns(batch: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> Ints:
    columns = _array(batch, key)
    if columns.shape != shape or columns.dtype.kind not in "iu":
        raise LossError(f"batch[{key!r}] is {columns.dtype} {list(columns.shape)}: expected int64 {list(shape)}")
    return columns


def _array(batch: Mapping[str, Any], key: str) -> NDArray[Any]:
    if not hasattr(batch, "keys"):
        raise LossError(f"batch is {type(batch).__name__}: pass the dict that a distillation collator makes")
    if key not in batch:
        raise LossError(f"the batch has no {key!r}: pass the batch of a distillation collator, with a teacher")
    value = batch[key]
    if not hasattr(value, "detach") or getattr(value, "is_meta", False):
        raise LossError(f"batch[{key!r}] is {type(value).__name__}, not a tensor of numbers: pass the batch unchanged")
    found: NDArray[Any] = value.detach().cpu().numpy()
    return found
