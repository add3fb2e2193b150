"""The loss with its gradient: time and peak memory beside plain torch, and beside the forward pass it comes after."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from chatspan.loss.sdpo import sdpo_loss
from memory import peak_bytes
from tables import Report, median, ratio
from timing import alternate
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

_ROWS, _COLUMNS = 2, 512
# On a CPU smaller than models have, to keep the run short; the ratios hardly depend on it.
_VOCABULARY = {"cpu": 32_000, "cuda": 151_936}
_MEGABYTE = 2**20


def report_loss(report: Report, rounds: int) -> None:
    """Prints ratios to a plain implementation, and times and memory of both, on CUDA where there is a device."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtypes = [torch.float32] if device.type == "cpu" else [torch.float32, torch.bfloat16]
    for dtype in dtypes:
        _report(report, device, dtype, min(rounds, 5))


def _report(report: Report, device: torch.device, dtype: torch.dtype, rounds: int) -> None:
    model = _model(device, dtype)
    tokens = torch.randint(0, model.config.vocab_size, (_ROWS, _COLUMNS), device=device)
    with torch.no_grad():
        student, teacher = (model(ids, use_cache=False).logits for ids in (tokens, tokens.flip(1)))
    student.requires_grad_()
    batch = _batch(device)
    options: dict[str, dict[str, Any]] = {"all entries": {}, "the student's 100 likeliest": {"top_k": 100}}
    calls: dict[str, Callable[[], object]] = {"plain torch": partial(_step, _plain, student, teacher, batch)}
    for name, chosen in options.items():
        calls[f"chatspan, {name}"] = partial(_step, partial(sdpo_loss, **chosen), student, teacher, batch)
    calls["a forward pass of the model"] = torch.no_grad()(lambda: model(tokens, use_cache=False))
    size = student.numel() * student.element_size()
    setting = f"{size / _MEGABYTE:.0f} MB of {str(dtype).removeprefix('torch.')} logits a side on {device.type}"
    table = report.table(f"11. The loss of {setting}", ["", "ms", "plain torch / this", "memory, of a side's logits"])
    times = alternate([partial(_waited, call, device) for call in calls.values()], rounds)
    for column, (name, call) in enumerate(calls.items()):
        speedup = times[:, 0] / times[:, column]
        share = peak_bytes(call, device) / size
        table.add_row(name, median(times[:, column]), ratio(np.asarray(speedup)), f"{share:.2f}x")
    report.show(
        table,
        "Losses are forward and backward, and their memory holds the gradient, which is 1.00x itself.",
        f"The model is a Qwen2 of {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters.",
    )


def _model(device: torch.device, dtype: torch.dtype) -> Any:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=_VOCABULARY[device.type],
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return Qwen2ForCausalLM(config).to(device=device, dtype=dtype).eval()


def _batch(device: torch.device) -> dict[str, Tensor]:
    columns = torch.arange(_COLUMNS - 1, device=device).expand(_ROWS, -1)
    mask = torch.ones_like(columns, dtype=torch.bool)
    return {"student_logit_idx": columns, "teacher_logit_idx": columns, "response_idx_mask": mask}


def _step(loss: Callable[..., Tensor], student: Tensor, teacher: Tensor, batch: dict[str, Tensor]) -> None:
    student.grad = None
    loss(student, teacher, batch).backward()  # type: ignore[no-untyped-call]
    student.grad = None


def _waited(call: Callable[[], object], device: torch.device) -> None:
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()


def _plain(student: Tensor, teacher: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """As trainers write it: everything at once, for autograd to keep."""
    rows = torch.arange(len(student), device=student.device).unsqueeze(1)
    log_s = student[rows, batch["student_logit_idx"]].float().log_softmax(-1)
    log_t = teacher[rows, batch["teacher_logit_idx"]].float().log_softmax(-1)
    log_m = torch.logaddexp(log_s, log_t) - math.log(2)
    kls = (F.kl_div(log_m, log_p, reduction="none", log_target=True) for log_p in (log_t, log_s))
    return sum(kls, torch.zeros((), device=student.device)).sum(-1).mean() / 2
