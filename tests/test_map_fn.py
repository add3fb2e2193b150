"""Rows through ``Dataset.map``: from the cache, with processes, streaming; and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
from chatspan import (
    ChatEncoder,
    EmptyRowError,
    OptionError,
)

USER = {"role": "user", "content": "Hi"}


def row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


ROWS = [row(f"What is {i}?", f"It is {i}. " * (1 + i % 3)) for i in range(8)]


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
