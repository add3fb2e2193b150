"""How near the gradient of the loss from a teacher's top-k is to the exact one, beside other libraries' conventions.

python benches/top_k.py
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from chatspan.loss import sdpo_loss, topk_sdpo_loss
from torch import Tensor

KS = (1, 8, 20, 64)
BETAS = (0.0, 0.5, 1.0)
TOKENS, VOCABULARY = 48, 32_768


class Line(NamedTuple):
    """Means over the tokens; ``raw_sum`` is that of verl, which knows the forward KL alone."""

    beta: float
    k: int
    mass: float
    exact: float
    bound: float
    with_tail: float
    renormalised: float
    raw_sum: float | None


def lines() -> Iterator[Line]:
    """One for each beta and K."""
    student, teacher = _logits()
    columns = torch.arange(TOKENS)[None]
    batch = {"student_logit_idx": columns, "teacher_logit_idx": columns, "response_idx_mask": columns >= 0}
    log_probs = teacher.log_softmax(-1)
    for beta in BETAS:
        exact = sdpo_loss(student, teacher, batch, beta=beta, reduction="sum")
        of_exact = _grad(exact, student)
        for k in KS:
            top, ids = log_probs.topk(k)
            losses = {
                tail: topk_sdpo_loss(student, top, ids, batch, beta=beta, reduction="sum", add_tail=tail)
                for tail in (True, False)
            }
            bound, mass = losses[True]
            cosines = {tail: _cosine(_grad(each.loss, student), of_exact) for tail, each in losses.items()}
            raw = _cosine(_grad(_raw_sum(student, top, ids), student), of_exact) if beta == 0 else None
            means = (mass.mean().item(), exact.item() / TOKENS, bound.item() / TOKENS)
            yield Line(beta, k, *means, cosines[True], cosines[False], raw)


def _logits() -> tuple[Tensor, Tensor]:
    """Peaked teachers with the tail of words (Zipf), and a student that is flatter and off."""
    random = torch.Generator().manual_seed(0)

    def normal() -> Tensor:
        return torch.randn(TOKENS, VOCABULARY, generator=random, dtype=torch.float64)

    ranks = -1.3 * torch.log(torch.arange(1, VOCABULARY + 1, dtype=torch.float64))
    orders = torch.stack([torch.randperm(VOCABULARY, generator=random) for _ in range(TOKENS)])
    peaks = 1.2 + 0.9 * torch.rand(TOKENS, 1, generator=random, dtype=torch.float64)
    teacher = ranks[orders] * peaks + 0.3 * normal()
    student = teacher * 0.8 + 0.8 * normal()
    return student[None].requires_grad_(), teacher[None]


def _raw_sum(student: Tensor, log_probs: Tensor, ids: Tensor) -> Tensor:
    """Sum of p (log p - log q) over the K as they are, without what is missing to 1."""
    return (log_probs.exp() * (log_probs - student.log_softmax(-1).gather(-1, ids))).sum()


def _grad(loss: Tensor, student: Tensor) -> Tensor:
    return torch.autograd.grad(loss, student)[0]


def _cosine(one: Tensor, other: Tensor) -> float:
    """Renormalised on one entry there is no gradient, and no angle."""
    return torch.nn.functional.cosine_similarity(one, other, dim=-1).mean().item()


def table() -> str:
    """As it is printed."""
    rows = ["beta    K    mass    exact    bound | cosine:   tail  renorm.  raw sum"]
    for line in lines():
        raw = "" if line.raw_sum is None else f"{line.raw_sum:.3f}"
        figures = f"{line.beta:4} {line.k:4} {line.mass:7.3f} {line.exact:8.4f} {line.bound:8.4f}"
        rows.append(f"{figures} |         {line.with_tail:6.3f} {line.renormalised:8.3f} {raw:>8}".rstrip())
    return "\n".join(rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(table())
