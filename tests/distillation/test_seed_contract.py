"""The six promises that a trainer builds on, on a real tokenizer (Qwen2.5) and on the project's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from batches import check, recoveries, student_text, teacher_text
from cases import assistant, config, failed, system, trace, user
from chatspan import ComposerDataCollator

RECOVERY = "Let me try another tool instead."
BASE = (system("You are an agent."), user("Fix the file."), assistant("I will."), user("error: no such file"))
FIRES = trace(*BASE, failed(RECOVERY), user("Thanks."), assistant("Done."))
BLANK = trace(*BASE, failed("  "), user("Hello?"), assistant("Sorry, here I am."))
NO_ERROR = trace(*BASE, assistant(RECOVERY))

ROWS = (
    *("input_ids", "attention_mask", "position_ids", "response_mask", "sdpo_loss_mask", "sdpo_loss_weight"),
    *("ctx_teacher_input_ids", "ctx_teacher_attention_mask", "ctx_teacher_position_ids"),
)
COUNTS = ("row_index", "dropped_tokens", "dropped_messages", "dropped_sites", "dropped_rows")


@pytest.fixture(params=["small", "qwen2_5"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    if request.param == "small":
        return request.getfixturevalue("small")
    return request.getfixturevalue("zoo_tokenizer")(request.param)


@pytest.fixture
def collate(tokenizer: Any) -> ComposerDataCollator:
    return ComposerDataCollator(tokenizer=tokenizer, config=config())


def test_alignment_is_100_percent(collate: ComposerDataCollator, tokenizer: Any) -> None:
    batch = collate([FIRES])
    in_loss = batch["sdpo_loss_mask"] == 1
    assert in_loss.sum() == len(tokenizer(RECOVERY)["input_ids"])
    assert (batch["input_ids"][in_loss] == batch["ctx_teacher_input_ids"][in_loss]).float().mean() == 1.0
    check(batch)


def test_the_loss_is_on_content_and_not_on_scaffold(collate: ComposerDataCollator, tokenizer: Any) -> None:
    batch = collate([FIRES])
    assert recoveries(tokenizer, batch, 0) == [RECOVERY]
    assert "Hint: it failed." in teacher_text(tokenizer, batch, 0)
    assert "Hint" not in student_text(tokenizer, batch, 0)


def test_both_sides_have_equal_shapes(collate: ComposerDataCollator) -> None:
    batch = collate([FIRES, NO_ERROR])
    assert {tuple(batch[key].shape) for key in ROWS} == {(2, batch["input_ids"].shape[1])}


def test_a_blank_recovery_does_not_fire(collate: ComposerDataCollator) -> None:
    batch = collate([BLANK])
    assert set(batch) == {*ROWS[:4], *COUNTS}
    check(batch)


def test_of_a_blank_and_a_real_recovery_only_the_real_one_fires(collate: ComposerDataCollator, tokenizer: Any) -> None:
    mixed = trace(*BASE, failed(" \n"), user("Still there?"), failed(RECOVERY))
    batch = collate([mixed])
    assert recoveries(tokenizer, batch, 0) == [RECOVERY]
    assert teacher_text(tokenizer, batch, 0).count("Hint: it failed.") == 1
    check(batch)


def test_shapes_in_a_mixed_batch(collate: ComposerDataCollator, tokenizer: Any) -> None:
    batch = collate([FIRES, BLANK, NO_ERROR])
    assert {tuple(batch[key].shape) for key in ROWS} == {(3, batch["input_ids"].shape[1])}
    assert (batch["sdpo_loss_mask"].sum(dim=1) > 0).tolist() == [True, False, False]
    for row in (1, 2):
        assert torch.equal(batch["input_ids"][row], batch["ctx_teacher_input_ids"][row])
        assert student_text(tokenizer, batch, row) == teacher_text(tokenizer, batch, row)
    check(batch)
