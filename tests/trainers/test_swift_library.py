"""The rows in the real ms-swift, where it is installed: ``make test-swift`` makes an environment of its own for it."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import pytest
import torch
from cases import assistant
from chatspan import AlignmentError, OptionError
from chatspan.loss import sdpo_loss
from chatspan.swift import opsd_rows
from test_swift import FIRST, PRIVILEGED, QUESTION, ROWS, collator, rollout_row
from training import model_of
from transformers import Gemma3TextConfig, LlamaConfig, Qwen2Config, Qwen3Config

NEEDED = "ms-swift is not installed: make test-swift installs it"
pytest.importorskip("swift.rl_core.data", reason=NEEDED)
losses = pytest.importorskip("swift.rlhf_trainers.gkd_loss", reason=NEEDED)
helpers = pytest.importorskip("swift.rlhf_trainers.gkd_helpers", reason=NEEDED)
proof = pytest.importorskip("chatspan.swift.proof", reason=NEEDED)
models = pytest.importorskip("swift.model", reason=NEEDED)
templates = pytest.importorskip("swift.template", reason=NEEDED)


@pytest.fixture(scope="module")
def folder(small: Any, tmp_path_factory: Any) -> Any:
    """Of a model and its tokenizer, as ms-swift loads them."""
    found = tmp_path_factory.mktemp("model")
    model_of(small, initializer_range=0.3).save_pretrained(found)
    small.save_pretrained(found)
    return found


@pytest.fixture
def template_of(folder: Any) -> Any:
    def make(template_type: str = "chatml", mode: str = "train", **options: Any) -> Any:
        template = templates.get_template(
            models.get_processor(str(folder), model_type="qwen2"), template_type=template_type, **options
        )
        template.set_mode(mode)
        return template

    return make


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_loss_of_its_batch_is_the_divergence(small: Any, template_of: Any, beta: float, say: Any) -> None:
    template, collate = template_of(), collator(small)
    given = [*ROWS, rollout_row(small)]
    samples = [proof.GKDSample.from_row(row) for row in proof.proven_rows(collate, given, template)]
    students, teachers, has_opsd = helpers.encode_gkd_samples(samples, template)
    assert has_opsd
    student, teacher = model_of(small), model_of(small, initializer_range=0.3)
    sides = [template.data_collator(side) for side in (students, teachers)]
    with torch.no_grad():
        logits = [
            model(input_ids=side["input_ids"], attention_mask=side["attention_mask"]).logits
            for model, side in zip((student, teacher), sides, strict=True)
        ]
    shifted = [torch.roll(side["labels"], shifts=-1, dims=1) for side in sides]
    total, count = losses.gkd_loss(
        logits[0], losses.TeacherOutput(full_logits=logits[1], labels=shifted[1]), shifted[0], beta, 1.0
    )
    batch = collate(given)
    keys = ("input_ids", "attention_mask", "position_ids")
    with torch.no_grad():
        own = [
            model(**{key: batch[prefix + key] for key in keys}).logits
            for model, prefix in ((student, ""), (teacher, "ctx_teacher_"))
        ]
    expected = float(sdpo_loss(*own, batch, beta=beta))
    assert float(total / count) == pytest.approx(expected, abs=1e-6)
    say(f"ms-swift {version('ms-swift')}, β = {beta}: its loss is {float(total / count):.6f}, here {expected:.6f}")


def test_a_step_of_its_trainer(small: Any, folder: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """From a file of rows, by its command, on a CPU."""
    from swift import RLHFArguments, rlhf_main
    from swift.rlhf_trainers.gkd_trainer import GKDTrainer

    found = []

    def recorded(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute(self, model, inputs, *args, **kwargs)
        found.append(float((loss[0] if isinstance(loss, tuple) else loss).detach()))
        return loss

    compute = GKDTrainer.compute_loss
    monkeypatch.setattr(GKDTrainer, "compute_loss", recorded)
    monkeypatch.chdir(tmp_path)
    collate = collator(small)
    rows = opsd_rows(collate, ROWS)
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    model = {"model": str(folder), "model_type": "qwen2", "template": "chatml", "check_model": False}
    rlhf_main(
        RLHFArguments(
            **model,
            rlhf_type="gkd",
            teacher_model=str(folder),
            teacher_model_type="qwen2",
            dataset=[str(tmp_path / "rows.jsonl")],
            remove_unused_columns=False,
            lmbda=0.0,
            beta=0.5,
            temperature=1.0,
            max_steps=1,
            per_device_train_batch_size=len(rows),
            gradient_accumulation_steps=1,
            gradient_checkpointing=False,
            tuner_type="full",
            torch_dtype="float32",
            output_dir=str(tmp_path / "out"),
            report_to=["none"],
            use_cpu=True,
            split_dataset_ratio=0,
            dataloader_num_workers=0,
            load_from_cache_file=False,
            save_strategy="no",
        )
    )
    twin, batch = model_of(small, initializer_range=0.3), collate(ROWS[:2])
    keys = ("input_ids", "attention_mask", "position_ids")
    with torch.no_grad():
        sides = [twin(**{key: batch[prefix + key] for key in keys}).logits for prefix in ("", "ctx_teacher_")]
    assert found == [pytest.approx(float(sdpo_loss(*sides, batch, beta=0.5)), abs=1e-6)]


def test_its_teacher_takes_no_mask(small: Any, template_of: Any) -> None:
    """Why each message has a flag beside the mask, and a turn is in the loss whole or not at all."""
    template = template_of()
    _, row = opsd_rows(collator(small), ROWS)
    for message in row["messages"]:
        message.pop("loss", None)
    students, teachers, _ = helpers.encode_gkd_samples([proof.GKDSample.from_row(row)], template)
    texts = [small.decode([each for each in side[0]["labels"] if each >= 0]) for side in (students, teachers)]
    assert texts == ["It is 4.<|im_end|>", "It is 2.<|im_end|>It is 4.<|im_end|>"]


def test_a_template_that_writes_something_else_is_told_of(small: Any, template_of: Any) -> None:
    with pytest.raises(
        AlignmentError, match=r"trace 'row 0'.*the student's tokens differ from token \d+ on: ms-swift writes '.*', the"
    ):
        proof.proven_rows(collator(small), ROWS, template_of("qwen2_5"))
    with pytest.raises(OptionError, match=r"is not in training mode: template\.set_mode\(\"train\"\)"):
        proof.proven_rows(collator(small), ROWS, template_of(mode="transformers"))


# A tokenizer of the zoo, ms-swift's model and template for it, and what that is to be told.
REAL = {
    "qwen2_5": ("qwen2", "qwen2_5", {}),
    "qwen3": ("qwen3", "qwen3", {"enable_thinking": True}),
    "gemma3": ("gemma3_text", "gemma3_text", {}),
    "deepseek_v3": ("deepseek", "deepseek_v2_5", {}),
}
THINKING = assistant("<think>\nadd\n</think>\n\nIt is 4.")


@pytest.mark.parametrize("name", REAL)
def test_real_templates_write_the_same(name: str, zoo_tokenizer: Any, tmp_path: Any, say: Any) -> None:
    """Of rows with reasoning and without, in one turn and in two."""
    model_type, template_type, options = REAL[name]
    tokenizer = zoo_tokenizer(name)
    tokenizer.save_pretrained(tmp_path)
    config_of(model_type).save_pretrained(tmp_path)
    template = templates.get_template(
        models.get_processor(str(tmp_path), model_type=model_type), template_type=template_type, **options
    )
    template.set_mode("train")
    thinking = {"messages": [*FIRST[:1], QUESTION, THINKING], "teacher_messages": [*FIRST[:1], PRIVILEGED, THINKING]}
    both = {**ROWS[1], "loss_messages": [2, 4]}
    found = proof.proven_rows(collator(tokenizer), [*ROWS, both, thinking], template)
    assert len(found) == 4
    say(
        f"ms-swift {version('ms-swift')}, {template_type}: {len(found)} rows for {name}, all tokens and masks are equal"
    )


def config_of(model_type: str) -> Any:
    kinds = {"qwen2": Qwen2Config, "qwen3": Qwen3Config, "gemma3_text": Gemma3TextConfig, "deepseek": LlamaConfig}
    return kinds[model_type](architectures=["None"])


def test_another_version_is_refused_by_name(small: Any, template_of: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(proof, "GKDSample", type("GKDSample", (), {"__dataclass_fields__": {"messages": None}}))
    with pytest.raises(
        OptionError,
        match=r"GKDSample of ms-swift 4\S+ has no add_eos, response_loss_mask, response_token_ids, teacher_",
    ):
        proof.proven_rows(collator(small), ROWS, template_of())
