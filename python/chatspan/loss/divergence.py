"""The divergence of a student's next-token distributions from a teacher's, and its gradient, some tokens at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chatspan.errors import LossError
from chatspan.loss.seal import Seal
from chatspan.options import as_fraction

# The least mass of a tail bucket, as in TRL, so that its logarithm stays finite.
_LOG_LEAST_TAIL = math.log(-math.expm1(-1e-7))

# Of one logits tensor's bytes, what all temporary tensors together may take; the rest of 10 % is a margin.
_SHARE = 0.08
# How many tensors [tokens, V] are alive at once at most; with top-k more, as its indices are int64.
_BUFFERS, _BUFFERS_OF_TOP_K = 6, 9
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", as_fraction(self.temperature))
        object.__setattr__(self, "token_clip", as_fraction(self.token_clip))


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


@dataclass(frozen=True)
class KnownEntries:
    """What is known of the teacher's distributions at N tokens: K entries of each, and so the mass of all others.

    An entry that is missing stands for the first one that is not (``index``, ``source``), so that what is written there
    for both is the same.

    Attributes:
        log_probs: ``[N, K]``, the least number of its dtype where an entry is missing.
        index: int64 ``[N, K]``, which entries of the vocabulary they are.
        missing: bool ``[N, K]``; of no token all.
        source: int64 ``[N, K]``, of each entry itself, or the one that it stands for.
    """

    log_probs: Tensor
    index: Tensor
    missing: Tensor
    source: Tensor

    def at(self, chunk: slice) -> KnownEntries:
        """Of some of the tokens."""
        return KnownEntries(self.log_probs[chunk], self.index[chunk], self.missing[chunk], self.source[chunk])


Teacher = Tensor | KnownEntries


def token_divergence(
    student: Tensor, teacher: Teacher, places: Places, divergence: Divergence
) -> tuple[Tensor, Tensor]:
    """The divergence of each in-loss token, and the student's log-probability of the token itself.

    Both passes go over the tokens in chunks and compute the distributions anew, so that nothing but the logits is
    kept between them and the only large tensor that is made is the student's gradient.

    Args:
        student: ``[B, T_student, V]``, any float dtype and strides.
        teacher: ``[B, T_teacher, V]``, or the known entries at the N tokens; gets no gradient.
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
    if isinstance(teacher, Tensor):
        teacher = teacher.detach()
    losses, log_probs = _ChunkedDivergence.apply(student, teacher, places, divergence)
    return losses, log_probs


def tokens_at_once(student: Tensor, teacher: Teacher, divergence: Divergence) -> int:
    """How many tokens a chunk has, for the memory that it may take."""
    vocabulary = student.shape[-1]
    sides = (student, teacher) if isinstance(teacher, Tensor) else (student,)
    buffers = _BUFFERS if divergence.top_k is None else _BUFFERS_OF_TOP_K
    itemsize = 8 if dtype_inside(student) is torch.float64 else 4
    least_bytes = min(logits.numel() * logits.element_size() for logits in sides)
    elements = int(_SHARE * least_bytes) // (buffers * itemsize)
    most = _MOST_ELEMENTS.get(student.device.type, _MOST_ELEMENTS["other"])
    return max(1, max(_LEAST_ELEMENTS, min(elements, most)) // max(vocabulary, 1))


class _ChunkedDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Teacher, places: Places, divergence: Divergence
    ) -> tuple[Tensor, Tensor]:
        losses = student.new_empty(len(places), dtype=dtype_inside(student))
        log_probs = losses.new_empty(0 if places.tokens is None else len(places))
        ctx.seal = Seal(teacher if isinstance(teacher, Tensor) else None, len(places))
        for chunk in _chunks(student, teacher, places, divergence):
            support = _support_at(student, teacher, places, chunk, divergence, ctx.seal)
            if support.token_log_probs is not None:
                log_probs[chunk] = support.token_log_probs
            losses[chunk] = losses_of(support, divergence).sum(-1)
            del support  # else it is alive while the next chunk's is made
        # What inference_mode made cannot be saved the usual way. Known entries are a copy that nobody else has.
        saved = [teacher] if isinstance(teacher, Tensor) and not teacher.is_inference() else []
        ctx.teacher = None if saved else teacher
        ctx.save_for_backward(student, *saved)
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
        seal = Seal(teacher if isinstance(teacher, Tensor) else None, len(places))
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
        source: int64 ``[C, k]``, of each entry itself, or the one with the same index for which it stands; ``None``
            where each is there itself.
        token_log_probs: ``[C]``, of the tokens themselves on the whole vocabulary, where they are wanted.
    """

    student: Tensor
    teacher: Tensor
    index: Tensor | None = None
    rest: Tensor | None = None
    token_log_probs: Tensor | None = None
    source: Tensor | None = None


def dtype_inside(student: Tensor) -> torch.dtype:
    """What the divergence of these logits, or hidden states, is computed in."""
    return torch.float64 if student.dtype is torch.float64 else torch.float32


def _chunks(student: Tensor, teacher: Teacher, places: Places, divergence: Divergence) -> Iterator[slice]:
    step = tokens_at_once(student, teacher, divergence)
    return (slice(start, min(start + step, len(places))) for start in range(0, len(places), step))


def _rows(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``logits[rows, columns]``, ``[C, V]``, always a copy."""
    if logits.is_contiguous():  # several times faster than the other way on a CPU
        return logits.view(-1, logits.shape[-1]).index_select(0, rows * logits.shape[1] + columns)
    return logits[rows, columns]


