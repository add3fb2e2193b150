"""The trainer: its step is the one that the formula says, however rows are divided; it saves, resumes and refuses."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import assistant, config, failed, trace, user
from chatspan import (
    ChatCollator,
    ComposerDataCollator,
    DistillationConfig,
    LossError,
    OptionError,
    SelfDistillationCollator,
    SelfDistillationTrainer,
)
from chatspan.distillation.teachers import teacher_prompts, top_k_of
from chatspan.distillation.teachers.scorers import LoadedTeacher
from chatspan.trainer import EmaTeacher
from processes import in_processes
from torch import Tensor
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, TrainingArguments
from zoo import EXAMPLES

pytest.importorskip("accelerate", reason="transformers.Trainer needs accelerate")

SITE = trace(user("Go?"), failed("Try it again."), user("ok"), assistant("Done."))
LONGER = trace(user("Go?"), failed("Try it again, and then another way, please."), user("ok"), failed("Once more."))
NO_SITE = trace(user("Go?"), assistant("Gone."), user("And now?"), assistant("Nothing."))
TRACES = [SITE, NO_SITE, LONGER, NO_SITE]
QUIET = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "logging_steps": 1}


def model_of(seed: int = 0, *, dropout: float = 0.0) -> Any:
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    made = Qwen2Config(
        vocab_size=len(tokenizer), num_key_value_heads=2, attention_dropout=dropout, initializer_range=0.3, **sizes
    )
    return Qwen2ForCausalLM(made).double()


def collator(**options: Any) -> ComposerDataCollator:
    return ComposerDataCollator(AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer"), config(**options))


def trainer_of(
    folder: Any, traces: list[Any] = TRACES, *, arguments: dict[str, Any] | None = None, seed: int = 0, **options: Any
) -> SelfDistillationTrainer:
    """Plain gradient descent without clipping: a step is the gradient."""
    given: dict[str, Any] = {"max_steps": 1, "learning_rate": 0.5, "optim": "sgd", "max_grad_norm": 1e9, "seed": 3}
    given |= {"save_strategy": "no", "lr_scheduler_type": "constant", **QUIET, **(arguments or {})}
    options = {"data_collator": collator(constant_keys=False), "teacher": model_of(1), **options}
    made = TrainingArguments(str(folder), **given)
    trainer = SelfDistillationTrainer(model_of(seed), made, train_dataset=traces, **options)
    # In the given order, so that what is divided differently is the same.
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(traces)
    return trainer


def weights_of(model: Any) -> list[Tensor]:
    return [each.detach().clone() for each in model.parameters()]


def step_by_the_formula(traces: list[Any], beta: float) -> list[Tensor]:
    """Written out: the weights after a step on the mean of the tokens' divergences, each side alone and unpadded."""
    student, teacher = model_of(0), model_of(1)
    total, weight = torch.zeros((), dtype=torch.float64), 0.0
    for one in traces:
        batch = collator()([one])
        if "ctx_teacher_input_ids" not in batch:
            continue
        sides = []
        for model, prefix, side in ((student, "", "student"), (teacher, "ctx_teacher_", "teacher")):
            ids = batch[f"{prefix}input_ids"][0]
            seen = batch[f"{prefix}attention_mask"][0].bool()
            # Holes taken out: the plain row.
            columns = (seen.cumsum(0) - 1)[batch[f"{side}_logit_idx"][0]]
            sides.append(model(input_ids=ids[seen][None]).logits[0, columns].log_softmax(-1))
        s, t = sides[0], sides[1].detach()
        mixture = ((1 - beta) * s.exp() + beta * t.exp()).log()
        each = beta * (t.exp() * (t - mixture)).sum(-1) + (1 - beta) * (s.exp() * (s - mixture)).sum(-1)
        total, weight = total + each.sum(), weight + len(each)
    (total / weight).backward()
    return [each.detach() - 0.5 * each.grad for each in student.parameters()]


