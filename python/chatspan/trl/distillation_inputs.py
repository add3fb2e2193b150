"""Conversations → what TRL's ``DistillationTrainer`` computes its loss from, and the teacher's side, which it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chatspan.batch.padding import padded_ids
from chatspan.batch.sides import pad_id_of
from chatspan.batch.tensors import Batch, tensors_of
from chatspan.distillation.prompts.plain_rows import PlainRow, plain_rows

if TYPE_CHECKING:
    from chatspan.distillation.collator import SelfDistillationCollator


def distillation_inputs(collator: SelfDistillationCollator, rows: Sequence[Any]) -> Batch:
    """The inputs of a step of TRL's ``DistillationTrainer``, of conversations instead of prompts.

    The completion begins with the first in-loss token of a row and ends with the last, whatever is between them: later
    turns, results of tools. :class:`chatspan.trl.DistillationMixin` makes the teacher see its own side.

    Args:
        collator: a :class:`chatspan.SelfDistillationCollator` or :class:`chatspan.ComposerDataCollator`: which tokens
            the loss is on, hints, and what becomes of what is too long. The form of its batch does not count.
        rows: as the collator takes them, rollouts among them: ``{"sampled": row, …}``.

    Returns:
        int64: ``prompt_ids``, ``prompt_mask`` ``[B, P]``, padded on the left; ``completion_ids``, ``completion_mask``,
        ``tool_mask`` ``[B, C]``, padded on the right, of which TRL multiplies the masks: ``tool_mask`` is 1 on in-loss
        tokens. The teacher's: ``teacher_input_ids``, ``teacher_attention_mask`` ``[B, T]``, padded on the right, and
        ``teacher_logit_idx`` ``[B, C]``, the teacher's column whose logits predict each in-loss token; 0 elsewhere.

    Raises:
        LayoutError: tokens with other weights than 1; with ``trace_id``.
        ChatspanError: as a call of the collator.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> from chatspan.trl import distillation_inputs
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> collator = chatspan.SelfDistillationCollator(tokenizer, chatspan.DistillationConfig(loss_on="turn"))
        >>> answer = {"role": "assistant", "content": "It is 4."}
        >>> inputs = distillation_inputs(collator, [{
        ...     "messages": [{"role": "user", "content": "2 + 2?"}, answer],
        ...     "teacher_messages": [{"role": "user", "content": "2 + 2? (The solution: 4.)"}, answer]}])
        >>> tokenizer.decode(inputs["completion_ids"][0])
        'It is 4.<|im_end|>'
        >>> tokenizer.decode(inputs["teacher_input_ids"][0, inputs["teacher_logit_idx"][0] + 1])
        'It is 4.<|im_end|>'
    """
    found = plain_rows(collator, rows)
    pad_id = pad_id_of(collator.tokenizer)
    firsts = [_first(row) for row in found]
    prompts = [row.student_ids[:first] for row, first in zip(found, firsts, strict=True)]
    completions = [row.student_ids[first : _end(row)] for row, first in zip(found, firsts, strict=True)]
    teachers = [row.teacher_ids[: max(2, int(row.teacher_at.max(initial=0)) + 1)] for row in found]
    width = max(1, *map(len, completions))
    in_loss, columns = np.zeros((2, len(found), width), dtype=np.int64)
    for index, (row, first) in enumerate(zip(found, firsts, strict=True)):
        in_loss[index, row.student_at - first] = 1
        columns[index, row.student_at - first] = row.teacher_at - 1
    prompt_ids, prompt_mask = padded_ids(prompts, pad_id, "left")
    completion_ids, completion_mask = padded_ids(completions, pad_id, "right", width)
    teacher_ids, teacher_mask = padded_ids(teachers, pad_id, "right")
    return tensors_of(
        {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "completion_ids": completion_ids,
            "completion_mask": completion_mask,
            "tool_mask": in_loss,
            "teacher_input_ids": teacher_ids,
            "teacher_attention_mask": teacher_mask,
            "teacher_logit_idx": columns,
        }
    )


def _first(row: PlainRow) -> int:
    """Where the completion begins: a row without a loss has one too, since models take no empty one."""
    return int(row.student_at[0]) if len(row.student_at) else max(1, len(row.student_ids) - 1)


def _end(row: PlainRow) -> int:
    """What stands behind the last in-loss token is seen by none of them."""
    return int(row.student_at[-1]) + 1 if len(row.student_at) else len(row.student_ids)
