"""The loss of a self-distillation batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeVar, cast, get_args

import torch
from torch import Tensor

from chatspan.errors import OptionError, quoted
from chatspan.loss.divergence import Divergence, token_divergence
from chatspan.loss.in_loss import Batch, InLoss, read_in_loss, require_logits
from chatspan.options import one_of

_Function = TypeVar("_Function", bound=Callable[..., object])
Reduction = Literal["token_mean", "row_mean", "sum", "none"]

# As in SDPO: e^20 is far above any useful clip, and e^88 would be infinite in float32.
_LARGEST_LOG_RATIO = 20.0


def _untraced(function: _Function) -> _Function:
    """Has ``torch.compile`` call it as it is: how many chunks there are depends on the batch's values."""
    return cast(_Function, torch.compiler.disable(function))  # type: ignore[no-untyped-call]


@_untraced
def sdpo_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    batch: Batch,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    top_k: int | None = None,
    add_tail: bool = True,
    token_clip: float | None = None,
    is_clip: float | None = None,
    reduction: Reduction = "token_mean",
    num_items_in_batch: int | Tensor | None = None,
) -> Tensor:
    """How far the student's next-token distributions are from the teacher's, at the in-loss tokens.

    With S and T the distributions at logits / temperature (and no factor of temperature squared) and
    m = (1 - beta) S + beta T, a token's loss is beta KL(T || m) + (1 - beta) KL(S || m): the generalized
    Jensen-Shannon divergence of GKD (arXiv 2306.13649), as in SDPO (arXiv 2601.20802) and OPSD (arXiv 2601.18734).

    Args:
        student_logits: ``[B, T_student, V]``, any float dtype; computed in float32 (float64 in float64).
        teacher_logits: ``[B, T_teacher, V]``, likewise; detached.
        batch: of the collator. ``student_logit_idx``, ``teacher_logit_idx`` int64 ``[B, R]``: the columns whose
            logits predict the in-loss tokens; ``response_idx_mask`` bool ``[B, R]``: which of them are real. Where
            there: ``student_response_idx``, ``teacher_response_idx`` int64 ``[B, R]``: the columns of the tokens
            themselves; ``input_ids``, ``ctx_teacher_input_ids`` ``[B, T]``: equal at them; ``sdpo_loss_weight``
            ``[B, T_student]``: a weight for each token; ``seq_idx`` ``[1, S]``: which conversation of a packed row.
        beta: 0 is KL(T || S), 1 is KL(S || T) by definition, 0.5 the Jensen-Shannon divergence.
        temperature: of both sides.
        top_k: only on the student's k likeliest entries of the vocabulary, as in SDPO; ``None`` for all.
        add_tail: with ``top_k``, the mass of all other entries is one more entry; else both sides are
            renormalised on the k.
        token_clip: what one entry of the vocabulary (the tail included) adds to a token's loss is at most this:
            OPSD's pointwise clip, min(l[n, v], tau) before the sum over v.
        is_clip: each token's loss times min(pi / pi_old, ``is_clip``), without gradient: SDPO's importance weight,
            from ``batch["old_log_probs"]`` ``[B, R]``, log-probabilities of the tokens at the same temperature, and
            from ``input_ids`` and ``student_response_idx``.
        reduction: ``"token_mean"``: the weighted sum over the sum of weights, or over ``num_items_in_batch``;
            ``"row_mean"``: the mean over rows (packed: conversations) of each one's weighted mean, those without an
            in-loss token left out; ``"sum"``: the weighted sum; ``"none"``: ``[B, R]``, weighted, 0 where not real.
        num_items_in_batch: as ``transformers.Trainer`` gives it; with ``"token_mean"`` only.

    Returns:
        float32 (float64 of float64) ``[]`` or ``[B, R]``. A batch without in-loss tokens gives a 0 whose gradient
        is 0. Not twice differentiable.

    Raises:
        OptionError: an option that cannot be.
        LossError: logits or a batch that do not fit together; with row and in-loss token.

    Example:
        >>> batch = {"student_logit_idx": torch.tensor([[0, 1]]), "teacher_logit_idx": torch.tensor([[1, 2]]),
        ...          "response_idx_mask": torch.tensor([[True, True]])}
        >>> student = torch.zeros(1, 2, 4, requires_grad=True)
        >>> teacher = torch.tensor([[[0.0, 0, 0, 0], [9.0, 0, 0, 0], [0.0, 0, 0, 0]]])
        >>> loss = sdpo_loss(student, teacher, batch, beta=0.0)
        >>> loss.backward()
        >>> loss, student.grad[0, :, 0]
        (tensor(0.6913, grad_fn=<DivBackward0>), tensor([-0.3748,  0.0000]))
    """
    divergence = Divergence(beta, temperature, top_k, add_tail, token_clip)
    _check_options(divergence, is_clip, reduction, num_items_in_batch)
    require_logits(student_logits, teacher_logits, batch)
    dtype = torch.float64 if student_logits.dtype is torch.float64 else torch.float32
    in_loss = read_in_loss(student_logits, teacher_logits, batch, dtype, importance=is_clip is not None)
    if top_k is not None and top_k > student_logits.shape[2]:
        raise OptionError(f"top_k={top_k}, but the vocabulary has {student_logits.shape[2]} entries")
    losses, log_probs = token_divergence(student_logits, teacher_logits, in_loss.places, divergence)
    if is_clip is not None and in_loss.old_log_probs is not None:
        losses = losses * _importance(log_probs, in_loss.old_log_probs, is_clip)
    return _reduced(losses * in_loss.weights, in_loss, reduction, num_items_in_batch)


