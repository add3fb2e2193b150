"""The example that trains: the student comes to know what the hint says; and it does not where a batch is broken."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from chatspan import LossError
from zoo import EXAMPLES

sys.path.insert(0, str(EXAMPLES))
from train_steps import Settings, distil, first_training, held_out_divergence, make_collator, make_model

SETTINGS = Settings(hidden_size=128, first_steps=160, steps=110, batch_size=32, learning_rate=2e-3)


@pytest.fixture(scope="module")
def collate(small: Any) -> Any:
    return make_collator(small, SETTINGS)


@pytest.fixture(scope="module")
def first(small: Any, collate: Any) -> Any:
    """A model that says what the hint says, and does not know without one."""
    model = make_model(len(small), SETTINGS)
    first_training(model, collate, SETTINGS)
    return model


def fall(first: Any, collate: Any, change_batch: Callable[[Any], Any] = lambda batch: batch) -> tuple[float, float]:
    """The held-out divergence, in nat a token, before and after a distillation whose batches are changed."""
    student = copy.deepcopy(first)
    before = held_out_divergence(student, first, collate).mean().item()
    teacher = distil(student, collate, SETTINGS, change_batch=change_batch)
    return before, held_out_divergence(student, teacher, collate).mean().item()


def test_the_divergence_falls(first: Any, collate: Any) -> None:
    before, after = fall(first, collate)
    assert before > 0.5
    assert after < before / 2


def shifted(batch: Any) -> Any:
    """By one: the first token, which the hint decides, is not trained, and what comes behind it is known anyway."""
    later = {key: batch[key] + 1 for key in batch if key.endswith(("_logit_idx", "_response_idx"))}
    return {**batch, **later}


def leaked(batch: Any) -> Any:
    """The student sees the hint, as the teacher does, and has nothing to learn."""
    teachers = {key: batch[f"ctx_teacher_{key}"] for key in ("input_ids", "attention_mask", "position_ids")}
    return {**batch, **teachers}


@pytest.mark.parametrize("broken", [shifted, leaked])
def test_it_does_not_where_the_loss_is_elsewhere_or_the_hint_is_no_secret(
    broken: Any, first: Any, collate: Any
) -> None:
    before, after = fall(first, collate, broken)
    assert before > 0.5
    assert after > before / 2


def swapped(batch: Any) -> Any:
    """The teacher of another row, who says another letter."""
    return {**batch, **{key: batch[key].roll(1, dims=0) for key in batch if key.startswith("ctx_teacher_")}}


def test_swapped_teachers_are_an_error(first: Any, collate: Any) -> None:
    with pytest.raises(LossError, match=r"row \d+, in-loss token 0: the student has token \d+ and the teacher \d+"):
        fall(first, collate, swapped)


@pytest.mark.parametrize("prefix", ["", "ctx_teacher_"])
def test_a_withheld_attention_mask_is_an_error(prefix: str, first: Any, collate: Any) -> None:
    with pytest.raises(LossError, match=f"has '{prefix}position_ids', but no '{prefix}attention_mask'"):
        fall(first, collate, lambda batch: {k: v for k, v in batch.items() if k != f"{prefix}attention_mask"})


def test_a_teacher_that_follows_its_student(first: Any, collate: Any) -> None:
    student = copy.deepcopy(first)
    settings = Settings(**{**SETTINGS.__dict__, "steps": 2, "ema": 0.5, "layout": "indexed"})
    teacher = distil(student, collate, settings)
    of_both = zip(teacher.parameters(), first.parameters(), strict=True)
    assert any(not torch.equal(mine, theirs) for mine, theirs in of_both)
