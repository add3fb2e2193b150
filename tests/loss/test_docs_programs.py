"""The programs of docs/trainer.md and docs/loss.md on rows with and without a loss.

The trainer learns, and processes and accumulated batches train as one large batch.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import assistant, config, failed, trace, user
from chatspan import ComposerDataCollator
from loss_cases import make_case
from processes import in_processes
from training import model_of
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, TrainingArguments
from zoo import EXAMPLES, REPO

pytest.importorskip("accelerate", reason="transformers.Trainer needs accelerate")


def blocks_of(page: str) -> list[str]:
    text = (REPO / "docs" / page).read_text(encoding="utf-8")
    return [block.partition("\n")[2].split("```")[0] for block in text.split("```python")[1:]]


def trainer_of_the_docs() -> Any:
    names: dict[str, Any] = {}
    (block,) = (block for block in blocks_of("trainer.md") if "class SelfDistillationTrainer" in block)
    # The class alone, not the run behind it.
    exec(block.split("\ntokenizer = ")[0], names)
    return names["SelfDistillationTrainer"]


def test_the_trainer_of_the_docs_brings_a_student_to_its_teacher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.5,
    )
    student, teacher = Qwen2ForCausalLM(config), Qwen2ForCausalLM(config)
    batch = make_case(10, rows=2, vocabulary=32).batch
    in_loss = batch["sdpo_loss_weight"].gather(1, batch["student_response_idx"])[batch["response_idx_mask"]]
    batch["in_loss_weight"] = in_loss.sum()[None]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=30,
        gradient_accumulation_steps=2,
        learning_rate=0.02,
        remove_unused_columns=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = trainer_of_the_docs()(
        model=student,
        teacher=teacher,
        args=arguments,
        train_dataset=[{}] * 8,
        data_collator=lambda rows: {key: value.clone() for key, value in batch.items()},
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] / 2


SITE = trace(user("Go?"), failed("Try it again."), user("ok"), assistant("Done."))
LONGER = trace(user("Go?"), failed("Try it again, and then another way, please."), user("ok"), failed("Once more."))
NO_SITE = trace(user("Go?"), assistant("Gone."), user("And now?"), assistant("Nothing."))
# With four processes or four accumulated batches some have no loss at all.
TRACES = [SITE, NO_SITE, LONGER, NO_SITE]


def update(rank: int, world: int, rows: int, accumulated: int, labels: bool, constant: bool) -> list[torch.Tensor]:
    """What one step changes in the weights, in float64."""
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    collate = ComposerDataCollator(tokenizer=tokenizer, config=config(constant_keys=constant))

    def with_labels(traces: list[Any]) -> Any:
        batch = collate(traces)
        return {**batch, "labels": batch["input_ids"]} if labels else batch

    student = model_of(tokenizer).double()
    teacher = model_of(tokenizer, initializer_range=0.3).double()
    before = [parameter.detach().clone() for parameter in student.parameters()]
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulated,
        max_steps=1,
        optim="sgd",
        learning_rate=1.0,
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        remove_unused_columns=False,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = trainer_of_the_docs()(
        model=student, teacher=teacher, args=arguments, train_dataset=TRACES, data_collator=with_labels
    )
    trainer.train()
    return [after.detach() - at for after, at in zip(student.parameters(), before, strict=True)]


def distance(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """As a part of the whole update."""
    difference = torch.cat([(a - b).flatten() for a, b in zip(one, other, strict=True)]).norm()
    return float(difference / torch.cat([each.flatten() for each in one]).norm())


@functools.cache
def large_batch() -> list[torch.Tensor]:
    return update(0, 1, 4, 1, False, True)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize(("rows", "accumulated"), [(1, 4), (2, 2)])
def test_accumulated_batches_train_as_one(rows: int, accumulated: int, labels: bool, say: Any) -> None:
    found = distance(large_batch(), update(0, 1, rows, accumulated, labels, True))
    say(f"trainer of the docs, {accumulated} accumulated batches of {rows}, labels {labels}: differs by {found:.1e}")
    assert found < 1e-6


@pytest.mark.parametrize(("rows", "accumulated", "labels"), [(1, 2, False), (2, 1, True)])
def test_two_processes_train_as_one(rows: int, accumulated: int, labels: bool, say: Any) -> None:
    both = in_processes(2, update, rows, accumulated, labels, True)
    found = max(distance(large_batch(), each) for each in both)
    say(f"trainer of the docs, 2 processes of {accumulated} × {rows}, labels {labels}: differs by {found:.1e}")
    assert found < 1e-6


@pytest.mark.parametrize("losses", [(True, False), (False,), (False, False, True)], ids=str)
def test_the_programs_of_the_loss_page(losses: tuple[bool, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with the same rows: some without a loss, or all."""
    monkeypatch.chdir(REPO)
    # Of a teacher's top-k, which not every batch has, are the programs behind these.
    first, *others = (block for block in blocks_of("loss.md") if "topk_sdpo_loss" not in block)
    before, _, after = first.partition("batch = collate(")
    names: dict[str, Any] = {}
    exec(before, names)
    answer = names["answer"]
    rows = [
        {"messages": [names["question"], answer], "teacher_messages": [names["privileged"], answer] if has else None}
        for has in losses
    ]
    names["batch"] = names["collate"](rows)
    values = []
    for program in (after.partition("\n")[2], *others):
        names["model"].zero_grad()
        exec(program, names)
        if "backward" not in program:
            names["loss"].backward()
        values.append(names["loss"].item())
        gradients = [parameter.grad for parameter in names["model"].model.parameters()]
        assert all(grad is not None for grad in gradients)
        assert any(grad.any() for grad in gradients) == any(losses)
    assert values == pytest.approx([values[0]] * len(values), abs=1e-6)
    assert (values[0] > 0) == any(losses)
