"""A batch without a teacher part: 0, with a gradient of 0, so that no process waits for another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import assistant, config, failed, trace, user
from chatspan import ComposerDataCollator, DistillationConfig, LossError, SelfDistillationCollator
from chatspan.loss import linear_sdpo_loss, sdpo_loss
from loss_cases import make_case
from processes import in_processes
from torch import nn

NO_SITE = trace(user("Go?"), assistant("Gone."), user("And now?"), assistant("Nothing."))
SITE = trace(user("Go?"), failed("Try it again."), user("ok"), assistant("Done."))
REDUCTIONS = ("token_mean", "row_mean", "sum", "none")


def dropin_batch(small: Any, traces: list[Any], **options: Any) -> Any:
    return ComposerDataCollator(tokenizer=small, config=config(**options))(traces)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", [{}, {"layout": "indexed", "packing": True}], ids=str)
def test_the_drop_ins_batch_without_a_site_is_a_zero_to_train_on(
    small: Any, options: dict[str, Any], reduction: Any
) -> None:
    batch = dropin_batch(small, [NO_SITE, NO_SITE], **options)
    assert not any(key.startswith("ctx_teacher_") for key in batch)
    for given in ({}, {"is_clip": 2.0}, {"gathered": True}, {"top_k": 2}):
        logits = torch.randn(*batch["input_ids"].shape, 7)
        logits[..., 3] = -torch.inf
        student = logits.requires_grad_()
        loss = sdpo_loss(student, None, batch, reduction=reduction, **given)
        assert loss.shape == ((len(logits), 0) if reduction == "none" else ())
        assert not loss.detach().any()
        loss.sum().backward()
        assert student.grad is not None
        assert not student.grad.any()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_from_hidden_states_the_head_gets_a_gradient_of_zero_too(small: Any, reduction: Any) -> None:
    batch = dropin_batch(small, [NO_SITE])
    hidden = torch.randn(*batch["input_ids"].shape, 5, requires_grad=True)
    head = nn.Linear(5, 9)
    lora = nn.Sequential(nn.Linear(5, 2), nn.Linear(2, 9))
    for module, given in ((head, {}), (lora, {"gathered": True, "is_clip": 2.0})):
        hidden.grad = None
        loss = linear_sdpo_loss(hidden, None, batch, module, torch.zeros(9, 4), reduction=reduction, **given)
        assert not loss.detach().any()
        loss.sum().backward()
        for each in (hidden, *module.parameters()):
            assert each.grad is not None
            assert not each.grad.any()


def test_what_the_teacher_is_given_does_not_matter_then(small: Any) -> None:
    batch = dropin_batch(small, [NO_SITE])
    student = torch.randn(*batch["input_ids"].shape, 7)
    assert sdpo_loss(student, torch.zeros(1, 2, 99), batch) == 0
    assert sdpo_loss(student.half(), None, batch).dtype is torch.float32
    assert sdpo_loss(student.double(), None, batch).dtype is torch.float64


def test_a_batch_that_lost_its_teacher_is_no_batch_without_one(small: Any) -> None:
    """Nothing that a typo or a filter of keys did is taken for a batch that has no loss."""
    whole = dropin_batch(small, [SITE])
    student = torch.zeros(*whole["input_ids"].shape, 7)
    for key in ("student_logit_idx", "teacher_logit_idx", "response_idx_mask"):
        batch = {name: value for name, value in whole.items() if name != key}
        with pytest.raises(LossError, match=f"the batch has no '{key}'"):
            sdpo_loss(student, student, batch)
    with pytest.raises(LossError, match="teacher_logits is NoneType"):
        sdpo_loss(student, None, whole)
    with pytest.raises(LossError, match="the batch has no 'student_logit_idx', but 'labels'"):
        sdpo_loss(student, student, {**dropin_batch(small, [NO_SITE]), "labels": whole["input_ids"]})
    with pytest.raises(LossError, match="no 'student_logit_idx'"):
        sdpo_loss(student, student, {"input_ids": whole["input_ids"]})
    with pytest.raises(LossError, match="student_logits is NoneType"):
        sdpo_loss(None, None, dropin_batch(small, [NO_SITE]))  # type: ignore[arg-type]


def test_a_teacherless_row_of_a_data_set_with_conversations_for_both_sides(small: Any) -> None:
    collate = SelfDistillationCollator(small, DistillationConfig(layout="indexed"))
    batch = collate([{"messages": [user("Go?"), assistant("Gone.")], "teacher_messages": None}])
    student = torch.randn(*batch["input_ids"].shape, 7, requires_grad=True)
    sdpo_loss(student, None, batch).backward()
    assert student.grad is not None
    assert not student.grad.any()


def of_one_process(rank: int, world: int, batches: list[Any]) -> Any:
    """One step of a model under DDP, which waits for each parameter's gradient in every process."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(64, 5), nn.Linear(5, 11, dtype=torch.float32)).double()
    spread = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    for batch in batches[rank::world] if world > 1 else batches:
        student = spread(batch["input_ids"] % 64)
        teacher = None
        if "ctx_teacher_input_ids" in batch:
            with torch.no_grad():
                teacher = model(batch["ctx_teacher_input_ids"] % 64).cos()
        sdpo_loss(student, teacher, batch, reduction="sum").backward()
    return [parameter.grad for parameter in model.parameters()]


def test_a_process_without_a_site_beside_one_that_has_one(small: Any) -> None:
    """DDP takes the mean of both: half of what the one with a site gives by itself."""
    batches = [dropin_batch(small, [SITE]), dropin_batch(small, [NO_SITE])]
    alone = of_one_process(0, 1, batches[:1])
    for found in in_processes(2, of_one_process, batches):
        torch.testing.assert_close([2 * grad for grad in found], alone)
    assert all(grad.any() for grad in alone)


def test_a_batch_with_a_teacher_is_as_before() -> None:
    case = make_case()
    case.batch["response_mask"] = torch.zeros_like(case.batch["input_ids"])
    assert sdpo_loss(case.student, case.teacher, case.batch) > 0
