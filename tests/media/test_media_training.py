"""Real training steps on media: TRL's ``SFTTrainer`` and :class:`chatspan.trainer.SelfDistillationTrainer`."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip(
    "torchvision", reason="transformers' image processors need torchvision: pip install chatspan[media]"
)
pytest.importorskip("PIL", reason="images need pillow: pip install chatspan[media]")
pytest.importorskip("datasets", reason="needs datasets", exc_type=ImportError)
pytest.importorskip("trl", reason="needs trl", exc_type=ImportError)

import datasets
import torch
import trl
from chats import said
from chatspan import ChatCollator, SelfDistillationCollator
from chatspan.loss import model_inputs, sdpo_loss
from chatspan.trainer import SelfDistillationTrainer
from processors import image, medium, processor_of
from tiny_models import tiny
from training import QUIET, UNPREPARED
from transformers import TrainingArguments

# One step of all rows.
ONE = {**QUIET, "max_steps": 1}


@pytest.fixture(scope="module")
def qwen() -> Any:
    return processor_of("Qwen2_5_VLProcessor")


class Seen:
    """A collator that keeps its batches."""

    def __init__(self, collate: Any) -> None:
        self.collate, self.batches = collate, []

    def __call__(self, rows: Any) -> Any:
        self.batches.append(self.collate(rows))
        return self.batches[-1]


def test_a_step_of_trls_sft_trainer(qwen: Any, tmp_path: Any) -> None:
    """On a data set as people have it: texts, and images in a column."""
    rows = {
        "messages": [
            [{"role": "user", "content": f"{word} is it?"}, {"role": "assistant", "content": f"A {answer}."}]
            for word, answer in (("What", "cat"), ("Who", "dog"))
        ],
        "images": [[image(64, 64)], [image(150, 100)]],
    }
    dataset = datasets.Dataset.from_dict(rows).cast_column("images", datasets.Sequence(datasets.Image()))
    model, collate = tiny("qwen2_5_vl", qwen), Seen(ChatCollator(qwen))
    config = trl.SFTConfig(str(tmp_path), remove_unused_columns=False, **UNPREPARED, **ONE)
    trainer = trl.SFTTrainer(model, config, collate, train_dataset=dataset, processing_class=qwen)
    before = {name: each.clone() for name, each in model.named_parameters()}
    trainer.train()
    [batch] = collate.batches
    assert sorted(qwen.tokenizer.decode(row[row != -100]) for row in batch["labels"]) == [
        "A cat.<|im_end|>",
        "A dog.<|im_end|>",
    ]
    assert sorted(batch["image_grid_thw"].tolist()) == [[1, 4, 4], [1, 8, 10]]
    fresh = tiny("qwen2_5_vl", qwen)
    with torch.no_grad():
        logits = fresh(**{name: value for name, value in batch.items() if name != "labels"}).logits
    wanted = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    assert trainer.state.log_history[0]["loss"] == pytest.approx(wanted.item(), abs=2e-4)
    # The images take part: what reads them has moved.
    assert any(not torch.equal(each, before[name]) for name, each in model.named_parameters() if "visual" in name)


@pytest.mark.parametrize("logits", ["hidden", "all"])
def test_a_step_of_self_distillation(qwen: Any, tmp_path: Any, logits: Any) -> None:
    question, answer = said("user", medium("image", 3), "What is it?"), said("assistant", "A cat.")
    more = said("user", medium("image", 3), "What is it? It is like this:", medium("image", 0))
    rows = [
        {"messages": [question, answer], "teacher_messages": [more, answer]},
        {"messages": [question, answer], "teacher_messages": [said("user", medium("image", 3), "A cat?"), answer]},
    ]
    model, collate = tiny("qwen2_5_vl", qwen), Seen(SelfDistillationCollator(qwen))
    trainer = SelfDistillationTrainer(
        model, TrainingArguments(str(tmp_path), **ONE), collate, train_dataset=rows, logits=logits
    )
    trainer.train()
    [batch] = collate.batches
    at = batch["student_response_idx"]
    assert [qwen.tokenizer.decode(ids[row]) for ids, row in zip(batch["input_ids"], at, strict=True)] == ["A cat."] * 2
    fresh = tiny("qwen2_5_vl", qwen).eval()
    with torch.no_grad():
        student, teacher = (fresh(**model_inputs(batch, fresh, side)).logits for side in ("student", "teacher"))  # type: ignore[arg-type]
    wanted = sdpo_loss(student, teacher, batch)
    assert trainer.state.log_history[0]["loss"] == pytest.approx(wanted.item(), abs=1e-6)
