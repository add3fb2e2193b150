"""The divergence of a student's next-token distributions from a teacher's, and its gradient, some tokens at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chatspan.errors import LossError

# The least mass of a tail bucket, as in TRL, so that its logarithm stays finite.
_LOG_LEAST_TAIL = math.log(-math.expm1(-1e-7))

# Of one logits tensor's bytes, what all temporary tensors together may take; the rest of 10 % is a margin.
_SHARE = 0.08
# How many tensors [tokens, V] are alive at once at most; with top-k more, as its indices are int64.
_BUFFERS = 6
_BUFFERS_OF_TOP_K = 9
# Elements of one such tensor. Below the least, calls cost more than their work; above the most, nothing is gained, and
# a CPU's caches no longer hold a chunk, which makes it twice as slow.
_LEAST_ELEMENTS = 2**17
_MOST_ELEMENTS = {"cpu": 2**17, "other": 2**24}


@dataclass(frozen=True)
class Divergence:
    """Which divergence; see :func:`chatspan.loss.sdpo_loss` for what the fields mean."""

    beta: float = 0.5
    temperature: float = 1.0
    top_k: int | None = None
    add_tail: bool = True
    token_clip: float | None = None


@dataclass(frozen=True)
class Places:
    """Where the N in-loss tokens are predicted, int64 ``[N]`` each, no place of the student's twice.

    Attributes:
        rows: the row, on both sides.
        student_columns, teacher_columns: the columns of each side's logits.
        tokens: the ids of the tokens, or ``None`` if their log-probabilities are not wanted.
    """

    rows: Tensor
    student_columns: Tensor
    teacher_columns: Tensor
    tokens: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)


def token_divergence(student: Tensor, teacher: Tensor, places: Places, divergence: Divergence) -> tuple[Tensor, Tensor]:
    """The divergence of each in-loss token, and the student's log-probability of the token itself.

    Both passes go over the tokens in chunks and compute the distributions anew, so that nothing but the logits is
    kept between them and the only large tensor that is made is the student's gradient.

    Args:
        student: ``[B, T_student, V]``, any float dtype and strides.
        teacher: ``[B, T_teacher, V]``; gets no gradient.
        places: of the N in-loss tokens.
        divergence: which.

    Returns:
        ``[N]`` with a gradient (once) to ``student``, and ``[N]`` without one, empty if ``places.tokens`` is
        ``None``; both float32, or float64 if ``student`` is.

    Example:
        >>> logits = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])
        >>> places = Places(torch.tensor([0]), student_columns=torch.tensor([0]), teacher_columns=torch.tensor([1]))
        >>> token_divergence(logits, logits, places, Divergence(beta=0.0))[0]
        tensor([0.3278])
    """
    losses, log_probs = _ChunkedDivergence.apply(student, teacher.detach(), places, divergence)
    return losses, log_probs


def tokens_at_once(student: Tensor, teacher: Tensor, divergence: Divergence) -> int:
    """How many tokens a chunk has, for the memory that it may take."""
    vocabulary = student.shape[-1]
    buffers = _BUFFERS if divergence.top_k is None else _BUFFERS_OF_TOP_K
    itemsize = 8 if dtype_inside(student) is torch.float64 else 4
    least_bytes = min(logits.numel() * logits.element_size() for logits in (student, teacher))
    elements = int(_SHARE * least_bytes) // (buffers * itemsize)
    most = _MOST_ELEMENTS.get(student.device.type, _MOST_ELEMENTS["other"])
    return max(1, max(_LEAST_ELEMENTS, min(elements, most)) // max(vocabulary, 1))


class _Seal:
    """Notices whether logits are the same in both passes, where torch does not: it counts no changes of tensors that
    were made in inference mode, which may be changed in place all the same.

    Kept are two sums of each token's logits, taken as whole numbers, so that no order of summing makes a difference: of
    all, and of each third, which tells of those that only changed places. 64 bits are two numbers, or sums would wrap.
    """

    def __init__(self, logits: Tensor, count: int) -> None:
        self._sums = torch.zeros(2, count, dtype=torch.int64, device=logits.device) if logits.is_inference() else None

    def pressed(self, rows: Tensor, chunk: slice) -> Tensor:
        """The same rows."""
        if self._sums is not None:
            bits = rows.view(torch.int16 if rows.element_size() == 2 else torch.int32)
            self._sums[0, chunk] = bits.sum(-1, dtype=torch.int64)
            self._sums[1, chunk] = bits[:, ::3].sum(-1, dtype=torch.int64)
        return rows

    def require_same(self, before: _Seal) -> None:
        """As in the forward pass."""
        if self._sums is not None and before._sums is not None and not torch.equal(self._sums, before._sums):
            raise LossError(
                "the teacher's logits were changed in place after the loss was computed: call backward before, or "
                "change a clone"
            )


class _ChunkedDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, places: Places, divergence: Divergence
    ) -> tuple[Tensor, Tensor]:
        losses = student.new_empty(len(places), dtype=dtype_inside(student))
        log_probs = losses.new_empty(0 if places.tokens is None else len(places))
        ctx.seal = _Seal(teacher, len(places))
        for chunk in _chunks(student, teacher, places, divergence):
            support = _support_at(student, teacher, places, chunk, divergence, ctx.seal)
            if support.token_log_probs is not None:
                log_probs[chunk] = support.token_log_probs
            losses[chunk] = losses_of(support, divergence).sum(-1)
            del support  # else it is alive while the next chunk's is made
        # What inference_mode made cannot be saved the usual way.
        ctx.teacher = teacher if teacher.is_inference() else None
        ctx.save_for_backward(student, *([] if teacher.is_inference() else [teacher]))
        ctx.places, ctx.divergence = places, divergence
        ctx.mark_non_differentiable(log_probs)
        return losses, log_probs

    @staticmethod
    def backward(ctx: Any, grad_of_losses: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        # Torch's once_differentiable lets it pass if only the logits, not this gradient, depend on something.
        if torch.is_grad_enabled():
            raise LossError("the loss is differentiable once: call backward without create_graph=True")
        student, *saved = ctx.saved_tensors
        teacher, places, divergence = ctx.teacher if ctx.teacher is not None else saved[0], ctx.places, ctx.divergence
        grad = torch.zeros_like(student, memory_format=torch.contiguous_format)
        flat = grad.view(-1, grad.shape[-1])
        at = places.rows * student.shape[1] + places.student_columns
        scale = (grad_of_losses / divergence.temperature).unsqueeze(-1)
        seal = _Seal(teacher, len(places))
        for chunk in _chunks(student, teacher, places, divergence):
            support = _support_at(student, teacher, places, chunk, divergence, seal)
            # Scaled before it is rounded: a loss scale is there to keep float16 from underflow.
            rows = grad_of_logits(support, divergence, student.shape[-1]).mul_(scale[chunk])
            flat.index_copy_(0, at[chunk], rows.to(grad.dtype))
            del support, rows
        seal.require_same(ctx.seal)
        return grad, None, None, None


@dataclass
class Support:
    """Both distributions of a chunk on the support, as log-probabilities that sum to 1 and are never -inf.

    Attributes:
        student, teacher: ``[C, K]``; K is V, or k, or k + 1 with the tail's bucket last.
        index: int64 ``[C, k]``, which entries of the vocabulary the support's are; ``None`` for all in order.
        rest: ``[C, V]``, the student's log-probabilities outside of the k, -inf at the k; with a tail only.
        token_log_probs: ``[C]``, of the tokens themselves on the whole vocabulary, where they are wanted.
    """

    student: Tensor
    teacher: Tensor
    index: Tensor | None = None
    rest: Tensor | None = None
    token_log_probs: Tensor | None = None


def dtype_inside(student: Tensor) -> torch.dtype:
    """What the divergence of these logits, or hidden states, is computed in."""
    return torch.float64 if student.dtype is torch.float64 else torch.float32


def _chunks(student: Tensor, teacher: Tensor, places: Places, divergence: Divergence) -> Iterator[slice]:
    step = tokens_at_once(student, teacher, divergence)
    return (slice(start, min(start + step, len(places))) for start in range(0, len(places), step))


def _rows(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``logits[rows, columns]``, ``[C, V]``, always a copy."""
    if logits.is_contiguous():  # several times faster than the other way on a CPU
        return logits.view(-1, logits.shape[-1]).index_select(0, rows * logits.shape[1] + columns)
    return logits[rows, columns]


