"""The batches of NeMo-RL's SDPO: right-padded rows of either side, whose masks pair the in-loss tokens one by one.

Contract: ``nemo_rl/algorithms/sdpo.py`` (``build_sdpo_teacher_data``, ``align_teacher_topk``, ``sdpo_train``) and
``SDPOLossDataDict`` of ``nemo_rl/algorithms/loss/loss_functions.py``, as proposed in NVIDIA-NeMo/RL#2538, commit
2bc9303. No release has it yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chatspan.batch.padding import Ints, padded, padded_ids, width_of
from chatspan.batch.sides import pad_id_of
from chatspan.batch.tensors import Batch, tensors_of
from chatspan.distillation.prompts.plain_rows import PlainRow, plain_rows
from chatspan.errors import RolloutError
from chatspan.options import require_counts

if TYPE_CHECKING:
    from chatspan.distillation.collator import SelfDistillationCollator


class SDPOBatches(NamedTuple):
    """What one step of NeMo-RL's SDPO is made of.

    Attributes:
        student: what it trains on (``train_data``).
        teacher: what its ``policy.get_topk_logits`` scores (``teacher_data``).
    """

    student: Batch
    teacher: Batch


def sdpo_batches(
    collator: SelfDistillationCollator, rows: Sequence[Any], *, pad_to_multiple_of: int | None = None
) -> SDPOBatches:
    """The student's and the teacher's batch of NeMo-RL's SDPO loop.

    NeMo-RL's ``align_teacher_topk`` pairs the n-th token of a row's two masks. In its own batches the student's mask is
    on all turns and the teacher's on the last, so that rollouts of several turns are paired wrongly; here both masks
    are on the same tokens, in any number of turns.

    Args:
        collator: a :class:`chatspan.SelfDistillationCollator` or :class:`chatspan.ComposerDataCollator`: which tokens
            the loss is on, hints, and what becomes of what is too long. With ``per_token=("logprobs",)`` the student
            has ``generation_logprobs``, which ``rollout_importance_sampling_clip`` needs. The form of its batch does
            not count.
        rows: as the collator takes them, rollouts among them: ``{"sampled": row, …}``.
        pad_to_multiple_of: both widths are filled up to a multiple of it (NeMo-RL's
            ``make_sequence_length_divisible_by``).

    Returns:
        Of both: int64 ``input_ids``, ``token_mask`` (1 where the loss is) ``[B, S]``, padded on the right,
        ``input_lengths`` ``[B]``, float32 ``sample_mask`` ``[B]``, 1. Of the student also float32 ``sdpo_mask``
        ``[B]``, 0 where nothing is distilled, and perhaps ``generation_logprobs`` ``[B, S]``, 0 where nothing was
        sampled.

    Raises:
        LayoutError: tokens with other weights than 1; with ``trace_id``.
        OptionError: ``pad_to_multiple_of`` is no number, at least 1.
        RolloutError: log-probs of another form than one for each token.
        ChatspanError: as a call of the collator.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> from chatspan.nemo_rl import sdpo_batches
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> config = chatspan.CollatorConfig(hint_generator=lambda error, meta: f"Mind the {error}.", loss_on="turn")
        >>> collator = chatspan.ComposerDataCollator(tokenizer, config)
        >>> student, teacher = sdpo_batches(collator, [{"turns": [
        ...     {"role": "user", "content": "Book it."},
        ...     {"role": "assistant", "content": "It is full.", "tool_error": "limit"}]}])
        >>> [tokenizer.decode(side["input_ids"][side["token_mask"] == 1]) for side in (student, teacher)]
        ['It is full.<|im_end|>', 'It is full.<|im_end|>']
        >>> student["input_lengths"].tolist(), teacher["input_lengths"].tolist()
        ([21], [35])
    """
    require_counts(SimpleNamespace(pad_to_multiple_of=pad_to_multiple_of), "pad_to_multiple_of")
    found = plain_rows(collator, rows)
    pad_id = pad_id_of(collator.tokenizer)
    student = _side([(row.student_ids, row.student_at) for row in found], pad_id, pad_to_multiple_of)
    student["sdpo_mask"] = np.array([len(row.student_at) > 0 for row in found], dtype=np.float32)
    if "logprobs" in collator.config.per_token:
        student["generation_logprobs"] = _logprobs(found, student["input_ids"].shape[1])
    teacher = _side([(row.teacher_ids, row.teacher_at) for row in found], pad_id, pad_to_multiple_of)
    return SDPOBatches(tensors_of(student), tensors_of(teacher))


def _side(rows: Sequence[tuple[Ints, Ints]], pad_id: int, multiple: int | None) -> dict[str, Any]:
    ids = [ids for ids, _ in rows]
    width = width_of(map(len, ids), multiple)
    masks = []
    for own, in_loss in rows:
        mask = np.zeros(len(own), dtype=np.int64)
        mask[in_loss] = 1
        masks.append(mask)
    return {
        "input_ids": padded_ids(ids, pad_id, "right", width)[0],
        "input_lengths": np.array([len(own) for own in ids], dtype=np.int64),
        "token_mask": padded(masks, 0, "right", width),
        "sample_mask": np.ones(len(rows), dtype=np.float32),
    }


def _logprobs(rows: Sequence[PlainRow], width: int) -> Any:
    found = np.zeros((len(rows), width), dtype=np.float32)
    for index, row in enumerate(rows):
        values = row.per_token.get("logprobs")
        if values is None:
            continue
        if values.shape != row.student_ids.shape:
            raise RolloutError(
                f"its logprobs are {list(values.shape)} for {len(row.student_ids)} tokens: pass one for each",
                row_index=row.row_index,
            )
        found[index, : len(values)] = values
    return found
