"""The same conversation trains the same tokens, whatever holds it: every entry point reads rows with one reader."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import chatspan
import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chatspan.ray.worker import EncoderSettings, RowEncoder
from chatspan.rows.sources import open_source
from chatspan.shards.plan import EncodePlan
from chatspan.shards.worker import ShardWorker, make_shard
from chatspan.supervised.options import SupervisedOptions
from hypothesis import given, settings
from hypothesis import strategies as st

# In a table each argument has one type, and the order of a struct's keys is the column's.
ARGUMENTS: dict[str, st.SearchStrategy[Any]] = {
    "city": st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6),
    "count": st.integers(-5, 10**12),
    "exact": st.booleans(),
    "price": st.floats(-2, 2, allow_nan=False),
    "tags": st.lists(st.sampled_from(["a", "b"]), max_size=2),
    "when": st.fixed_dictionaries({"day": st.sampled_from(["Mon", "Tue"])}),
}
_CALL = pa.struct(
    {
        "type": pa.string(),
        "function": pa.struct(
            {
                "name": pa.string(),
                "arguments": pa.struct(
                    {
                        "city": pa.string(),
                        "count": pa.int64(),
                        "exact": pa.bool_(),
                        "price": pa.float64(),
                        "tags": pa.list_(pa.string()),
                        "when": pa.struct({"day": pa.string()}),
                    }
                ),
            }
        ),
    }
)
_MESSAGE = pa.struct({"role": pa.string(), "content": pa.string(), "tool_calls": pa.list_(_CALL)})
SCHEMA = pa.schema({"messages": pa.list_(_MESSAGE)})
WORDS = st.sampled_from(["Hello", "2 + 2?", "Grüezi", "{not json", "user", " spaced ", "[]"])


@dataclasses.dataclass
class Row:
    """A row as people's own code has it."""

    messages: Any


def some_arguments() -> st.SearchStrategy[dict[str, Any]]:
    """Some of the arguments, in the order of the table."""
    return (
        st.sets(st.sampled_from(sorted(ARGUMENTS)), min_size=1)
        .flatmap(lambda names: st.fixed_dictionaries({name: ARGUMENTS[name] for name in names}))
        .map(lambda found: {name: found[name] for name in sorted(found)})
    )


def call(arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "find", "arguments": arguments}}


ANSWERS = st.builds(lambda text: {"role": "assistant", "content": text}, WORDS)
CALLS = st.builds(
    lambda text, calls: {"role": "assistant", "content": text, "tool_calls": [call(each) for each in calls]},
    st.one_of(st.just(""), WORDS),
    st.lists(some_arguments(), min_size=1, max_size=2),
)
TURNS = st.builds(
    lambda text, turns: [{"role": "user", "content": text}, *turns],
    WORDS,
    st.lists(st.one_of(ANSWERS, CALLS, CALLS.map(lambda m: m)), min_size=1, max_size=3),
)


def joined(parts: list[list[Any]]) -> list[Any]:
    return [message for part in parts for message in part]


CONVERSATIONS = st.lists(
    st.lists(TURNS, min_size=1, max_size=2).map(joined),
    min_size=1,
    max_size=3,
)


def labels_of_collator(tokenizer: Any, rows: Any, **options: Any) -> list[list[int]]:
    collate = chatspan.ChatCollator(tokenizer, **options)
    return [collate([row])["labels"][0].tolist() for row in rows]


def labels_of_map(tokenizer: Any, dataset: Any) -> list[list[int]]:
    encoded = dataset.map(chatspan.ChatEncoder(tokenizer).as_map_fn(), batched=True, remove_columns=["messages"])
    return [list(row["labels"]) for row in encoded]


def labels_of_file(tokenizer: Any, file: Path) -> list[list[int]]:
    """As ``chatspan encode`` writes them."""
    worker = ShardWorker(EncodePlan(source=str(file), tokenizer=""), file.parent, chatspan.ChatEncoder(tokenizer))
    shard = make_shard(worker, list(open_source(str(file)).rows()))
    assert shard.rejects == b""
    return pq.read_table(pa.BufferReader(shard.table))["labels"].to_pylist()


def labels_of_ray(tokenizer: Any, table: pa.Table) -> list[list[int]]:
    """As Ray's workers make them, without a cluster."""
    made = EncoderSettings(
        tokenizer=tokenizer,
        chat_template=None,
        backend="auto",
        boundaries="as_rendered",
        options=SupervisedOptions(),
        on_error="raise",
    )
    indexed = table.append_column("row_index", pa.array(range(table.num_rows), pa.int64()))
    return RowEncoder(made)(indexed)["labels"].to_pylist()