def _support_at(
    student: Tensor, teacher: Tensor, places: Places, chunk: slice, divergence: Divergence, seal: _Seal
) -> Support:
    rows = places.rows[chunk]
    return support_of(
        _rows(student, rows, places.student_columns[chunk]),
        lambda: seal.pressed(_rows(teacher, rows, places.teacher_columns[chunk]), chunk),
        None if places.tokens is None else places.tokens[chunk],
        dtype_inside(student),
        divergence,
    )


def support_of(
    student: Tensor,
    teacher: Callable[[], Tensor],
    tokens: Tensor | None,
    dtype: torch.dtype,
    divergence: Divergence,
) -> Support:
    """Both distributions of a chunk. May overwrite the logits.

    Args:
        student: logits ``[C, V]``.
        teacher: gives logits ``[C, V]``, when they are needed and not before.
        tokens: int64 ``[C]``, the tokens whose log-probabilities are wanted.
    """
    log_student = _log_probs(student, dtype, divergence.temperature)
    del student  # else it is alive beside the teacher's
    index = None if divergence.top_k is None else log_student.topk(divergence.top_k, sorted=False).indices
    of_tokens = None if tokens is None else log_student.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    log_teacher = _log_probs(teacher(), dtype, divergence.temperature)
    if index is None:
        return Support(log_student, log_teacher, token_log_probs=of_tokens)
    if not divergence.add_tail:
        top_student, top_teacher = (logs.gather(-1, index).log_softmax(-1) for logs in (log_student, log_teacher))
        return Support(top_student, top_teacher, index, token_log_probs=of_tokens)
    with_tail_teacher = _with_tail(log_teacher, index)
    del log_teacher
    return Support(_with_tail(log_student, index), with_tail_teacher, index, log_student, of_tokens)