def _importance(log_probs: Tensor, old_log_probs: Tensor, is_clip: float) -> Tensor:
    log_ratio = (log_probs - old_log_probs.to(log_probs.dtype)).detach()
    return log_ratio.clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO).exp().clamp(max=is_clip)


def _reduced(weighted: Tensor, in_loss: InLoss, reduction: str, num_items_in_batch: int | Tensor | None) -> Tensor:
    if reduction == "none":
        return weighted.new_zeros(in_loss.shape).index_put((in_loss.places.rows, in_loss.entries), weighted)
    if reduction == "sum":
        return weighted.sum()
    if reduction == "row_mean":
        empty = weighted.new_zeros(in_loss.group_count)
        totals = empty.index_add(0, in_loss.groups, in_loss.weights)
        means = empty.index_add(0, in_loss.groups, weighted) / _at_least_one_where_zero(totals)
        return means.sum() / (totals > 0).sum().clamp(min=1)
    if isinstance(num_items_in_batch, Tensor):
        return weighted.sum() / num_items_in_batch.to(weighted.device)
    if num_items_in_batch is not None:
        return weighted.sum() / num_items_in_batch
    return weighted.sum() / _at_least_one_where_zero(in_loss.weights.sum())


def _at_least_one_where_zero(totals: Tensor) -> Tensor:
    """A divisor for sums that are 0 themselves where it was 0."""
    return torch.where(totals > 0, totals, 1)


def _check_options(
    divergence: Divergence, is_clip: float | None, reduction: str, num_items_in_batch: int | Tensor | None
) -> None:
    beta, temperature, top_k = divergence.beta, divergence.temperature, divergence.top_k
    if not (_is_number(beta) and 0 <= beta <= 1):
        raise OptionError(f"beta={quoted(beta)}: give a number from 0, KL(T || S), to 1, KL(S || T)")
    if not (_is_number(temperature) and 0 < temperature < math.inf):
        raise OptionError(f"temperature={quoted(temperature)}: give a positive number")
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise OptionError(f"top_k={quoted(top_k)}: give a whole number of at least 1, or None for the whole vocabulary")
    for name, clip in (("token_clip", divergence.token_clip), ("is_clip", is_clip)):
        if clip is not None and not (_is_number(clip) and clip > 0):
            raise OptionError(f"{name}={quoted(clip)}: give a positive number, or None for no clip")
    if not one_of(reduction, get_args(Reduction)):
        raise OptionError(f"reduction={quoted(reduction)}: say one of {', '.join(map(repr, get_args(Reduction)))}")
    if num_items_in_batch is None or isinstance(num_items_in_batch, Tensor):
        items_are_fine = True  # a tensor's value is on the device, and not waited for
    else:
        items_are_fine = _is_number(num_items_in_batch) and num_items_in_batch > 0
    if not items_are_fine:
        raise OptionError(f"num_items_in_batch={quoted(num_items_in_batch)}: give a positive number")
    if num_items_in_batch is not None and reduction != "token_mean":
        raise OptionError(f"num_items_in_batch with reduction={quoted(reduction)}: only 'token_mean' divides by it")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
