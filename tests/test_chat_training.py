"""``ChatCollator`` in real trainers and packed, and rows through ``Dataset.map``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from chatspan import (
    ChatCollator,
    ChatEncoder,
    EmptyRowError,
    OptionError,
    RowError,
)
from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer, TrainingArguments

USER = {"role": "user", "content": "Hi"}


def row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


ROWS = [row(f"What is {i}?", f"It is {i}. " * (1 + i % 3)) for i in range(8)]


def tiny(vocabulary: int) -> Any:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.2,
        )
    )


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_rows_are_the_rows_by_themselves(small: Any, attention: str) -> None:
    model = tiny(len(small)).eval()
    model.set_attn_implementation(attention)
    packed = ChatCollator(small, packing=True)(ROWS[:4])
    assert "attention_mask" not in packed
    assert packed["cu_seq_lens_q"].dtype == torch.int32
    with torch.no_grad():
        together = model(**packed).logits[0]
        for index, (start, end) in enumerate(
            zip(packed["cu_seq_lens_q"][:-1].tolist(), packed["cu_seq_lens_q"][1:].tolist(), strict=True)
        ):
            alone = ChatCollator(small)([ROWS[index]])
            assert packed["input_ids"][0, start:end].tolist() == alone["input_ids"][0].tolist()
            assert packed["labels"][0, start:end].tolist() == alone["labels"][0].tolist()
            assert torch.allclose(together[start:end], model(**alone).logits[0], atol=1e-4)


def losses(trainer: Any) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def options(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "max_steps": 12,
        "learning_rate": 1e-2,
        "report_to": "none",
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
    }


@pytest.mark.parametrize("packing", [False, True])
def test_trainers_learn(small: Any, tmp_path: Path, packing: bool) -> None:
    from trl import SFTConfig, SFTTrainer

    data = datasets.Dataset.from_list(ROWS)
    collate = ChatCollator(small, packing=packing)
    common = {"model": tiny(len(small)), "train_dataset": data, "data_collator": collate}
    arguments = TrainingArguments(**options(tmp_path), remove_unused_columns=False)
    plain = losses(Trainer(**common, args=arguments))
    common["model"] = tiny(len(small))
    config = SFTConfig(
        **options(tmp_path), bf16=False, remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True}
    )
    sft = losses(SFTTrainer(**common, args=config, processing_class=small))
    for found in (plain, sft):
        assert np.isfinite(found).all()
        assert found[-1] < 0.7 * found[0]
    assert plain[0] == pytest.approx(sft[0], rel=0.05)


def test_columns_that_a_trainer_took_away_are_said(small: Any, tmp_path: Path) -> None:
    data = datasets.Dataset.from_list([{**each, "input_ids": [1]} for each in ROWS])
    arguments = TrainingArguments(**options(tmp_path))
    trainer = Trainer(model=tiny(len(small)), train_dataset=data, data_collator=ChatCollator(small), args=arguments)
    with pytest.raises(RowError, match="remove_unused_columns=False"):
        trainer.train()


@pytest.fixture
def data(tmp_path: Path) -> Any:
    path = tmp_path / "rows.jsonl"
    datasets.Dataset.from_list(ROWS).to_json(str(path))
    return datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))


def test_a_second_map_comes_from_the_cache(small: Any, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ChatEncoder(small)
    first = data.map(encoder.as_map_fn(), batched=True, remove_columns=data.column_names)
    encoder.encode(ROWS[0]["messages"])

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("it was not taken from the cache")

    monkeypatch.setattr("chatspan.map_fn.supervised_rows", fail)
    again = data.map(ChatEncoder(small).as_map_fn(), batched=True, remove_columns=data.column_names)
    assert again._fingerprint == first._fingerprint
    with pytest.raises(AssertionError, match="not taken from the cache"):
        data.map(encoder.as_map_fn(loss_on="content"), batched=True, remove_columns=data.column_names)


def test_map_with_processes_and_streaming(small: Any, data: Any) -> None:
    function = ChatEncoder(small).as_map_fn(columns=("input_ids", "labels", "attention_mask", "kind"))
    mapped = data.map(function, batched=True, remove_columns=data.column_names, num_proc=2)
    streamed = list(data.to_iterable_dataset().map(function, batched=True, remove_columns=data.column_names))
    for index, each in enumerate(ROWS):
        encoding = ChatEncoder(small).encode(each["messages"])
        for found in (mapped[index], streamed[index]):
            assert list(found["input_ids"]) == encoding.input_ids.tolist()
            assert list(found["labels"]) == encoding.labels().tolist()
            assert list(found["kind"]) == encoding.kind.tolist()


def test_map_says_which_row_is_bad(small: Any) -> None:
    rows = datasets.Dataset.from_list([ROWS[0], {"messages": [USER]}])
    function = ChatEncoder(small).as_map_fn()
    with pytest.raises(EmptyRowError, match="row 1: it has no assistant's message"):
        rows.map(function, batched=True, with_indices=True, remove_columns=rows.column_names)
    with pytest.raises(OptionError, match="batched=True"):
        rows.map(function)