def _log_probs(logits: Tensor, dtype: torch.dtype, temperature: float) -> Tensor:
    """Overwrites ``logits`` if it is of that dtype. A logit of -inf is a probability of 0, whose 0 * log(0) is 0."""
    logits = logits.to(dtype)
    if temperature != 1:
        logits.div_(temperature)
    return logits.log_softmax(-1).clamp_(min=torch.finfo(dtype).min)


def _with_tail(log_probs: Tensor, index: Tensor) -> Tensor:
    """The entries of ``index`` and the mass of the others. Leaves -inf at the entries of ``index``.

    The others are summed themselves: 1 minus the sum of the k would lose a small tail to rounding.
    """
    top = log_probs.gather(-1, index)
    tail = log_probs.scatter_(-1, index, -math.inf).logsumexp(-1, keepdim=True)
    return torch.cat([top, tail.clamp_(min=_LOG_LEAST_TAIL)], dim=-1)


def _log_mixture(support: Support, beta: float) -> Tensor:
    """log((1 - beta) S + beta T)."""
    student = support.student + math.log1p(-beta)
    return torch.logaddexp(student, support.teacher + math.log(beta), out=student)


def _expected(log_p: Tensor, log_q: Tensor) -> Tensor:
    """p (log p - log q), the terms of KL(p || q): infinite where q cannot produce what p can."""
    terms = log_p - log_q
    # As far apart are no two logits, but a logit and -inf.
    infinite = terms > torch.finfo(terms.dtype).max / 2
    terms.mul_(log_p.exp())
    return terms.masked_fill_(infinite.logical_and_(terms > 0), math.inf)