def _support_at(
    student: Tensor, teacher: Teacher, places: Places, chunk: slice, divergence: Divergence, seal: Seal
) -> Support:
    rows = places.rows[chunk]

    def teacher_at() -> Teacher:
        if isinstance(teacher, KnownEntries):
            return teacher.at(chunk)
        return seal.pressed(_rows(teacher, rows, places.teacher_columns[chunk]), chunk)

    return support_of(
        _rows(student, rows, places.student_columns[chunk]),
        teacher_at,
        None if places.tokens is None else places.tokens[chunk],
        dtype_inside(student),
        divergence,
    )


def support_of(
    student: Tensor,
    teacher: Callable[[], Teacher],
    tokens: Tensor | None,
    dtype: torch.dtype,
    divergence: Divergence,
) -> Support:
    """Both distributions of a chunk. May overwrite the logits.

    Args:
        student: logits ``[C, V]``.
        teacher: gives logits ``[C, V]``, or the known entries, when they are needed and not before.
        tokens: int64 ``[C]``, the tokens whose log-probabilities are wanted.
    """
    log_student = _log_probs(student, dtype, divergence.temperature)
    del student  # else it is alive beside the teacher's
    index = None if divergence.top_k is None else log_student.topk(divergence.top_k, sorted=False).indices
    of_tokens = None if tokens is None else log_student.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    given = teacher()
    if isinstance(given, KnownEntries):
        return _support_on(given, log_student, of_tokens, add_tail=divergence.add_tail)
    log_teacher = _log_probs(given, dtype, divergence.temperature)
    del given
    if index is None:
        return Support(log_student, log_teacher, token_log_probs=of_tokens)
    if not divergence.add_tail:
        top_student, top_teacher = (logs.gather(-1, index).log_softmax(-1) for logs in (log_student, log_teacher))
        return Support(top_student, top_teacher, index, token_log_probs=of_tokens)
    with_tail_teacher = _with_tail(log_teacher, index)
    del log_teacher
    return Support(_with_tail(log_student, index), with_tail_teacher, index, log_student, of_tokens)


def _support_on(known: KnownEntries, log_student: Tensor, of_tokens: Tensor | None, *, add_tail: bool) -> Support:
    """The support of a teacher of which only some entries are known. May overwrite ``log_student``."""
    least = torch.finfo(log_student.dtype).min
    index, missing = known.index, known.missing
    top_teacher = known.log_probs.to(log_student.dtype).clamp(min=least)
    if not add_tail:
        of_both = log_student.gather(-1, index).masked_fill_(missing, least), top_teacher
        top_student, top_teacher = (logs.log_softmax(-1).clamp_(min=least) for logs in of_both)
        return Support(top_student, top_teacher, index, token_log_probs=of_tokens, source=known.source)
    with_tail_student = _with_tail(log_student, index)
    with_tail_student[:, :-1].masked_fill_(missing, least)
    # Nobody sent the others, so 1 minus the sum is all there is; what is over 1 was rounded.
    tail = torch.log(-torch.expm1(top_teacher.logsumexp(-1, keepdim=True).clamp(max=-1e-7)))
    with_tail_teacher = torch.cat([top_teacher, tail], dim=-1)
    return Support(with_tail_student, with_tail_teacher, index, log_student, of_tokens, known.source)


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
        f"{other} cannot (its logit is -inf), so beta={beta} makes the divergence infinite: mask both sides "
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
    return grad.new_zeros(len(grad), vocabulary).scatter_(-1, support.index, _at_sources(grad, support))


def _grad_with_tail(slopes: Tensor, support: Support, rest: Tensor) -> Tensor:
    """The tail's logarithm has the slope s[j] / tail - s[j] by the logits in it, and -s[j] by those of the k."""
    assert support.index is not None
    log_tail = support.student[:, -1:]
    slope_of_tail = slopes[:, -1:].masked_fill_(log_tail <= _LOG_LEAST_TAIL, 0)
    total = slopes.sum(-1, keepdim=True)
    top = _at_sources(slopes[:, :-1] - support.student[:, :-1].exp() * total, support)
    return rest.exp_().mul_(slope_of_tail / log_tail.exp() - total).scatter_(-1, support.index, top)


def _at_sources(grad: Tensor, support: Support) -> Tensor:
    """Of entries with the same index the same value, so that it does not matter which is written last."""
    return grad if support.source is None else grad.gather(-1, support.source)
