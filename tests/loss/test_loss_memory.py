"""What memory the loss takes, and the loss on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from chatspan.loss import divergence as divergence
from chatspan.loss import topk_sdpo_loss
from chatspan.loss.sdpo import sdpo_loss
from loss_cases import Case, allocated_on_cpu, large_case, make_case, value_and_grad
from topk_cases import top_k_of

requires_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

MODES: tuple[dict[str, Any], ...] = (
    {},
    {"beta": 0},
    {"beta": 1, "token_clip": 1e-5, "is_clip": 2.0},
    {"token_clip": 1e-5, "temperature": 2.0},
    {"top_k": 100},
    {"top_k": 100, "add_tail": False},
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Without `--all` each mode in one of the two types, by turns."""
    if metafunc.function is test_memory_beyond_logits_and_gradient:
        pairs = [(dtype, options) for options in MODES for dtype in (torch.float32, torch.bfloat16)]
        if not metafunc.config.getoption("--all"):
            pairs = [pair for at, pair in enumerate(pairs) if at % 4 in (0, 3)]
        metafunc.parametrize(("dtype", "options"), pairs, ids=str)


def test_memory_beyond_logits_and_gradient(
    dtype: torch.dtype,
    options: dict[str, Any],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    say: Callable[[str], None],
) -> None:
    """Allocations as torch's profiler records them, with those inside of its operators; chunks as large as may be."""
    monkeypatch.setitem(divergence._MOST_ELEMENTS, "cpu", 2**40)
    megabytes = 1024 if request.config.getoption("--all") else 64
    case = large_case(megabytes, dtype)
    student = case.student.requires_grad_()
    losses: list[torch.Tensor] = []
    forward, kept = allocated_on_cpu(lambda: losses.append(sdpo_loss(student, case.teacher, case.batch, **options)))
    backward, _ = allocated_on_cpu(losses[0].backward)
    assert student.grad is not None
    size = student.numel() * student.element_size()
    shares = forward / size, (backward - size + kept) / size
    passes = f"{shares[0]:.1%} more in forward, {shares[1]:.1%} in backward"
    say(f"loss of {megabytes} MB of {dtype} logits, {options}: {passes}")
    assert max(shares) < 0.1
    assert kept < 0.001 * size


@pytest.mark.parametrize("add_tail", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_memory_with_a_teachers_top_k(
    dtype: torch.dtype, add_tail: bool, monkeypatch: pytest.MonkeyPatch, say: Callable[[str], None]
) -> None:
    """As with the teacher's logits, none of which are there."""
    monkeypatch.setitem(divergence._MOST_ELEMENTS, "cpu", 2**40)
    case = large_case(64, dtype)
    log_probs, ids = top_k_of(case, 20)
    student = case.student.requires_grad_()
    losses: list[torch.Tensor] = []

    def forward() -> None:
        losses.append(topk_sdpo_loss(student, log_probs, ids, case.batch, add_tail=add_tail).loss)

    most, kept = allocated_on_cpu(forward)
    backward, _ = allocated_on_cpu(losses[0].backward)
    size = student.numel() * student.element_size()
    shares = most / size, (backward - size + kept) / size
    say(f"top-k loss of 64 MB of {dtype} logits: {shares[0]:.1%} more in forward, {shares[1]:.1%} in backward")
    assert max(shares) < 0.1


@pytest.mark.parametrize("gigabytes", [1, 8])
def test_chunks_of_large_logits_take_their_share_and_no_more(gigabytes: int) -> None:
    """On a device whose caches set no limit; 2^24 elements are enough for any."""
    logits = torch.empty(1, gigabytes * 2**30 // (2 * 128_000), 128_000, dtype=torch.bfloat16, device="meta")
    tokens = divergence.tokens_at_once(logits, logits, divergence.Divergence())
    assert tokens == {1: 27, 8: 131}[gigabytes]
    assert tokens * 128_000 * 4 * 6 < 0.08 * gigabytes * 2**30
    assert divergence.tokens_at_once(logits, logits[:, :1], divergence.Divergence()) == 1


@requires_cuda
@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_on_cuda(dtype: torch.dtype, options: dict[str, Any]) -> None:
    case = make_case(9, vocabulary=120, dtype=torch.float32)
    # All different, also in bfloat16: which of equal logits are among the k is the device's choice.
    case.student = (case.student.argsort(-1) / 4).to(dtype)
    case.teacher = case.teacher.to(dtype)
    on_device = Case(case.student.cuda(), case.teacher.cuda(), {key: value.cuda() for key, value in case.batch.items()})
    expected, actual = (value_and_grad(sdpo_loss, each, **options) for each in (case, on_device))
    torch.testing.assert_close(tuple(each.cpu() for each in actual), expected, rtol=1e-2, atol=1e-5)
    torch.testing.assert_close(actual[0].cpu(), expected[0], rtol=1e-4, atol=1e-6)


@requires_cuda
@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_memory_on_cuda(dtype: torch.dtype, options: dict[str, Any], say: Callable[[str], None]) -> None:
    case = large_case(1024, dtype, "cuda", vocabulary=151_936)
    student = case.student.requires_grad_()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    sdpo_loss(student, case.teacher, case.batch, **options).backward()
    size = student.numel() * student.element_size()
    share = (torch.cuda.max_memory_allocated() - before - size) / size
    say(f"loss of 1 GB of {dtype} logits on CUDA {options}: {share:.1%} more than the gradient")
    assert share < 0.1