def close(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> bool:
    return all(torch.allclose(a, b, rtol=0, atol=tolerance) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("logits", ["auto", "hidden", "gathered", "all"])
def test_a_step_is_that_of_the_formula(logits: Any, tmp_path: Path) -> None:
    wanted = step_by_the_formula(TRACES, beta=0.3)
    arguments = {"per_device_train_batch_size": 4}
    trainer = trainer_of(tmp_path, arguments=arguments, logits=logits, loss_options={"beta": 0.3})
    trainer.train()
    found = weights_of(trainer.model)
    assert close(found, wanted, 1e-7)
    assert not close(found, weights_of(model_of(0)), 1e-3)


@pytest.mark.parametrize("logits", ["hidden", "gathered", "all"])
def test_a_served_teacher_is_the_loaded_one(logits: Any, tmp_path: Path) -> None:
    """With its whole vocabulary; with less of it the mass says so."""
    scores = LoadedTeacher(model_of(1), "tiny", top_k=10**6)
    arguments = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}

    def served(batch: Any) -> Any:
        return top_k_of(scores(teacher_prompts(batch)), batch)

    trainer = trainer_of(tmp_path, arguments=arguments, logits=logits, teacher=served)
    trainer.train()
    assert close(weights_of(trainer.model), one_large_batch(str(tmp_path)), 1e-6)
    assert trainer.state.log_history[0]["teacher_mass"] == pytest.approx(1, abs=1e-5)
    scores = LoadedTeacher(model_of(1), "tiny", top_k=2)
    trainer = trainer_of(tmp_path, arguments=arguments, logits=logits, teacher=served)
    trainer.train()
    assert 0.01 < trainer.state.log_history[0]["teacher_mass"] < 0.99


@functools.cache
def one_large_batch(folder: str) -> list[Tensor]:
    trainer = trainer_of(folder, arguments={"per_device_train_batch_size": 4})
    trainer.train()
    return weights_of(trainer.model)


@pytest.mark.parametrize("rows", [1, 2])
def test_accumulated_batches_train_as_one(rows: int, tmp_path: Path) -> None:
    """Of which some have no loss, and no teacher's side."""
    arguments = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 4 // rows}
    trainer = trainer_of(tmp_path, arguments=arguments)
    trainer.train()
    assert close(weights_of(trainer.model), one_large_batch(str(tmp_path)), 1e-7)
    [logged] = [entry for entry in trainer.state.log_history if "in_loss_tokens" in entry]
    assert logged["batches_without_loss"] == (2 if rows == 1 else 0)


def work(rank: int, world: int, folder: str, logits: str) -> list[Tensor]:
    trainer = trainer_of(folder, arguments={"per_device_train_batch_size": 4 // world}, logits=logits)
    trainer.train()
    return weights_of(trainer.model)


@pytest.mark.parametrize("logits", ["hidden", "all"])
def test_two_processes_train_as_one(logits: str, tmp_path: Path) -> None:
    for found in in_processes(2, work, str(tmp_path), logits):
        assert close(found, one_large_batch(str(tmp_path)), 1e-7)


@pytest.mark.parametrize("teacher", ["student", "ema", "model"])
def test_a_run_that_is_resumed_ends_as_one_that_was_not(teacher: str, tmp_path: Path) -> None:
    def run(folder: str, steps: int, resume: bool) -> SelfDistillationTrainer:
        arguments = {"per_device_train_batch_size": 2, "max_steps": steps, "optim": "adamw_torch"}
        arguments |= {"save_strategy": "steps", "save_steps": 2, "learning_rate": 0.01}
        given = model_of(1) if teacher == "model" else teacher
        trainer = trainer_of(tmp_path / folder, arguments=arguments, teacher=given, ema_decay=0.5)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run("whole", 4, False)
    run("parts", 2, False)
    resumed = run("parts", 4, True)
    assert close(weights_of(resumed.model), weights_of(whole.model), 1e-12)
    assert close(weights_of(resumed.teacher), weights_of(whole.teacher), 1e-12)
    if teacher == "ema":
        assert not close(weights_of(whole.teacher), weights_of(whole.model), 1e-4)


def test_an_average_follows_its_student() -> None:
    """By the recursion, in single precision also where the model has half."""
    student = torch.nn.Linear(3, 2).bfloat16()
    teacher = EmaTeacher(student, decay=0.9)
    wanted = student.weight.detach().float()
    for step in range(50):
        with torch.no_grad():
            student.weight.add_(0.01 * (step % 3))
        teacher.update(student)
        wanted = 0.9 * wanted + 0.1 * student.weight.detach().float()
    assert torch.allclose(teacher.model.weight.float(), wanted.bfloat16().float(), rtol=0, atol=1e-2)
    assert not any(each.requires_grad for each in teacher.model.parameters())


def test_dropout_is_off_in_the_teacher_alone(tmp_path: Path) -> None:
    model = model_of(0, dropout=0.5)
    model.model.norm.eval()
    seen: list[tuple[bool, bool]] = []
    model.model.embed_tokens.register_forward_hook(lambda *_: seen.append((model.training, torch.is_grad_enabled())))
    trainer = trainer_of(tmp_path, teacher="student", logits="all")
    trainer.model = trainer.model_wrapped = model
    batch = trainer._prepare_inputs(collator()([SITE]))
    model.train()
    model.model.norm.eval()
    trainer.compute_loss(model, batch)
    assert seen == [(True, True), (False, False)]
    # Each module is as it was.
    assert model.training
    assert not model.model.norm.training


def test_an_evaluation_has_the_loss_of_its_rows(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, eval_dataset=[LONGER], arguments={"per_device_eval_batch_size": 1})
    from chatspan.loss import sdpo_loss

    batch = collator()([LONGER])
    keys = ("input_ids", "attention_mask", "position_ids")
    student = model_of(0)(**{key: batch[key] for key in keys}).logits
    teacher = model_of(1)(**{key: batch[f"ctx_teacher_{key}"] for key in keys}).logits
    assert trainer.evaluate()["eval_loss"] == pytest.approx(sdpo_loss(student, teacher, batch).item(), abs=1e-6)


def test_the_other_collator_and_packed_rows(tmp_path: Path) -> None:
    question, answer = user("2 + 2?"), assistant("It is 4.")
    rows = [
        {"messages": [question, answer], "teacher_messages": [user("2 + 2? (The solution: 4.)"), answer]},
        {"messages": [question, answer], "teacher_messages": None},
    ] * 2
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    for options in ({"layout": "aligned"}, {"layout": "indexed"}):
        made = SelfDistillationCollator(tokenizer, DistillationConfig(loss_on="turn", **options))
        trainer = trainer_of(tmp_path, rows, data_collator=made, arguments={"max_steps": 2})
        before = weights_of(trainer.model)
        trainer.train()
        assert not close(weights_of(trainer.model), before, 1e-6)
        assert all(torch.isfinite(each).all() for each in weights_of(trainer.model))


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for options, words in (
        ({"teacher": "other"}, 'pass "student", "ema", a model, or a function'),
        ({"teacher": lambda batch: None, "loss_options": {"top_k": 5}}, "top-k of such a teacher does not cover"),
        ({"data_collator": None}, "data_collator is missing"),
        ({"logits": "some"}, "logits='some'"),
        ({"loss_options": {"betta": 1}}, "'betta': sdpo_loss takes beta, temperature"),
        ({"loss_options": {"beta": 2}}, "beta=2"),
        ({"loss_options": {"reduction": "sum"}}, "which the trainer sets"),
        ({"teacher": "ema", "ema_decay": 1.5}, "ema_decay=1.5"),
    ):
        with pytest.raises(OptionError, match=words):
            trainer_of(tmp_path, **options)
    arguments = TrainingArguments(str(tmp_path), **QUIET)
    trainer = trainer_of(tmp_path, teacher="ema")
    assert arguments.remove_unused_columns
    with pytest.raises(OptionError, match=r"ema_teacher\.safetensors is missing"):
        trainer.train(resume_from_checkpoint=str(tmp_path))


def test_a_batch_of_another_collator_is_named(tmp_path: Path) -> None:
    made = ChatCollator(AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer"))
    rows = [{"messages": [user("2 + 2?"), assistant("4")]}] * 2
    with pytest.raises(LossError, match="from another collator"):
        trainer_of(tmp_path, rows, data_collator=made).train()


def test_the_callers_arguments_stay_as_they_are(tmp_path: Path) -> None:
    arguments = TrainingArguments(str(tmp_path), **QUIET)
    before = copy.copy(arguments.__dict__)
    SelfDistillationTrainer(model_of(), arguments, collator(), train_dataset=TRACES)
    assert arguments.remove_unused_columns == before["remove_unused_columns"]
