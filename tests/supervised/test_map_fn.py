"""``dataset.map(encoder.as_map_fn(…), batched=True)``: columns, the cache, processes, streaming, places of errors."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import CHATML, assistant, user
from chatspan import (
    ChatCollator,
    ChatEncoder,
    ChatspanError,
    EmptyRowError,
    Kind,
    OptionError,
    RowError,
    TruncationError,
)
from chatspan.supervised import map_fn as module
from conversations import schema
from transformers import AutoTokenizer
from zoo import EXAMPLES

datasets = pytest.importorskip("datasets", reason="datasets is not installed")
from datasets.fingerprint import Hasher  # noqa: E402

ROWS = [{"messages": [user(f"{i} + {i}?"), assistant(f"It is {2 * i}.")], "source": "sums"} for i in range(20)]


@pytest.fixture
def on_disk(tmp_path: Path) -> Any:
    """A data set that lies in files, so that what is made of it is kept beside them."""
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "rows")
    return datasets.load_from_disk(tmp_path / "rows")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call encoded."""
    found: list[int] = []
    encode = module.MapFn.__call__

    def counted(self: Any, batch: Any, indices: Any = None) -> Any:
        found.append(len(batch["messages"]))
        return encode(self, batch, indices)

    monkeypatch.setattr(module.MapFn, "__call__", counted)
    return found


def mapped(dataset: Any, function: Any, **options: Any) -> Any:
    return dataset.map(function, batched=True, remove_columns=["messages", "source"], **options)


def test_columns_are_what_the_collator_trains(small: Any, on_disk: Any) -> None:
    columns = ("input_ids", "labels", "attention_mask", "message_index", "kind")
    found = mapped(on_disk, ChatEncoder(small).as_map_fn(columns=columns))
    assert {name: found.features[name].feature.dtype for name in columns} == {
        "input_ids": "int32",  # `datasets` itself makes columns of these two names small
        "labels": "int64",
        "attention_mask": "int8",
        "message_index": "int32",
        "kind": "uint8",
    }
    batch = ChatCollator(small)(ROWS)
    for index, row in enumerate(found):
        seen = batch["attention_mask"][index] == 1
        assert row["input_ids"] == batch["input_ids"][index][seen].tolist()
        assert row["labels"] == batch["labels"][index][seen].tolist()
        assert row["attention_mask"] == [1] * len(row["labels"])
        encoding = ChatEncoder(small).encode(ROWS[index]["messages"])
        assert row["message_index"] == encoding.message_index.tolist()
        assert row["kind"] == encoding.kind.tolist()
    assert small.decode([label for label in found[7]["labels"] if label != -100]) == "It is 14.<|im_end|>"


def test_only_what_was_asked_for_comes_and_other_columns_stay(small: Any, on_disk: Any) -> None:
    found = on_disk.map(ChatEncoder(small).as_map_fn(), batched=True)
    assert found.column_names == ["messages", "source", "input_ids", "labels"]
    weighted = mapped(on_disk, ChatEncoder(small).as_map_fn(loss_on={Kind.CONTENT: 0.5, "user": 0}, columns=["labels"]))
    assert weighted.column_names == ["labels", "loss_weight"]
    assert weighted[0]["loss_weight"] == [0.5 * (label != -100) for label in weighted[0]["labels"]]


