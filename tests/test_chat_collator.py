"""The collator of supervised fine-tuning, and rows through ``Dataset.map``: what is trained, read as text."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from chatspan import (
    ChatCollator,
    ChatEncoder,
    EmptyBatchError,
    EmptyRowError,
    Kind,
    OptionError,
    RowError,
    TruncationError,
    pack_dataset,
)
from conversations import CONVERSATIONS
from torch.utils.data import DataLoader
from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer, TrainingArguments

USER = {"role": "user", "content": "Hi"}


def row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


ROWS = [row(f"What is {i}?", f"It is {i}. " * (1 + i % 3)) for i in range(8)]


def trained(tokenizer: Any, batch: dict[str, Any], index: int = 0) -> str:
    labels = batch["labels"][index]
    return str(tokenizer.decode(labels[labels != -100]))


@pytest.mark.parametrize("name", sorted(set(CONVERSATIONS) - {"prompt", "prompt after tool"}))
@pytest.mark.parametrize("loss_on", ["turn", "content", {Kind.CONTENT, Kind.TOOL_CALL}])
def test_labels_are_the_mask_of_the_encoding(small: Any, name: str, loss_on: Any) -> None:
    messages, kwargs = CONVERSATIONS[name]
    if set(kwargs) - {"tools"}:
        pytest.skip("keywords that a row does not have")
    encoding = ChatEncoder(small).encode(messages, **kwargs)
    mask = encoding.mask(what=loss_on)
    if not mask.any():
        pytest.skip("nothing to train on")
    batch = ChatCollator(small, loss_on=loss_on)([{"messages": messages, **kwargs}])
    assert batch["input_ids"][0].tolist() == encoding.input_ids.tolist()
    assert batch["labels"][0].tolist() == np.where(mask, encoding.input_ids, -100).tolist()


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_are_padded_by_their_lengths(small: Any, side: Any) -> None:
    batch = ChatCollator(small, padding_side=side, pad_to_multiple_of=16)(ROWS[:3])
    assert batch["input_ids"].shape[1] % 16 == 0
    assert {key: value.dtype for key, value in batch.items()} == dict.fromkeys(batch, torch.int64)
    for index in range(3):
        seen = batch["attention_mask"][index] == 1
        alone = ChatCollator(small)([ROWS[index]])
        assert batch["input_ids"][index][seen].tolist() == alone["input_ids"][0].tolist()
        assert batch["labels"][index][seen].tolist() == alone["labels"][0].tolist()
        assert set(batch["labels"][index][~seen].tolist()) <= {-100}
        assert trained(small, batch, index) == ROWS[index]["messages"][1]["content"] + "<|im_end|>"


def test_of_a_completion_only_the_completion_is_trained(small: Any) -> None:
    prompt = [USER, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Bye"}]
    rows = {"prompt": prompt, "completion": [{"role": "assistant", "content": "See you."}]}
    assert trained(small, ChatCollator(small)([rows])) == "See you.<|im_end|>"
    chosen = {"messages": [*prompt, *rows["completion"]], "loss_messages": [1]}
    assert trained(small, ChatCollator(small)([chosen])) == "Hello!<|im_end|>"


def test_weights(small: Any) -> None:
    batch = ChatCollator(small, loss_on={"assistant": 1.0, Kind.END_OF_TURN: 0.25})([ROWS[0]])
    weights, labels = batch["loss_weight"][0], batch["labels"][0]
    assert weights.dtype == torch.float32
    assert small.decode(labels[weights == 0.25]) == "<|im_end|><|im_end|>"
    assert set(weights[labels == -100].tolist()) == {0.0}


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


def test_a_packed_data_set(small: Any) -> None:
    collate = ChatCollator(small, packing=True)
    groups = pack_dataset(ROWS, max_length=60, collator=collate)
    assert sorted(index["messages"][0]["content"] for group in groups for index in group) == sorted(
        each["messages"][0]["content"] for each in ROWS
    )
    assert max(collate([group])["input_ids"].shape[1] for group in groups) <= 60


def test_rows_that_cannot_be_trained_are_said(small: Any) -> None:
    collate = ChatCollator(small, max_length=12)
    with pytest.raises(TruncationError, match=r"^row 1 of the batch: \d+ tokens are more than max_length=12"):
        collate([row("?", "!"), row("word " * 30, "x")])
    with pytest.raises(EmptyRowError, match="row 0 of the batch: nothing that the loss is on is left of its"):
        ChatCollator(small, max_length=12, truncation="right")([row("word " * 30, "x")])
    with pytest.raises(EmptyRowError, match="row 1 of the batch: it has no assistant's message"):
        ChatCollator(small)([ROWS[0], {"messages": [USER]}])
    with pytest.raises(RowError, match="remove_unused_columns=False"):
        ChatCollator(small)([{"input_ids": [1], "labels": [1]}])
    with pytest.raises(OptionError, match="truncation='middle'"):
        ChatCollator(small, truncation="middle")  # type: ignore[arg-type]


def test_rows_without_a_loss_can_be_left_out(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    collate = ChatCollator(small, empty_rows="drop")
    batch = collate([ROWS[0], {"messages": [USER]}])
    assert batch["input_ids"].shape[0] == 1
    assert collate.dropped_rows == 1
    assert "row 1 of the batch is left out: it has no assistant's message" in caplog.text
    with pytest.raises(EmptyBatchError, match="none of 1 rows"):
        collate([{"messages": [USER]}])
    assert not collate.has_signal({"messages": [USER]})


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_in_the_workers_of_a_data_loader(small: Any, context: str) -> None:
    collate = ChatCollator(small)
    workers: Any = DataLoader(
        ROWS,  # type: ignore[arg-type]
        batch_size=4,
        num_workers=1,
        collate_fn=collate,
        multiprocessing_context=context,
    )
    texts = [trained(small, batch, index) for batch in workers for index in range(4)]
    assert texts == [each["messages"][1]["content"] + "<|im_end|>" for each in ROWS]
    assert trained(small, pickle.loads(pickle.dumps(collate))(ROWS)) == texts[0]


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
