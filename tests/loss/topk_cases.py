"""A teacher's top-k of a case, and the loss from it entry by entry, for a reader to check."""

from __future__ import annotations

import math
from typing import Any

import torch
from loss_cases import Batch, Case
from torch import Tensor

LEAST_TAIL = 1e-7


def top_k_of(case: Case, k: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The teacher's k likeliest entries at each in-loss token, ``[B, R, k]``; none where nothing is in the loss."""
    rows = torch.arange(len(case.teacher)).unsqueeze(1)
    logits = case.teacher[rows, case.batch["teacher_logit_idx"]] / temperature
    log_probs, ids = logits.log_softmax(-1).topk(k)
    mask = case.batch["response_idx_mask"].unsqueeze(-1)
    return log_probs.masked_fill(~mask, -math.inf), ids.masked_fill(~mask, -1)


def token_loss(
    student: Tensor, log_probs: Tensor, ids: Tensor, beta: float, clip: float = math.inf, *, add_tail: bool = True
) -> Tensor:
    """Of one token, from logits ``[V]`` over the temperature, one entry after the other."""
    student = student.softmax(-1)
    real = [n for n in range(len(ids)) if ids[n] >= 0 and log_probs[n] > -math.inf]
    s = [student[ids[n]] for n in real]
    t = [log_probs[n].exp() for n in real]
    if add_tail:
        others = [v for v in range(len(student)) if v not in {int(ids[n]) for n in real}]
        s.append(student[others].sum().clamp(min=LEAST_TAIL))
        t.append((1 - torch.stack(t).sum()).clamp(min=LEAST_TAIL))
    else:
        s, t = [p / torch.stack(s).sum() for p in s], [p / torch.stack(t).sum() for p in t]
    total = student.new_zeros(())
    for p, q in zip(s, t, strict=True):
        m = (1 - beta) * p + beta * q
        kl_t = q * (q / (p if beta == 0 else m)).log()
        kl_s = p * (p / (q if beta == 1 else m)).log()
        entry = kl_t if beta == 0 else kl_s if beta == 1 else beta * kl_t + (1 - beta) * kl_s
        total = total + entry.clamp(max=clip)
    return total


def slow_loss(student: Tensor, log_probs: Tensor, ids: Tensor, batch: Batch, **options: Any) -> Tensor:
    """The whole loss, token by token."""
    temperature, reduction = options.get("temperature", 1.0), options.get("reduction", "token_mean")
    clip = options.get("token_clip") or math.inf
    losses, weights = {}, {}
    for row, entry in batch["response_idx_mask"].nonzero().tolist():
        logits = student[row, batch["student_logit_idx"][row, entry]] / temperature
        loss = token_loss(
            logits,
            log_probs[row, entry],
            ids[row, entry],
            options.get("beta", 0.5),
            clip,
            add_tail=options.get("add_tail", True),
        )
        at = batch["student_response_idx"][row, entry]
        if options.get("is_clip"):
            now = logits.detach().log_softmax(-1)[batch["input_ids"][row, at]]
            ratio = (now - batch["old_log_probs"][row, entry]).clamp(-20, 20).exp()
            loss = loss * ratio.clamp(max=options["is_clip"])
        weight = batch["sdpo_loss_weight"][row, at].to(loss.dtype) if "sdpo_loss_weight" in batch else loss.new_ones(())
        losses[row, entry], weights[row, entry] = loss * weight, weight
    if reduction == "none":
        found = student.new_zeros(batch["response_idx_mask"].shape)
        return found.index_put(
            (torch.tensor([r for r, _ in losses]), torch.tensor([e for _, e in losses])),
            torch.stack([*losses.values()]),
        )
    if reduction == "row_mean":
        rows = sorted({row for row, _ in losses})
        parts = [([v for (r, _), v in each.items() if r == row]) for row in rows for each in (losses, weights)]
        means = [sum(parts[n]) / sum(parts[n + 1]) for n in range(0, len(parts), 2)]  # type: ignore[arg-type]
        return torch.stack(means).mean()  # type: ignore[arg-type]
    total = torch.stack([*losses.values()]).sum()
    if reduction == "sum":
        return total
    return total / options.get("num_items_in_batch", torch.stack([*weights.values()]).sum())
