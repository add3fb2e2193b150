"""A reference for the loss that a reader can check, batches for it, and what memory it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

Batch = dict[str, Tensor]

BETAS = (0, 0.3, 0.5, 1)
SUPPORTS: tuple[dict[str, Any], ...] = ({}, {"top_k": 4}, {"top_k": 4, "add_tail": False})


def reference(student: Tensor, teacher: Tensor, beta: float, top_k: int | None, add_tail: bool, clip: float) -> Tensor:
    """The divergence at ``[..., V]`` of logits over the temperature, in plain torch, from the formulas."""
    s, t = student.softmax(-1), teacher.detach().softmax(-1)
    if top_k is not None:
        index = student.topk(top_k).indices
        s, t = s.gather(-1, index), t.gather(-1, index)
        if add_tail:
            s, t = (torch.cat([p, (1 - p.sum(-1, keepdim=True)).clamp(min=1e-7)], -1) for p in (s, t))
        else:
            s, t = s / s.sum(-1, keepdim=True), t / t.sum(-1, keepdim=True)
    m = (1 - beta) * s + beta * t
    kl_t, kl_s = (t * (t / (s if beta == 0 else m)).log(), s * (s / (t if beta == 1 else m)).log())
    return torch.clamp({0: kl_t, 1: kl_s}.get(beta, beta * kl_t + (1 - beta) * kl_s), max=clip).sum(-1)


def reference_loss(
    student: Tensor, teacher: Tensor, batch: Batch, reduction: str = "token_mean", **options: Any
) -> Tensor:
    """The whole loss, entry by entry."""
    temperature, is_clip = options.get("temperature", 1.0), options.get("is_clip")
    rows = torch.arange(len(student)).unsqueeze(1)
    s = student[rows, batch["student_logit_idx"]] / temperature
    t = teacher[rows, batch["teacher_logit_idx"]] / temperature
    clip = options.get("token_clip") or float("inf")
    losses = reference(s, t, options.get("beta", 0.5), options.get("top_k"), options.get("add_tail", True), clip)
    weights = batch["response_idx_mask"].to(losses.dtype)
    if "sdpo_loss_weight" in batch:
        weights = weights * batch["sdpo_loss_weight"].gather(1, batch["student_response_idx"])
    if is_clip is not None:
        tokens = batch["input_ids"].gather(1, batch["student_response_idx"]).unsqueeze(-1)
        log_probs = s.detach().log_softmax(-1).gather(-1, tokens).squeeze(-1)
        losses = losses * (log_probs - batch["old_log_probs"]).clamp(-20, 20).exp().clamp(max=is_clip)
    weighted = torch.where(batch["response_idx_mask"], losses * weights, 0)
    if reduction == "row_mean":
        groups = batch["seq_idx"].gather(1, batch["student_response_idx"]) if "seq_idx" in batch else rows + 0 * weights
        parts = [(weighted[groups == g], weights[groups == g]) for g in groups.unique()]
        return torch.stack([loss.sum() / weight.sum() for loss, weight in parts if weight.sum() > 0]).mean()
    return {"token_mean": weighted.sum() / weights.sum(), "sum": weighted.sum(), "none": weighted}[reduction]


@dataclass
class Case:
    """Logits and a batch that fit together."""

    student: Tensor
    teacher: Tensor
    batch: Batch

    def leaf(self) -> Tensor:
        """The student's logits, as what the gradient is taken by."""
        return self.student.detach().clone().requires_grad_()


def make_case(
    seed: int = 0, rows: int = 3, tokens: int = 5, vocabulary: int = 11, dtype: torch.dtype = torch.float64
) -> Case:
    """Rows of different numbers of in-loss tokens, the first one with all, at other columns on each side."""
    random = torch.Generator().manual_seed(seed)
    widths = (tokens + 4, tokens + 9)
    student, teacher = (3 * torch.randn(rows, width, vocabulary, generator=random, dtype=dtype) for width in widths)
    mask = torch.arange(tokens) < torch.randint(1, tokens + 1, (rows, 1), generator=random)
    mask[0] = True
    batch: Batch = {"response_idx_mask": mask}
    names = (("student", "input_ids", widths[0]), ("teacher", "ctx_teacher_input_ids", widths[1]))
    ids = torch.randint(0, vocabulary, (rows, tokens), generator=random)
    for side, ids_key, width in names:
        columns = torch.stack([torch.randperm(width - 1, generator=random)[:tokens] for _ in range(rows)])
        batch[f"{side}_logit_idx"] = torch.where(mask, columns, 0)
        batch[f"{side}_response_idx"] = torch.where(mask, columns + 1, 0)
        row_ids = torch.randint(0, vocabulary, (rows, width), generator=random)
        batch[ids_key] = row_ids.scatter(1, columns + 1, ids)
    batch["sdpo_loss_weight"] = torch.rand(rows, widths[0], generator=random)
    batch["old_log_probs"] = -3 * torch.rand(rows, tokens, generator=random)
    return Case(student, teacher, batch)


def value_and_grad(loss: Callable[..., Tensor], case: Case, **options: Any) -> tuple[Tensor, Tensor]:
    """The gradient is that of a sum with uneven weights, which ``reduction="none"`` makes a difference to."""
    student = case.leaf()
    value = loss(student, case.teacher, case.batch, **options)
    uneven = torch.linspace(0.5, 2, value.numel(), dtype=value.dtype, device=value.device)
    (value * uneven.view_as(value)).sum().backward()
    assert student.grad is not None
    return value.detach(), student.grad


def plain(case: Case) -> Case:
    """Without weights."""
    return Case(case.student, case.teacher, {k: v for k, v in case.batch.items() if k != "sdpo_loss_weight"})


def large_case(megabytes: int, dtype: torch.dtype, device: str = "cpu", vocabulary: int = 32_000) -> Case:
    """Two rows whose logits have that size on each side, nearly all tokens in the loss."""
    width = megabytes * 2**20 // (2 * vocabulary * dtype.itemsize)
    student, teacher = (torch.empty(2, width, vocabulary, dtype=dtype, device=device).normal_() for _ in range(2))
    columns = torch.arange(1, width, device=device).expand(2, -1)
    batch = {"student_logit_idx": columns - 1, "teacher_logit_idx": columns - 1, "student_response_idx": columns}
    batch["response_idx_mask"] = torch.ones_like(columns, dtype=torch.bool)
    batch["input_ids"] = torch.zeros(2, width, dtype=torch.int64, device=device)
    batch["old_log_probs"] = torch.zeros(2, width - 1, device=device)
    return Case(student, teacher, batch)


def allocated_on_cpu(call: Callable[[], object]) -> tuple[int, int]:
    """The most bytes that torch held at once for ``call`` beyond what it held before, and what it still holds."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as recorded:
        call()
    held = most = 0
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert events, "the profiler recorded no memory"
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most, held