def all_labels(tokenizer: Any, conversations: list[Any]) -> dict[str, list[list[int]]]:
    rows = [{"messages": messages} for messages in conversations]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    dataset = datasets.Dataset(table)
    with tempfile.TemporaryDirectory() as folder:
        lines, parquet = Path(folder) / "rows.jsonl", Path(folder) / "rows.parquet"
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        pq.write_table(table, parquet)
        frame = pd.read_parquet(parquet, dtype_backend="pyarrow")
        numpy_frame = pd.read_parquet(parquet)
        if any_whole_number_is_missing(conversations):
            # Beside nulls, pandas' own types have fractions for whole numbers: 3.0 for 3.
            numpy_frame = frame
        wire = [{"messages": [with_text_arguments(message) for message in row["messages"]]} for row in rows]
        return {
            "dicts": labels_of_collator(tokenizer, rows),
            "OpenAI's wire format": labels_of_collator(tokenizer, wire),
            "dataclasses": labels_of_collator(tokenizer, [Row(messages) for messages in conversations]),
            "rows of pandas": labels_of_collator(tokenizer, [frame.iloc[index] for index in range(len(frame))]),
            "dicts of pandas": labels_of_collator(
                tokenizer, [numpy_frame.iloc[index].to_dict() for index in range(len(frame))]
            ),
            "named tuples of pandas": labels_of_collator(tokenizer, list(numpy_frame.itertuples(index=False))),
            "rows of datasets": labels_of_collator(tokenizer, dataset),
            "rows of Arrow": labels_of_collator(tokenizer, table.to_struct_array().combine_chunks()),
            "JSON text": labels_of_collator(tokenizer, [{"messages": json.dumps(each)} for each in conversations]),
            "Dataset.map": labels_of_map(tokenizer, dataset),
            "JSON lines": labels_of_file(tokenizer, lines),
            "Parquet": labels_of_file(tokenizer, parquet),
            "Ray": labels_of_ray(tokenizer, table),
        }


def any_whole_number_is_missing(conversations: list[Any]) -> bool:
    """Whether some calls have the argument that is a whole number, and others lack it."""
    calls = [each for messages in conversations for message in messages for each in message.get("tool_calls", ())]
    return len({"count" in each["function"]["arguments"] for each in calls}) > 1


def with_text_arguments(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    return (
        message
        if not calls
        else {**message, "tool_calls": [call(json.dumps(each["function"]["arguments"])) for each in calls]}
    )


@settings(max_examples=15, deadline=None)
@given(conversations=CONVERSATIONS)
def test_the_same_conversation_trains_the_same_tokens_whatever_holds_it(small: Any, conversations: list[Any]) -> None:
    found = all_labels(small, conversations)
    for messages, labels in zip(conversations, found["dicts"], strict=True):
        # Judged by transformers: what is trained are tokens of its own render, in their places.
        ids = small.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
        assert [label for label in labels if label != -100]
        assert all(label in (-100, own) for label, own in zip(labels, ids, strict=True))
        trained = small.decode([label for label in labels if label != -100])
        for message in messages:
            for each in message.get("tool_calls", ()):
                assert json.dumps(each["function"]["arguments"], ensure_ascii=False) in trained
    assert {name: labels == found["dicts"] for name, labels in found.items()} == dict.fromkeys(found, True)


NULLED = [
    {"role": "user", "content": "Find it."},
    {"role": "assistant", "content": "", "tool_calls": [call({"city": "Bern", "train": None})]},
]
OTHER = [
    {"role": "user", "content": "Find it."},
    {"role": "assistant", "content": "", "tool_calls": [call({"day": "Mon"})]},
]


def trained(tokenizer: Any, row: Any, **options: Any) -> str:
    labels = chatspan.ChatCollator(tokenizer, **options)([row])["labels"]
    return str(tokenizer.decode(labels[labels != -100]))


def test_a_null_that_is_meant_stays_and_one_of_a_table_goes(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    meant, table_like = '{"city": "Bern", "train": null}', '{"city": "Bern"}'
    assert meant in trained(small, {"messages": NULLED})
    assert meant in trained(small, {"messages": json.dumps(NULLED)})
    as_text = [NULLED[0], {**NULLED[1], "tool_calls": [call(json.dumps({"city": "Bern", "train": None}))]}]
    rows = datasets.Dataset.from_list([{"messages": as_text}, {"messages": as_text}])
    assert meant in trained(small, rows[0])
    as_json = datasets.Features({"messages": datasets.List(datasets.Json())})
    kept = datasets.Dataset.from_list([{"messages": NULLED}, {"messages": OTHER}], features=as_json)
    assert meant in trained(small, kept[0])
    assert labels_of_map(small, kept)[0] == labels_of_collator(small, [{"messages": NULLED}])[0]
    assert not caplog.records or "nulls" not in caplog.text

    undecidable = datasets.Dataset.from_list([{"messages": NULLED}, {"messages": OTHER}])
    assert set(undecidable[0]["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"city", "train", "day"}
    caplog.clear()
    collate = chatspan.ChatCollator(small)
    for row in (undecidable[0], undecidable[1], undecidable[0]):
        labels = collate([row])["labels"]
    assert table_like in str(small.decode(labels[labels != -100]))
    told = [record.getMessage() for record in caplog.records if "nulls that a table" in record.getMessage()]
    assert len(told) == 1
    assert told[0].endswith("first in row 0 of the batch, messages[1].tool_calls[0].function.arguments.train")


def test_a_parquet_file_of_json_columns_is_read_with_its_nulls(small: Any, tmp_path: Path) -> None:
    as_json = datasets.Features({"messages": datasets.List(datasets.Json())})
    kept = datasets.Dataset.from_list([{"messages": NULLED}, {"messages": OTHER}], features=as_json)
    kept.to_parquet(str(tmp_path / "rows.parquet"))
    first, second = labels_of_file(small, tmp_path / "rows.parquet")
    assert '{"city": "Bern", "train": null}' in small.decode([label for label in first if label != -100])
    assert '{"day": "Mon"}' in small.decode([label for label in second if label != -100])
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    assert isinstance(frame.iloc[0]["messages"], np.ndarray)
    assert labels_of_collator(small, [frame.iloc[0]])[0] == first
