"""The loss of a self-distillation batch from a teacher's top-k, as inference servers give it."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from chatspan.errors import OptionError
from chatspan.loss.divergence import Divergence, dtype_inside, token_divergence
from chatspan.loss.from_hidden import HeadPair, divergence_of_each, step_of, summed_divergence
from chatspan.loss.heads import Head, as_head
from chatspan.loss.importance import importance
from chatspan.loss.in_loss import Batch, Given, read_in_loss, require_batch, require_shape, require_tensor
from chatspan.loss.known import TopK
from chatspan.loss.linear import require_chunk_size, tokens_of, width_of_head
from chatspan.loss.options import check_options, untraced
from chatspan.loss.reduction import Reduction, coefficients_of, each_in_place


class TopKLoss(NamedTuple):
    """A loss, and how much of the teacher it has seen.

    Attributes:
        loss: ``[]`` or ``[B, R]``, with a gradient to the student.
        teacher_mass: ``[B, R]``, the probability that the teacher's top-k has together, 0 where ``response_idx_mask``
            is false. What is missing to 1 is in the tail: where that is much, the loss is far below the exact one.
    """

    loss: Tensor
    teacher_mass: Tensor


@untraced
def topk_sdpo_loss(
    student: Tensor,
    teacher_topk_logprobs: Tensor,
    teacher_topk_ids: Tensor,
    batch: Batch,
    *,
    student_head: Any = None,
    chunk_size: int | None = None,
    add_tail: bool = True,
    beta: float = 0.5,
    temperature: float = 1.0,
    token_clip: float | None = None,
    is_clip: float | None = None,
    reduction: Reduction = "token_mean",
    num_items_in_batch: int | Tensor | None = None,
    gathered: bool = False,
) -> TopKLoss:
    """:func:`chatspan.loss.sdpo_loss` against a teacher of which K log-probabilities of each in-loss token are known.

    With ``add_tail``, the K entries and one bucket of all others: merging entries never makes a divergence larger (the
    data-processing inequality), so the loss is a lower bound of the exact one, grows with K, and is exact where the K
    are the whole vocabulary.

    Args:
        student: logits ``[B, T, V]``; with ``student_head``, hidden states ``[B, T, H]``.
        teacher_topk_logprobs: floats ``[B, R, K]``, natural logarithms of probabilities over the whole vocabulary, in
            any order; -inf where a token has fewer than K, and where ``response_idx_mask`` is false. Detached.
        teacher_topk_ids: int64 ``[B, R, K]``, which entries of the vocabulary they are, each once; -1 (or any other)
            where there is none. Entry r is that of ``student_logit_idx[:, r]``: the distribution that predicts the
            r-th in-loss token. :func:`chatspan.distillation.teachers.topk_of` reads both from servers' responses.
        batch, beta, token_clip, is_clip, reduction, num_items_in_batch: see :func:`chatspan.loss.sdpo_loss`.
            ``teacher_logit_idx`` is not needed.
        student_head: what makes logits of hidden states, see :func:`chatspan.loss.linear_sdpo_loss`. Then no more than
            one chunk of logits is alive.
        chunk_size: with ``student_head``, how many tokens are projected at once; by default as many as are fast.
        add_tail: whether all entries that are not known are one more entry, of at least 1e-7; else both sides are
            renormalised on the K, and the student's mass outside of them has no gradient.
        temperature: of the student. The teacher's log-probabilities are taken as they are: have the server compute
            them at the same temperature.
        gathered: whether ``student`` is of the in-loss tokens alone, ``[B, R, …]``.

    Returns:
        the loss, float32 (float64 of float64), and the teacher's mass in its top-k, ``[B, R]``.

    Raises:
        OptionError: an option that cannot be.
        LossError: a student, a top-k or a batch that do not fit together; with row and in-loss token.

    Example:
        >>> import torch
        >>> batch = {"student_logit_idx": torch.tensor([[0, 1]]), "response_idx_mask": torch.tensor([[True, True]])}
        >>> student = torch.zeros(1, 2, 4, requires_grad=True)
        >>> log_probs = torch.tensor([[[0.7, 0.2], [0.9, 0.0]]]).log()
        >>> ids = torch.tensor([[[2, 0], [3, -1]]])
        >>> loss, mass = topk_sdpo_loss(student, log_probs, ids, batch, beta=0.0)
        >>> loss.backward()
        >>> round(loss.item(), 4), mass, student.grad[0, 0]
        (0.7333, tensor([[0.9000, 0.9000]]), tensor([ 0.0250,  0.1000, -0.2250,  0.1000]))
    """
    divergence = Divergence(beta, temperature, add_tail=add_tail, token_clip=token_clip)
    check_options(divergence, is_clip, reduction, num_items_in_batch)
    require_chunk_size(chunk_size)
    head = _head(student_head, chunk_size)
    what = "logits" if head is None else "hidden"
    require_tensor(student, "student", what)
    require_batch(batch)
    require_shape(student, "student", what)
    vocabulary = student.shape[2] if head is None else width_of_head("student_head", head, "student", student)
    teacher = TopK(teacher_topk_logprobs, teacher_topk_ids, student, vocabulary)
    in_loss = read_in_loss(
        student,
        student,
        batch,
        dtype_inside(student),
        Given(what, vocabulary, gathered, teacher_gathered=True),
        importance=is_clip is not None,
        also=teacher.checks,
    )
    known, mass = teacher.known(in_loss)
    coefficients = coefficients_of(in_loss, reduction, num_items_in_batch)
    teacher_mass = each_in_place(mass, in_loss)
    if head is None:
        losses, log_probs = token_divergence(student, known, in_loss.places, divergence)
        if is_clip is not None and in_loss.old_log_probs is not None:
            losses = losses * importance(log_probs, in_loss.old_log_probs, is_clip)
        weighted = losses * coefficients
        return TopKLoss(each_in_place(weighted, in_loss) if reduction == "none" else weighted.sum(), teacher_mass)
    heads = HeadPair(head, None, step_of(vocabulary, student.device, chunk_size))
    hidden = student[in_loss.places.rows, in_loss.places.student_columns]
    given = hidden, known, tokens_of(in_loss, coefficients, is_clip), heads, divergence
    if reduction == "none":
        return TopKLoss(each_in_place(divergence_of_each(*given), in_loss), teacher_mass)
    return TopKLoss(summed_divergence(*given), teacher_mass)


def _head(student_head: Any, chunk_size: int | None) -> Head | None:
    if student_head is not None:
        return as_head(student_head, "student_head", logit_scale=1.0, logit_softcap=None)
    if chunk_size is not None:
        raise OptionError(f"chunk_size={chunk_size} without student_head: it is for hidden states; leave it out")
    return None
