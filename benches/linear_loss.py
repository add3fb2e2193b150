"""The loss from hidden states beside the losses of others that keep no logits, and beside the loss of all logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from chatspan.loss import linear_sdpo_loss
from chatspan.loss.sdpo import sdpo_loss
from memory import peak_bytes
from tables import Report, median, ratio
from timing import alternate
from torch import Tensor

_BETA = 0.5
_MEGABYTE = 2**20
# Columns, in-loss tokens, hidden size, vocabulary; on a CPU smaller than models have, to keep the run short.
_SIZES = {"cpu": (4096, 205, 1024, 32_000), "cuda": (16_384, 819, 4096, 151_936)}
# Of losses and gradients of float32 that are put together in another order.
_EQUAL = 1e-4


@dataclass(frozen=True)
class _Sides:
    """Hidden states ``[1, T, H]`` and heads ``[V, H]``; those of the student get gradients."""

    student: Tensor
    teacher: Tensor
    student_head: Tensor
    teacher_head: Tensor
    batch: dict[str, Tensor]

    @property
    def in_loss(self) -> tuple[Tensor, Tensor]:
        """Both hidden states of the in-loss tokens, ``[R, H]``."""
        return self.student[0, self.batch["student_logit_idx"][0]], self.teacher[0, self.batch["teacher_logit_idx"][0]]


def report_linear_loss(report: Report, rounds: int) -> None:
    """Prints time and memory of each, and stops where losses or gradients are not equal."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sides = _sides(device)
    losses: dict[str, Callable[[_Sides], Tensor]] = {
        "chatspan, from hidden states": _linear,
        "chatspan, from all logits": _of_all_logits,
        **_of_others(),
    }
    _check(sides, losses)
    columns, in_loss, hidden, vocabulary = _SIZES[device.type]
    table = report.table(
        f"15. The loss of {in_loss} in-loss tokens among {columns:,}, hidden size {hidden:,}, vocabulary "
        f"{vocabulary:,}, on {device.type}",
        ["", "ms", "this / the first", "MiB beyond gradients"],
    )
    calls: list[Callable[[], object]] = [partial(_step, loss, sides) for loss in losses.values()]
    times = alternate(calls, min(rounds, 5))
    gradients = sum(each.numel() * each.element_size() for each in (sides.student, sides.student_head))
    for at, (name, call) in enumerate(zip(losses, calls, strict=True)):
        memory = (peak_bytes(call, device) - gradients) / _MEGABYTE
        table.add_row(name, median(times[:, at]), ratio(times[:, at] / times[:, 0]), f"{memory:,.0f}")
    report.show(
        table,
        "Forward and backward, with the gradients of hidden states and head; the heads' projections are part of each.",
        "Others get the hidden states of the in-loss tokens alone.",
    )


def _sides(device: torch.device) -> _Sides:
    torch.manual_seed(0)
    columns, in_loss, hidden, vocabulary = _SIZES[device.type]
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(*shape) * scale).to(device=device, dtype=dtype)

    # As rows have them: a few turns, each of tokens one behind the other.
    starts = torch.arange(0, columns - columns // 8, columns // 5)[:5]
    places = (starts[:, None] + torch.arange(-(-in_loss // 5))).flatten()[None, :in_loss].to(device)
    mask = torch.ones_like(places, dtype=torch.bool)
    batch = {"student_logit_idx": places, "teacher_logit_idx": places + columns // 16, "response_idx_mask": mask}
    return _Sides(
        student=normal(1, columns, hidden).requires_grad_(),
        teacher=normal(1, columns, hidden),
        student_head=normal(vocabulary, hidden, scale=hidden**-0.5).requires_grad_(),
        teacher_head=normal(vocabulary, hidden, scale=hidden**-0.5),
        batch=batch,
    )


def _linear(sides: _Sides) -> Tensor:
    heads = sides.student_head, sides.teacher_head
    return linear_sdpo_loss(sides.student, sides.teacher, sides.batch, *heads, beta=_BETA)


def _of_all_logits(sides: _Sides) -> Tensor:
    with torch.no_grad():
        teacher = sides.teacher @ sides.teacher_head.T
    return sdpo_loss(sides.student @ sides.student_head.T, teacher, sides.batch, beta=_BETA)


def _of_others() -> dict[str, Callable[[_Sides], Tensor]]:
    """Those of the libraries that are installed."""
    found: dict[str, Callable[[_Sides], Tensor]] = {}
    try:
        from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

        found[f"TRL {version('trl')}, chunked divergence"] = partial(_trl, ChunkedDivergenceFunction)
    except ImportError:
        pass
    try:
        from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

        loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=_BETA, compiled=False)
        found["Liger, fused linear JSD"] = partial(_liger, loss)
    except ImportError:
        pass
    return found


def _trl(function: Any, sides: _Sides) -> Tensor:
    student, teacher = sides.in_loss
    divergence, _ = function.apply(student, sides.student_head, None, teacher, sides.teacher_head, None, _BETA)
    loss: Tensor = divergence.mean()
    return loss


def _liger(function: Any, sides: _Sides) -> Tensor:
    student, teacher = sides.in_loss
    labels = torch.zeros(len(student), dtype=torch.long, device=student.device)
    loss: Tensor = function(student, sides.student_head, teacher, sides.teacher_head, labels)
    return loss


def _step(loss: Callable[[_Sides], Tensor], sides: _Sides) -> None:
    sides.student.grad = sides.student_head.grad = None
    loss(sides).backward()  # type: ignore[no-untyped-call]
    if sides.student.device.type == "cuda":
        torch.cuda.synchronize()


def _check(sides: _Sides, losses: dict[str, Callable[[_Sides], Tensor]]) -> None:
    expected: tuple[Tensor, Tensor] | None = None
    for name, loss in losses.items():
        _step(loss, sides)
        assert sides.student.grad is not None
        assert sides.student_head.grad is not None
        found = sides.student.grad.clone(), sides.student_head.grad.clone()
        expected = expected or found
        tolerance = _EQUAL if sides.student.dtype == torch.float32 else 0.02
        for one, other in zip(found, expected, strict=True):
            difference = (one - other).float().norm() / other.float().norm()
            if difference > tolerance:
                raise SystemExit(f"{name}: its gradients differ by {difference:.1e}")
    sides.student.grad = sides.student_head.grad = None
