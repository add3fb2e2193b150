"""The loss against TRL's: values and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from chatspan.loss import topk_sdpo_loss
from chatspan.loss.sdpo import sdpo_loss
from loss_cases import BETAS, Case, make_case, plain
from topk_cases import top_k_of


def at_tokens(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits as TRL has them, ``[B, R, V]`` (the student's a leaf), the tokens ``[B, R]``, and the mask."""
    rows = torch.arange(len(case.student)).unsqueeze(1)
    student = case.student[rows, case.batch["student_logit_idx"]].clone().requires_grad_()
    teacher = case.teacher[rows, case.batch["teacher_logit_idx"]]
    tokens = case.batch["input_ids"].gather(1, case.batch["student_response_idx"])
    return student, teacher, tokens, case.batch["response_idx_mask"]


def assert_equal_gradients(ours: torch.Tensor, theirs: torch.Tensor, case: Case) -> None:
    rows = torch.arange(len(case.student)).unsqueeze(1)
    picked = ours[rows, case.batch["student_logit_idx"]]
    mask = case.batch["response_idx_mask"]
    torch.testing.assert_close(picked[mask], theirs[mask], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("beta", BETAS)
def test_the_full_vocabulary_is_trls_gkd(beta: float, temperature: float) -> None:
    trl = pytest.importorskip("trl.experimental.gkd", reason="TRL is not installed")
    case = plain(make_case(6))
    student, teacher, tokens, mask = at_tokens(case)
    labels = torch.where(mask, tokens, -100)
    for ours, theirs in (({}, {}), ({"reduction": "sum"}, {"reduction": "sum"}), *(2 * ({"num_items_in_batch": 9},),)):
        leaf = case.leaf()
        loss = sdpo_loss(leaf, case.teacher, case.batch, beta=beta, temperature=temperature, **ours)
        student.grad = None
        expected = trl.GKDTrainer.generalized_jsd_loss(student, teacher, labels, beta, temperature, **theirs)
        torch.testing.assert_close(loss, expected)
        loss.backward()
        expected.backward()
        assert_equal_gradients(leaf.grad, student.grad, case)


@pytest.mark.parametrize("add_tail", [True, False])
@pytest.mark.parametrize("alpha", BETAS)
def test_top_k_tail_and_importance_weights_are_trls_sdpo(alpha: float, add_tail: bool) -> None:
    trl = pytest.importorskip("trl.experimental.sdpo.loss_utils", reason="TRL is not installed")
    utils = pytest.importorskip("trl.trainer.utils", reason="TRL is not installed")
    case = plain(make_case(7, vocabulary=50))
    student, teacher, tokens, mask = at_tokens(case)
    options = {"distillation_topk": 6, "distillation_alpha": alpha, "distillation_add_tail": add_tail}
    # Its trainer divides the logits by the temperature before any of its functions.
    losses = trl.compute_topk_self_distillation_loss(student / 0.8, teacher / 0.8, **options)
    log_probs = utils.selective_log_softmax(student / 0.8, tokens)
    losses = trl.apply_importance_sampling_clipping(losses, log_probs, case.batch["old_log_probs"], 2.0)
    expected = ((losses * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()
    leaf = case.leaf()
    ours: dict[str, Any] = {"top_k": 6, "add_tail": add_tail, "is_clip": 2.0, "reduction": "row_mean"}
    loss = sdpo_loss(leaf, case.teacher, case.batch, beta=alpha, temperature=0.8, **ours)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    assert_equal_gradients(leaf.grad, student.grad, case)


def test_trl_too_gives_a_tail_at_least_the_least_mass() -> None:
    trl = pytest.importorskip("trl.experimental.sdpo.loss_utils", reason="TRL is not installed")
    case = plain(make_case(8, vocabulary=12))
    case.student[..., :3] += 40
    student, teacher, _, mask = at_tokens(case)
    losses = trl.compute_topk_self_distillation_loss(
        student, teacher, distillation_topk=3, distillation_alpha=0.0, distillation_add_tail=True
    )
    losses[mask].sum().backward()
    leaf = case.leaf()
    loss = sdpo_loss(leaf, case.teacher, case.batch, beta=0, top_k=3, reduction="sum")
    loss.backward()
    torch.testing.assert_close(loss, losses[mask].sum())
    assert_equal_gradients(leaf.grad, student.grad, case)


@pytest.mark.parametrize("add_tail", [True, False])
@pytest.mark.parametrize("beta", BETAS)
def test_a_teachers_top_k_is_that_of_trls_server_distillation(beta: float, add_tail: bool) -> None:
    """Its functions, put together as its ``_compute_server_forward_kl_loss`` does for the forward KL."""
    name = "trl.experimental.server_distillation.server_distillation_trainer"
    trl = pytest.importorskip(name, reason="TRL is not installed")
    case = plain(make_case(9, vocabulary=30))
    log_probs, ids = top_k_of(case, 5)
    student, _, _, mask = at_tokens(case)
    of_student = student.log_softmax(-1).gather(-1, ids.clamp(min=0))
    sides = []
    for side in (of_student, log_probs.masked_fill(~mask.unsqueeze(-1), 0)):
        valid = torch.ones_like(side, dtype=torch.bool)
        sides.append(trl._add_tail_bucket(side, valid)[0] if add_tail else side.log_softmax(-1))
    support = torch.ones_like(sides[0], dtype=torch.bool)
    expected = trl._jsd_divergence(*sides, beta=beta, support_mask=support)
    expected = (expected.sum(-1) if expected.dim() == 3 else expected)[mask].sum()
    leaf = case.leaf()
    loss = topk_sdpo_loss(leaf, log_probs, ids, case.batch, beta=beta, add_tail=add_tail, reduction="sum").loss
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    assert_equal_gradients(leaf.grad, student.grad, case)
