"""What servers answered → the teacher's top-k of a batch, each row of the token that it is of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chatspan.distillation.teachers.prompts import TeacherPrompt, teacher_prompts
from chatspan.distillation.teachers.responses import Entries, Scored, scored_of
from chatspan.errors import LossError, first_difference, quoted

if TYPE_CHECKING:
    from torch import Tensor


# Ids and log-probs of one token, the largest first.
TokenEntries = Sequence[tuple[int, float]]


class TeacherTopK(NamedTuple):
    """A teacher's top-k of a batch, as :func:`chatspan.loss.topk_sdpo_loss` takes it.

    Attributes:
        logprobs: float32 ``[B, R, K]``, the largest first, -inf where there is none.
        ids: int64 ``[B, R, K]``, -1 where there is none.
    """

    logprobs: Tensor
    ids: Tensor


def top_k_of(
    responses: Any, batch: Mapping[str, Any], *, prompts: Sequence[TeacherPrompt] | None = None
) -> TeacherTopK:
    """Reads what servers answered to :func:`teacher_prompts`.

    The ids that a server says it scored must be those of the batch. K is the most entries that a token has: servers
    give the token itself too, where it is not among the likeliest, and it is kept.

    Args:
        responses: in the order of the prompts, one for each or one for all: of vLLM's ``/v1/completions``, asked with
            ``prompt_logprobs`` and ``return_token_ids=True``, or its ``RequestOutput``; of SGLang's ``/generate``,
            asked with ``return_logprob=True``, ``logprob_start_len=0`` and ``top_logprobs_num``; or what
            ``VLLMClient.get_sequence_logprobs`` of TRL returns for ``sequences`` that are the prompts' ``input_ids``.
        batch: that the prompts are of.
        prompts: those that were sent, if they are at hand.

    Raises:
        LossError: a response in none of these forms, or of other ids; with row and position.

    Example:
        >>> import torch
        >>> batch = {"ctx_teacher_input_ids": torch.tensor([[5, 6, 7]]),
        ...          "ctx_teacher_attention_mask": torch.tensor([[1, 1, 1]]),
        ...          "teacher_logit_idx": torch.tensor([[1]]), "teacher_response_idx": torch.tensor([[2]]),
        ...          "response_idx_mask": torch.tensor([[True]])}
        >>> answered = {"choices": [{"prompt_token_ids": [5, 6, 7], "prompt_logprobs": [
        ...     None, {"6": {"logprob": -0.5}}, {"9": {"logprob": -0.25}, "7": {"logprob": -2.0}}]}]}
        >>> top_k_of(answered, batch)
        TeacherTopK(logprobs=tensor([[[-0.2500, -2.0000]]]), ids=tensor([[[9, 7]]]))
    """
    prompts = teacher_prompts(batch) if prompts is None else require_prompts(prompts)
    found: dict[tuple[int, int], TokenEntries] = {}
    for prompt, entries in zip(prompts, entries_of(responses, prompts), strict=True):
        found |= {(prompt.row, entry): each for entry, each in zip(prompt.entries, entries, strict=True)}
    return arranged(found, tuple(batch["response_idx_mask"].shape))


def require_prompts(prompts: Any) -> list[TeacherPrompt]:
    """They are prompts.

    Raises:
        LossError: they are not.
    """
    found = list(islice(prompts, len(prompts))) if isinstance(prompts, (list, tuple)) else [prompts]
    for each in found:
        if not isinstance(each, TeacherPrompt):
            raise LossError(f"prompts has {quoted(each)}: pass the list that teacher_prompts(batch) returned")
    return found


def entries_of(responses: Any, prompts: Sequence[TeacherPrompt]) -> list[list[TokenEntries]]:
    """Of each prompt the entries of its in-loss tokens, as :attr:`TeacherPrompt.positions` has them.

    Raises:
        LossError: see :func:`top_k_of`.
    """
    scored = scored_of(responses)
    if len(scored) != len(prompts):
        raise LossError(
            f"{len(scored)} prompts were scored, and there are {len(prompts)}: pass the responses to all of them, in "
            "their order"
        )
    found = []
    for prompt, each in zip(prompts, scored, strict=True):
        start = _start(prompt, each)
        found.append([_sorted(each.at(position - start)) for position in prompt.positions])
    return found


def arranged(found: Mapping[tuple[int, int], TokenEntries], shape: tuple[int, ...]) -> TeacherTopK:
    """Entries by row and in-loss token, as tensors of a batch ``[B, R]``."""
    import torch  # a batch has loaded it

    width = max((len(entries) for entries in found.values()), default=1)
    log_probs = np.full((*shape, width), -math.inf, dtype=np.float32)
    ids = np.full((*shape, width), -1, dtype=np.int64)
    for at, entries in found.items():
        ids[at][: len(entries)] = [token for token, _ in entries]
        log_probs[at][: len(entries)] = [log_prob for _, log_prob in entries]
    return TeacherTopK(torch.from_numpy(log_probs), torch.from_numpy(ids))


def _sorted(entries: Entries) -> TokenEntries:
    """The likeliest first; what has no probability says nothing."""
    return sorted((each for each in entries.items() if each[1] > -math.inf), key=lambda each: (-each[1], each[0]))


def _start(prompt: TeacherPrompt, scored: Scored) -> int:
    """The position in the prompt of the first id that was scored.

    Raises:
        LossError: other ids were scored, or not as many as are needed.
    """
    start = len(prompt.input_ids) - len(scored.ids) if scored.start is None else scored.start
    of_prompt = prompt.input_ids[max(start, 0) :]
    if start < 0 or scored.ids[: len(of_prompt)] != of_prompt:
        at = first_difference(scored.ids, of_prompt)
        theirs, own = (quoted(ids[at]) if at < len(ids) else "none" for ids in (scored.ids, of_prompt))
        raise LossError(
            f"row {prompt.row}, position {max(start, 0) + at} of the prompt: {scored.place} scored the id {theirs}, "
            f"and the batch has {own}: send the input_ids of teacher_prompts(batch), as ids and not as text"
        )
    if prompt.first < start:
        raise LossError(
            f"row {prompt.row}, position {prompt.first} of the prompt: {scored.place} begins at position {start}, "
            "after an in-loss token: request log-probs from the prompt's first in-loss token on"
        )
    return start
