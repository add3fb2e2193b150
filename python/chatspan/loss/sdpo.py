"""The loss of a self-distillation batch."""

from __future__ import annotations

from torch import Tensor

from chatspan.loss.divergence import Divergence, dtype_inside, require_finite, token_divergence
from chatspan.loss.importance import importance
from chatspan.loss.in_loss import Batch, Given, read_in_loss, require_logits
from chatspan.loss.no_teacher import batch_of_nothing, has_no_teacher
from chatspan.loss.options import check_options, require_top_k, untraced
from chatspan.loss.reduction import Reduction, coefficients_of, each_in_place


@untraced
def sdpo_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
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
    gathered: bool = False,
) -> Tensor:
    """How far the student's next-token distributions are from the teacher's, at the in-loss tokens.

    With S and T the distributions at logits / temperature (and no factor of temperature squared) and
    m = (1 - beta) S + beta T, a token's loss is beta KL(T || m) + (1 - beta) KL(S || m): the generalized
    Jensen-Shannon divergence of GKD (arXiv 2306.13649), as in SDPO (arXiv 2601.20802) and OPSD (arXiv 2601.18734).

    Args:
        student_logits: ``[B, T_student, V]``, any float dtype; computed in float32 (float64 in float64).
        teacher_logits: ``[B, T_teacher, V]``, likewise; detached. May be ``None`` where the batch has no teacher part.
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
        gathered: whether the logits are those of the in-loss tokens alone, ``[B, R, V]``, as a model of transformers
            (5.22 or later) makes them with ``logits_to_keep=batch["student_logit_idx"]``.

    Returns:
        float32 (float64 of float64) ``[]`` or ``[B, R]``. A batch without in-loss tokens, and one without a teacher
        part (R is 0), gives a 0 whose gradient is 0. Not twice differentiable.

    Raises:
        OptionError: an option that cannot be.
        LossError: logits or a batch that do not fit together; with row and in-loss token.

    Example:
        >>> import torch
        >>> batch = {"student_logit_idx": torch.tensor([[0, 1]]), "teacher_logit_idx": torch.tensor([[1, 2]]),
        ...          "response_idx_mask": torch.tensor([[True, True]])}
        >>> student = torch.zeros(1, 2, 4, requires_grad=True)
        >>> teacher = torch.tensor([[[0.0, 0, 0, 0], [9.0, 0, 0, 0], [0.0, 0, 0, 0]]])
        >>> loss = sdpo_loss(student, teacher, batch, beta=0.0)
        >>> loss.backward()
        >>> loss, student.grad[0, :, 0]
        (tensor(0.6913, grad_fn=<SumBackward0>), tensor([-0.3748,  0.0000]))
    """
    divergence = Divergence(beta, temperature, top_k, add_tail, token_clip)
    check_options(divergence, is_clip, reduction, num_items_in_batch)
    if has_no_teacher(batch):
        teacher_logits, batch, gathered = student_logits, batch_of_nothing(student_logits), False
    require_logits(student_logits, teacher_logits, batch)
    assert teacher_logits is not None
    given = Given("logits", student_logits.shape[2], gathered)
    require_top_k(top_k, given.vocabulary)
    dtype = dtype_inside(student_logits)
    in_loss = read_in_loss(student_logits, teacher_logits, batch, dtype, given, importance=is_clip is not None)
    losses, log_probs = token_divergence(student_logits, teacher_logits, in_loss.places, divergence)
    require_finite(losses, beta, in_loss.place)
    if is_clip is not None and in_loss.old_log_probs is not None:
        losses = losses * importance(log_probs, in_loss.old_log_probs, is_clip)
    weighted = losses * coefficients_of(in_loss, reduction, num_items_in_batch)
    return each_in_place(weighted, in_loss) if reduction == "none" else weighted.sum()