def require_finite(losses: Tensor, beta: float, place: Callable[[int], str]) -> None:
    """No token's divergence is infinite; costs a wait for the device where it can be, with a ``beta`` of 0 or 1.

    Args:
        losses: ``[N]``.
        place: of a token, for the error.

    Raises:
        LossError: one is; with its place.
    """
    if 0 < beta < 1 or not losses.isinf().any():
        return
    one, other = ("student", "teacher") if beta == 1 else ("teacher", "student")
    raise LossError(
        f"{place(int(losses.isinf().nonzero()[0, 0]))}: the {one} can produce an entry of the vocabulary that the "
        f"{other} cannot (its logit is -inf), so that beta={beta} makes the divergence infinite: mask both sides "
        "alike, or use a beta between 0 and 1, or token_clip"
    )


def _contributions(support: Support, beta: float) -> Tensor:
    """What each entry of the support adds to the divergence, ``[C, K]``; single ones may be negative."""
    log_s, log_t = support.student, support.teacher
    if beta == 0:
        return _expected(log_t, log_s)
    if beta == 1:
        return _expected(log_s, log_t)
    log_m = _log_mixture(support, beta)
    contributions = (log_t - log_m).mul_(log_t.exp()).mul_(beta)
    return contributions.add_(torch.sub(log_s, log_m, out=log_m).mul_(log_s.exp()), alpha=1 - beta)


def losses_of(support: Support, divergence: Divergence) -> Tensor:
    """What each entry of the support adds to a token's loss, ``[C, K]``."""
    contributions = _contributions(support, divergence.beta)
    if divergence.token_clip is not None:
        contributions.clamp_(max=divergence.token_clip)
    return contributions


def _slopes(support: Support, divergence: Divergence) -> Tensor:
    """Of the contributions, by the student's log-probabilities, ``[C, K]``.

    Between 0 and 1 the two terms that come from the mixture's own slope cancel in each entry.
    """
    beta, log_s, log_t = divergence.beta, support.student, support.teacher
    if beta == 0:
        slopes = log_t.exp().neg_()
    elif beta == 1:
        slopes = (log_s - log_t).add_(1).mul_(log_s.exp())
    else:
        log_m = _log_mixture(support, beta)
        slopes = torch.sub(log_s, log_m, out=log_m).mul_(log_s.exp()).mul_(1 - beta)
    if divergence.token_clip is not None:
        slopes.masked_fill_(_contributions(support, beta) > divergence.token_clip, 0)
    return slopes


def grad_of_logits(support: Support, divergence: Divergence, vocabulary: int) -> Tensor:
    """Of the divergence by the student's logits over the temperature, ``[C, V]``. Overwrites the support."""
    slopes = _slopes(support, divergence)
    if support.rest is not None:
        return _grad_with_tail(slopes, support, support.rest)
    # Through log_softmax: d log_s[v] / d z[j] = (v == j) - s[j].
    total = slopes.sum(-1, keepdim=True)
    grad = slopes.sub_(support.student.exp_().mul_(total))
    if support.index is None:
        return grad
    return grad.new_zeros(len(grad), vocabulary).scatter_(-1, support.index, grad)


def _grad_with_tail(slopes: Tensor, support: Support, rest: Tensor) -> Tensor:
    """The tail's logarithm has the slope s[j] / tail - s[j] by the logits in it, and -s[j] by those of the k."""
    assert support.index is not None
    log_tail = support.student[:, -1:]
    slope_of_tail = slopes[:, -1:].masked_fill_(log_tail <= _LOG_LEAST_TAIL, 0)
    total = slopes.sum(-1, keepdim=True)
    top = slopes[:, :-1] - support.student[:, :-1].exp() * total
    return rest.exp_().mul_(slope_of_tail / log_tail.exp() - total).scatter_(-1, support.index, top)
