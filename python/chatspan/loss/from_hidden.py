"""The divergence from hidden states, a chunk of tokens at a time: logits, loss and gradients, none of them kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chatspan.errors import LossError
from chatspan.loss.divergence import (
    Divergence,
    KnownEntries,
    Support,
    Teacher,
    dtype_inside,
    grad_of_logits,
    losses_of,
    require_finite,
    support_of,
)
from chatspan.loss.heads import Head

# Elements of one tensor [C, V]: larger ones gain nothing.
_MOST_ELEMENTS = {"cpu": 2**21, "other": 2**25}


@dataclass(frozen=True)
class Tokens:
    """The N in-loss tokens, besides their hidden states.

    Attributes:
        coefficients: ``[N]``, by what each token's loss is multiplied in the sum.
        place: of a token, for errors.
        ids: int64 ``[N]``, or ``None`` where their log-probabilities are not wanted.
        importance: of the student's log-probabilities ``[C]`` at a slice of the tokens the factor of each one's loss,
            or ``None``.
    """

    coefficients: Tensor
    place: Callable[[int], str]
    ids: Tensor | None = None
    importance: Callable[[Tensor, slice], Tensor] | None = None


@dataclass(frozen=True)
class HeadPair:
    """Both sides' heads, the teacher's where it has hidden states, and how many tokens are projected at once."""

    student: Head
    teacher: Head | None
    step: int


def step_of(vocabulary: int, device: torch.device, chunk_size: int | None) -> int:
    """How many tokens are projected at once."""
    if chunk_size is not None:
        return chunk_size
    return max(1, _MOST_ELEMENTS.get(device.type, _MOST_ELEMENTS["other"]) // max(vocabulary, 1))


def summed_divergence(
    student: Tensor, teacher: Teacher, tokens: Tokens, heads: HeadPair, divergence: Divergence
) -> Tensor:
    """The sum of the tokens' losses, each with its coefficient, ``[]``; the gradient is made in the same pass.

    Args:
        student, teacher: hidden states ``[N, H]``, ``[N, H_teacher]``; the teacher's get no gradient. Or what is known
            of its distributions.
    """
    total: Tensor = _Summed.apply(student, _detached(teacher), tokens, heads, divergence, *heads.student.parameters)
    return total


def divergence_of_each(
    student: Tensor, teacher: Teacher, tokens: Tokens, heads: HeadPair, divergence: Divergence
) -> Tensor:
    """Each token's loss with its coefficient, ``[N]``; the backward pass projects anew."""
    losses: Tensor = _Each.apply(student, _detached(teacher), tokens, heads, divergence, *heads.student.parameters)
    return losses


def _detached(teacher: Teacher) -> Teacher:
    return teacher.detach() if isinstance(teacher, Tensor) else teacher


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        student, teacher, tokens, heads, divergence, *parameters = args
        chunks = _Chunks(student, teacher, tokens, heads, divergence)
        wants = any(ctx.needs_input_grad)
        gradients = _Gradients(student, parameters) if wants else None
        total: Tensor = student.new_zeros((), dtype=dtype_inside(student))
        for chunk in chunks:
            total += chunks.losses(chunk, gradients, chunks.coefficients(chunk)).sum()
        chunks.require_finite()
        ctx.count = len(parameters)
        if gradients is not None:
            ctx.save_for_backward(gradients.hidden, *gradients.of_parameters())
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _once()
        hidden, *parameters = ctx.saved_tensors
        return (hidden * grad.to(hidden.dtype), *[None] * 4, *(each * grad.to(each.dtype) for each in parameters))


