"""The loss of a self-distillation batch from hidden states, without logits of all tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from chatspan.errors import LossError, OptionError, quoted
from chatspan.loss.divergence import Divergence, dtype_inside
from chatspan.loss.from_hidden import HeadPair, Tokens, divergence_of_each, step_of, summed_divergence
from chatspan.loss.heads import Head, as_head
from chatspan.loss.importance import importance
from chatspan.loss.in_loss import Batch, Given, InLoss, read_in_loss, require_logits
from chatspan.loss.no_teacher import batch_of_nothing, has_no_teacher
from chatspan.loss.options import check_options, require_top_k, untraced
from chatspan.loss.reduction import Reduction, coefficients_of, each_in_place


@untraced
def linear_sdpo_loss(
    student_hidden: Tensor,
    teacher_hidden: Tensor | None,
    batch: Batch,
    student_head: Any,
    teacher_head: Any,
    *,
    chunk_size: int | None = None,
    logit_softcap: float | None = None,
    logit_scale: float = 1.0,
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
    """:func:`chatspan.loss.sdpo_loss` from the hidden states in front of the heads, without logits ``[B, T, V]``.

    The R in-loss tokens of the T are gathered first, then projected some at a time. Loss and gradients are made in the
    forward pass, so that no more than one chunk of logits of each side is alive, and nothing of them is kept.

    Args:
        student_hidden: ``[B, T_student, H]``, the last hidden states, as the model's own head gets them.
        teacher_hidden: ``[B, T_teacher, H_teacher]``; detached. May be ``None`` where the batch has no teacher part.
        batch, beta, temperature, top_k, add_tail, token_clip, is_clip, reduction, num_items_in_batch, gathered: see
            :func:`chatspan.loss.sdpo_loss`; gathered are hidden states ``[B, R, H]``.
        student_head: what makes logits of hidden states: a :class:`chatspan.loss.Head`, the module (also one with LoRA
            on it), or a weight ``[V, H]``. What of it requires a gradient gets one.
        teacher_head: likewise; never gets a gradient.
        chunk_size: how many tokens are projected at once; by default as many as are fast.
        logit_softcap, logit_scale: of both heads, see :class:`chatspan.loss.Head`.

    Returns:
        float32 (float64 of float64) ``[]`` or ``[B, R]``; the same value and gradients as from all logits. With
        ``reduction="none"`` the backward pass projects anew.

    Raises:
        OptionError: an option that cannot be.
        LossError: hidden states, heads or a batch that do not fit together; with row and in-loss token.

    Example:
        >>> import torch
        >>> batch = {"student_logit_idx": torch.tensor([[0, 1]]), "teacher_logit_idx": torch.tensor([[1, 2]]),
        ...          "response_idx_mask": torch.tensor([[True, True]])}
        >>> student, teacher = torch.zeros(1, 2, 3, requires_grad=True), torch.ones(1, 3, 3)
        >>> weight = torch.eye(4, 3)
        >>> loss = linear_sdpo_loss(student, teacher, batch, weight, weight)
        >>> loss.backward()
        >>> round(loss.item(), 4), student.grad[0, 0]
        (0.0172, tensor([-0.0066, -0.0066, -0.0066]))
    """
    divergence = Divergence(beta, temperature, top_k, add_tail, token_clip)
    check_options(divergence, is_clip, reduction, num_items_in_batch)
    require_chunk_size(chunk_size)
    if has_no_teacher(batch):
        teacher_hidden, teacher_head, gathered = student_hidden, student_head, False
        batch = batch_of_nothing(student_hidden)
    require_logits(student_hidden, teacher_hidden, batch, "hidden")
    assert teacher_hidden is not None
    student = as_head(student_head, "student_head", logit_scale=logit_scale, logit_softcap=logit_softcap)
    teacher = as_head(teacher_head, "teacher_head", logit_scale=logit_scale, logit_softcap=logit_softcap)
    vocabulary = _vocabulary(student, teacher, student_hidden, teacher_hidden)
    require_top_k(top_k, vocabulary)
    given = Given("hidden", vocabulary, gathered)
    dtype = dtype_inside(student_hidden)
    in_loss = read_in_loss(student_hidden, teacher_hidden, batch, dtype, given, importance=is_clip is not None)
    heads = HeadPair(student, teacher, step_of(vocabulary, student_hidden.device, chunk_size))
    places = in_loss.places
    sides = (
        student_hidden[places.rows, places.student_columns],
        teacher_hidden.detach()[places.rows, places.teacher_columns],
    )
    tokens = tokens_of(in_loss, coefficients_of(in_loss, reduction, num_items_in_batch), is_clip)
    if reduction == "none":
        return each_in_place(divergence_of_each(*sides, tokens, heads, divergence), in_loss)
    return summed_divergence(*sides, tokens, heads, divergence)


def require_chunk_size(chunk_size: int | None) -> None:
    """It is a number of tokens.

    Raises:
        OptionError: it is not.
    """
    if chunk_size is not None and (type(chunk_size) is not int or chunk_size < 1):
        raise OptionError(f"chunk_size={quoted(chunk_size)}: expected the number of tokens, at least 1, or None")


def tokens_of(in_loss: InLoss, coefficients: Tensor, is_clip: float | None) -> Tokens:
    """What is needed of the in-loss tokens, besides their hidden states."""
    old = in_loss.old_log_probs
    if is_clip is None or old is None:
        return Tokens(coefficients, in_loss.place, in_loss.places.tokens)
    return Tokens(
        coefficients, in_loss.place, in_loss.places.tokens, lambda now, chunk: importance(now, old[chunk], is_clip)
    )


def _vocabulary(student: Head, teacher: Head, student_hidden: Tensor, teacher_hidden: Tensor) -> int:
    """How many entries both sides' logits have.

    Raises:
        LossError: not as many on both sides, or heads that do not take the hidden states.
    """
    widths = [
        width_of_head("student_head", student, "student_hidden", student_hidden),
        width_of_head("teacher_head", teacher, "teacher_hidden", teacher_hidden),
    ]
    if widths[0] != widths[1]:
        raise LossError(
            f"the student's head has {widths[0]} entries and the teacher's {widths[1]}: for padded heads pass "
            "Head(…, vocabulary=n), with the number of entries that are tokens"
        )
    return widths[0]


def width_of_head(name: str, head: Head, of: str, hidden: Tensor) -> int:
    """How many entries the logits of a head have.

    Raises:
        LossError: it does not take the hidden states.
    """
    try:
        return int(head.logits(hidden[:0, 0].detach()).shape[-1])
    except RuntimeError as error:
        raise LossError(
            f"{name} does not take {of} {list(hidden.shape)}: {error}; pass the head of that model"
        ) from None
