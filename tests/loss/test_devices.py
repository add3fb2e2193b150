"""Each layout and the packed form through a model and the loss, on the CPU and on a CUDA device where there is one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import assistant, config, failed, trace, user
from chatspan import ComposerDataCollator
from chatspan.loss import topk_sdpo_loss
from chatspan.loss.sdpo import sdpo_loss
from loss_cases import make_case
from topk_cases import top_k_of
from transformers import Qwen2Config, Qwen2ForCausalLM

WORDS = ("Which train?", "Go on, then.", "é 🚆", "To Köln " * 9)
TRACES = [trace(user(word), failed(f"Try {word}"), user("ok"), assistant("Done."), trace_id=word) for word in WORDS]
FORMS: dict[str, dict[str, Any]] = {
    "aligned": {"layout": "aligned"},
    "indexed": {"layout": "indexed"},
    "packed": {"layout": "indexed", "packing": True},
}
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
KEYS = ("input_ids", "attention_mask", "position_ids")


def loss_of(model: Any, batch: Any) -> torch.Tensor:
    sides = [
        model(**{key: batch[f"{prefix}{key}"] for key in KEYS if f"{prefix}{key}" in batch}, use_cache=False).logits
        for prefix in ("", "ctx_teacher_")
    ]
    return sdpo_loss(*sides, batch)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_that_of_plain_rows(small: Any, form: str, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    options = {**sizes, "num_key_value_heads": 2, "vocab_size": len(small), "initializer_range": 0.2}
    model = Qwen2ForCausalLM(Qwen2Config(**options)).eval()
    plain = ComposerDataCollator(tokenizer=small, config=config(layout="indexed"))(TRACES)
    wanted = float(loss_of(model, plain))
    assert wanted > 0.01
    batch = ComposerDataCollator(tokenizer=small, config=config(**FORMS[form]))(TRACES)
    moved = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    model = model.to(device=device, dtype=dtype)
    loss = loss_of(model, moved)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss) == pytest.approx(wanted, rel=1e-3 if dtype == torch.float32 else 0.1)
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    assert any(float(p.grad.abs().max()) > 0 for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_teachers_top_k_comes_from_a_server_to_any_device(dtype: torch.dtype, device: str) -> None:
    """The top-k is on the CPU, as servers' responses are read; the student is not."""
    case = make_case(vocabulary=200, dtype=torch.float32)
    head = torch.randn(200, 200, generator=torch.Generator().manual_seed(0)) / 10
    log_probs, ids = top_k_of(case, 8)
    exact = [
        topk_sdpo_loss(case.student.double(), log_probs.double(), ids, case.batch, student_head=given)
        for given in (None, head.double())
    ]
    batch = {key: value.to(device) for key, value in case.batch.items()}
    for given, (wanted, wanted_mass) in zip((None, head.to(device, dtype)), exact, strict=True):
        student = case.student.to(device, dtype).requires_grad_()
        loss, mass = topk_sdpo_loss(student, log_probs, ids, batch, student_head=given)
        loss.backward()  # type: ignore[no-untyped-call]
        assert (loss.device.type, mass.device.type) == (device, device)
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-4 if dtype == torch.float32 else 0.05)
        torch.testing.assert_close(mass.cpu().double(), wanted_mass, rtol=1e-5, atol=1e-6)
        assert student.grad is not None
        assert bool(student.grad.isfinite().all())
        assert float(student.grad.abs().max()) > 0