class _Each(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        student, teacher, tokens, heads, divergence, *parameters = args
        chunks = _Chunks(student, teacher, tokens, heads, divergence)
        losses: Tensor = student.new_empty(len(student), dtype=dtype_inside(student))
        for chunk in chunks:
            losses[chunk] = chunks.losses(chunk, None, chunks.coefficients(chunk))
        chunks.require_finite()
        # What inference_mode made cannot be saved; known entries are a copy that nobody else has.
        ctx.known = teacher if isinstance(teacher, KnownEntries) else None
        hidden = [] if ctx.known is not None else [teacher.clone() if teacher.is_inference() else teacher]
        ctx.save_for_backward(student, *hidden, *parameters)
        ctx.rest = tokens, heads, divergence
        return losses

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _once()
        student, *parameters = ctx.saved_tensors
        teacher = parameters.pop(0) if ctx.known is None else ctx.known
        chunks = _Chunks(student, teacher, *ctx.rest)
        gradients = _Gradients(student, parameters)
        for chunk in chunks:
            chunks.losses(chunk, gradients, chunks.coefficients(chunk) * grad[chunk])
        return (gradients.hidden, *[None] * 4, *gradients.of_parameters())


def _once() -> None:
    if torch.is_grad_enabled():
        raise LossError("the loss is differentiable once: call backward without create_graph=True")


class _Gradients:
    """The gradients of hidden states and of a head's parameters, summed chunk by chunk."""

    def __init__(self, hidden: Tensor, parameters: list[Tensor]) -> None:
        self.hidden = torch.zeros_like(hidden)
        self._parameters = parameters
        # Of half precision many small summands would be lost.
        self.sums = [torch.zeros_like(each, dtype=dtype_inside(each)) for each in parameters]

    def of_parameters(self) -> list[Tensor]:
        """In the dtypes of the parameters."""
        return [total.to(each.dtype) for total, each in zip(self.sums, self._parameters, strict=True)]


class _Chunks:
    """Goes over the tokens; nothing ``[C, V]`` outlives its chunk."""

    def __init__(
        self, student: Tensor, teacher: Teacher, tokens: Tokens, heads: HeadPair, divergence: Divergence
    ) -> None:
        self._student, self._teacher, self._tokens = student, teacher, tokens
        self._heads, self._divergence = heads, divergence
        # Before they are weighted: 0 times infinite is no number.
        self._bare: list[Tensor] = []

    def require_finite(self) -> None:
        """After the last chunk: no divergence is infinite."""
        if self._bare:
            require_finite(torch.cat(self._bare), self._divergence.beta, self._tokens.place)

    def __iter__(self) -> Iterator[slice]:
        count, step = len(self._student), self._heads.step
        return (slice(start, min(start + step, count)) for start in range(0, count, step))

    def coefficients(self, chunk: slice) -> Tensor:
        """By what each loss of a chunk is multiplied."""
        return self._tokens.coefficients[chunk]

    def losses(self, chunk: slice, gradients: _Gradients | None, coefficients: Tensor) -> Tensor:
        """Each loss times its coefficient, ``[C]``; adds the gradient of their sum."""
        hidden, head = self._student[chunk].detach(), self._heads.student
        if gradients is not None and head.plain is None:
            return self._losses_by_autograd(chunk, gradients, coefficients)
        with torch.no_grad():
            logits = head.logits(hidden)
            slope = head.slope(logits) if gradients is not None else None
            width = logits.shape[-1]
            support = self._support(logits, chunk)
            del logits
            losses, factors = self._weighted(support, chunk, coefficients)
            if gradients is None:
                return losses
            grad = grad_of_logits(support, self._divergence, width)
            del support
            grad.mul_((factors * (head.logit_scale / self._divergence.temperature)).unsqueeze(-1))
            if slope is not None:
                grad.mul_(slope)
            _add_plain(head, gradients, chunk, hidden, grad)
        return losses

    def _losses_by_autograd(self, chunk: slice, gradients: _Gradients, coefficients: Tensor) -> Tensor:
        """Of a head that does more than a product, such as one with LoRA on it."""
        head = self._heads.student
        with torch.enable_grad():
            hidden = self._student[chunk].detach().requires_grad_()
            logits = head.logits(hidden)
        with torch.no_grad():
            # The graph may need what is overwritten otherwise.
            support = self._support(logits.detach().clone(), chunk)
            losses, factors = self._weighted(support, chunk, coefficients)
            grad = grad_of_logits(support, self._divergence, logits.shape[-1])
            del support
            grad.mul_((factors / self._divergence.temperature).unsqueeze(-1))
        wanted = (hidden, *head.parameters)
        found, *of_parameters = torch.autograd.grad(logits, wanted, grad.to(logits.dtype), allow_unused=True)
        gradients.hidden[chunk] = found
        for total, each in zip(gradients.sums, of_parameters, strict=True):
            if each is not None:
                total.add_(each)
        return losses

    def _support(self, logits: Tensor, chunk: slice) -> Support:
        ids = self._tokens.ids
        return support_of(
            logits,
            lambda: self._teacher_at(chunk),
            None if ids is None else ids[chunk],
            dtype_inside(self._student),
            self._divergence,
        )

    def _teacher_at(self, chunk: slice) -> Teacher:
        if isinstance(self._teacher, KnownEntries):
            return self._teacher.at(chunk)
        assert self._heads.teacher is not None
        return self._heads.teacher.logits(self._teacher[chunk])

    def _weighted(self, support: Support, chunk: slice, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        factors = coefficients
        if self._tokens.importance is not None:
            assert support.token_log_probs is not None
            factors = factors * self._tokens.importance(support.token_log_probs, chunk)
        self._bare.append(losses_of(support, self._divergence).sum(-1))
        return self._bare[-1] * factors, factors


def _add_plain(head: Head, gradients: _Gradients, chunk: slice, hidden: Tensor, grad: Tensor) -> None:
    """Adds the gradients of a product, without a tensor ``[V, H]`` for each chunk."""
    plain = head.plain
    assert plain is not None
    weight, bias = plain
    width = grad.shape[-1]
    of_logits = grad.to(hidden.dtype)
    gradients.hidden[chunk] = of_logits @ weight[:width].detach().to(hidden.dtype)
    sums = iter(gradients.sums)
    if weight.requires_grad:
        total = next(sums)[:width]
        if total.dtype == hidden.dtype:
            total.addmm_(of_logits.T, hidden)
        else:
            total.add_(of_logits.T @ hidden)
    if bias is not None and bias.requires_grad:
        next(sums)[:width] += grad.sum(0)