def test_a_second_run_is_read_from_the_cache(small: Any, on_disk: Any, calls: list[int]) -> None:
    encoder = ChatEncoder(small)
    first = mapped(on_disk, encoder.as_map_fn(), batch_size=8)
    assert calls == [8, 8, 4]
    # A function, an encoder and a tokenizer that know nothing of the first ones, and one that was in use.
    other = ChatEncoder(AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer"))
    small("padded", truncation=True, max_length=3)
    encoder.warm_up()
    for function in (encoder.as_map_fn(), other.as_map_fn(), pickle.loads(pickle.dumps(other.as_map_fn()))):
        again = mapped(on_disk, function, batch_size=8)
        assert again.cache_files == first.cache_files
        assert again[:] == first[:]
    assert calls == [8, 8, 4]


def test_what_changes_the_result_is_no_hit(small: Any, small_copy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ChatEncoder(small)
    small_copy.add_tokens(["Zürich"])
    hashes = {
        "plain": Hasher.hash(encoder.as_map_fn()),
        "content": Hasher.hash(encoder.as_map_fn(loss_on="content")),
        "kinds": Hasher.hash(encoder.as_map_fn(loss_on={Kind.CONTENT, Kind.TOOL_CALL})),
        "weights": Hasher.hash(encoder.as_map_fn(loss_on={"assistant": 1.0, Kind.CONTENT: 0.5})),
        # The last weight that fits counts.
        "weights in another order": Hasher.hash(encoder.as_map_fn(loss_on={Kind.CONTENT: 0.5, "assistant": 1.0})),
        "length": Hasher.hash(encoder.as_map_fn(max_length=9)),
        "columns": Hasher.hash(encoder.as_map_fn(columns=("labels",))),
        "template": Hasher.hash(ChatEncoder(small, chat_template=CHATML).as_map_fn()),
        "tokenizer": Hasher.hash(ChatEncoder(small_copy).as_map_fn()),
    }
    assert hashes["kinds"] == Hasher.hash(encoder.as_map_fn(loss_on=[Kind.TOOL_CALL, Kind.CONTENT]))
    monkeypatch.setattr("chatspan.supervised.map_fn.__version__", "0.0.0")
    hashes["version"] = Hasher.hash(encoder.as_map_fn())
    assert len(set(hashes.values())) == len(hashes)


def test_another_process_finds_the_same_fingerprint(small: Any) -> None:
    options = {"loss_on": {Kind.CONTENT, Kind.END_OF_TURN, Kind.TOOL_CALL}, "max_length": 50, "truncation": "left"}
    encoder = ChatEncoder(small)
    function = encoder.as_map_fn(**options)  # type: ignore[arg-type]
    here = [Hasher.hash(function)]
    function({"messages": [row["messages"] for row in ROWS]})
    encoder.warm_up()
    here.append(Hasher.hash(function))
    code = (
        "from datasets.fingerprint import Hasher; from transformers import AutoTokenizer\n"
        "from chatspan import ChatEncoder, Kind\n"
        f"encoder = ChatEncoder(AutoTokenizer.from_pretrained({str(EXAMPLES / 'tokenizer')!r}))\n"
        "kinds = {Kind.TOOL_CALL, Kind.END_OF_TURN, Kind.CONTENT}\n"
        "print(Hasher.hash(encoder.as_map_fn(loss_on=kinds, max_length=50, truncation='left')))"
    )
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert here == [there, there]


@pytest.mark.parametrize("name", ["llama3_2", "deepseek_v3", "mistral_nemo"])
def test_the_fingerprint_of_a_real_tokenizer_does_not_change_with_use(zoo_tokenizer: Any, name: str) -> None:
    tokenizer = zoo_tokenizer(name)
    function = ChatEncoder(tokenizer).as_map_fn()
    before = Hasher.hash(function)
    function({"messages": [row["messages"] for row in ROWS]})
    tokenizer("cut", truncation=True, max_length=1)
    assert Hasher.hash(function) == before


def test_two_processes_give_what_one_gives(small: Any, on_disk: Any) -> None:
    one = mapped(on_disk, ChatEncoder(small).as_map_fn())
    two = mapped(on_disk, ChatEncoder(small).as_map_fn(), num_proc=2, with_indices=True)
    assert len(two.cache_files) == 2
    assert two[:] == one[:]


def test_streaming_data_sets(small: Any, on_disk: Any) -> None:
    one = mapped(on_disk, ChatEncoder(small).as_map_fn())
    for options in ({}, {"with_indices": True}):
        streamed = list(mapped(on_disk.to_iterable_dataset(num_shards=2), ChatEncoder(small).as_map_fn(), **options))
        assert [{name: list(row[name]) for name in row} for row in streamed] == one.to_list()
        # Arrays come as they are, and torch wants labels of int64.
        assert torch.tensor(np.array(streamed[0]["labels"])).dtype == torch.int64


def test_tools_and_keywords_of_each_row(small: Any) -> None:
    rows = [{"messages": ROWS[0]["messages"], "tools": [schema(name)]} for name in ("rebook", "cancel")]
    found = datasets.Dataset.from_list(rows).map(ChatEncoder(small).as_map_fn(), batched=True)
    for row, name in zip(found, ("rebook", "cancel"), strict=True):
        assert f'"name": "{name}"' in small.decode(row["input_ids"])


BAD: dict[str, tuple[dict[str, Any], dict[str, Any], type[ChatspanError], str]] = {
    "no answer": ({"messages": [user("a")]}, {}, EmptyRowError, "it has no assistant message"),
    "too long": (
        {"messages": [user("a " * 60)]},
        {"max_length": 50},
        TruncationError,
        "tokens are more than max_length=50",
    ),
    "no messages": ({"messages": []}, {}, RowError, "its 'messages' must be a list with at least one message"),
    "no column": ({"text": "a"}, {}, RowError, "it has no conversation: .* got 'text'; .* A trainer removes"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named(small: Any, name: str) -> None:
    row, options, kind, message = BAD[name]
    rows = [row] if "text" in row else [*ROWS[:12], row]
    dataset = datasets.Dataset.from_list(rows)
    index = len(rows) - 1
    function = ChatEncoder(small).as_map_fn(**options)
    with pytest.raises(kind, match=f"^row {index}: .*{message}") as error:
        dataset.map(function, batched=True, batch_size=5, with_indices=True)
    assert error.value.row_index == index
    with pytest.raises(kind, match=rf"^row {index % 5} of a batch \(with_indices=True: of the data set\): .*{message}"):
        dataset.map(function, batched=True, batch_size=5)


def test_a_bad_row_of_another_process_is_named(small: Any) -> None:
    dataset = datasets.Dataset.from_list([*ROWS, {"messages": [user("a")], "source": ""}])
    with pytest.raises(EmptyRowError, match=r"^row 20: it has no assistant message"):
        mapped(dataset, ChatEncoder(small).as_map_fn(), num_proc=2, with_indices=True)


def test_rows_with_nothing_to_train_on_can_be_left_out(small: Any) -> None:
    dataset = datasets.Dataset.from_list([ROWS[0], {"messages": [user("a")], "source": ""}, ROWS[1]])
    found = mapped(dataset, ChatEncoder(small).as_map_fn(empty_rows="drop"))
    assert len(found) == 2


def test_what_cannot_be(small: Any, on_disk: Any) -> None:
    encoder = ChatEncoder(small)
    with pytest.raises(
        OptionError, match=r"this works on batches: dataset.map\(encoder.as_map_fn\(…\), batched=True\)"
    ):
        on_disk.map(encoder.as_map_fn())
    for columns in ((), ("ids",), "labels"):
        with pytest.raises(
            OptionError, match="expected some of 'input_ids', 'labels', 'attention_mask', 'message_index'"
        ):
            encoder.as_map_fn(columns=columns)
    with pytest.raises(OptionError, match="loss_on='turns'"):
        encoder.as_map_fn(loss_on="turns")  # type: ignore[arg-type]


def test_the_trainers_take_what_it_makes(small: Any, on_disk: Any, tmp_path: Any) -> None:
    """TRL's own collator and packing, and transformers' collators, on ids and labels that are there already."""
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    from training import model_of
    from transformers import DataCollatorForSeq2Seq

    encoded = mapped(on_disk, ChatEncoder(small).as_map_fn())
    batch = ChatCollator(small)(ROWS)
    padded = DataCollatorForSeq2Seq(small)(encoded.to_list())
    assert torch.equal(padded["labels"], batch["labels"])
    options: dict[str, Any] = {"report_to": "none", "use_cpu": True, "bf16": False, "disable_tqdm": True}
    config = trl.SFTConfig(output_dir=str(tmp_path), per_device_train_batch_size=20, **options)
    trainer = trl.SFTTrainer(model_of(small), config, train_dataset=encoded, processing_class=small)
    (found,) = trainer.get_train_dataloader()
    texts = [small.decode(labels[labels != -100]) for labels in found["labels"]]
    assert sorted(texts) == sorted(small.decode(labels[labels != -100]) for labels in batch["labels"])
