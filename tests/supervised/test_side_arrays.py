"""Side arrays in batches of supervised fine-tuning: each number at its own token, and rows as sampled."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import chatspan
import datasets
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import torch
from cases import assistant, user
from chatspan import ChatCollator, ChatEncoder, Kind, OptionError, RolloutError, RowError, SampledRow
from chatspan.trl import GKDCollator
from hypothesis import given
from marked import Marks, recorded
from slow_side_arrays import slow_batch, slow_cut, slow_row

TURNS = [(user("2 + 2?"), "It is 5."), (user("Sure?"), "Sorry: 4")]
ROUTED = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)


@pytest.fixture
def marks(small: Any) -> Marks:
    return Marks(small)


def trained(tokenizer: Any, batch: Any, row: int = 0) -> str:
    return str(tokenizer.decode(batch["labels"][row][batch["labels"][row] != -100]))


def test_messages_and_rows_as_sampled_have_their_numbers_at_their_tokens(small: Any, marks: Marks) -> None:
    rollout = marks.rollout(ChatEncoder(small), TURNS)
    other = marks.rollout(ChatEncoder(small), TURNS[:1])
    rows = [rollout, other.rows(), other.rows()[0], {"messages": recorded(rollout)}]
    batch = ChatCollator(small, per_token=("logprobs",))(rows)
    said = ["It is 5.<|im_end|>Sorry: 4<|im_end|>", "It is 5.<|im_end|>"]
    expected = [said[0], said[1], said[1], said[0]]
    assert [trained(small, batch, row) for row in range(4)] == expected
    assert [marks.said(numbers.tolist()) for numbers in batch["logprobs"]] == expected
    for ids, numbers in zip(batch["input_ids"], batch["logprobs"], strict=True):
        marks.require_own(ids, numbers)
    assert batch["logprobs"].dtype == torch.float32
    # Each number but of trained tokens is 0.
    assert not batch["logprobs"][batch["labels"] == -100].any()


def test_a_batch_without_names_has_no_side_arrays_and_the_template_sees_none_of_those_named(small: Any) -> None:
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.keys() | list }}{{ m.content }}<|im_end|>\n"
    template += "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    row = {"messages": [user("Hi"), assistant("Ho", token_ids=None, logprobs=None)]}
    assert sorted(ChatCollator(small)([row])) == ["attention_mask", "input_ids", "labels"]
    ids = small("['role', 'content']Ho<|im_end|>")["input_ids"]
    row = {"messages": [user("Hi"), assistant("Ho", token_ids=ids, logprobs=[0.5] * len(ids))]}
    batch = ChatCollator(small, chat_template=template, per_token=("logprobs",))([row])
    assert trained(small, batch) == "['role', 'content']Ho<|im_end|>"
    assert batch["logprobs"].sum() == 0.5 * len(ids)


def as_json(row: Any) -> Any:
    return json.loads(json.dumps(row))


def of_datasets(row: Any) -> Any:
    return datasets.Dataset.from_list([row])[0]


def of_pandas(row: Any) -> Any:
    return next(pd.DataFrame([row]).itertuples())


FORMS: dict[str, Callable[[Any], Any]] = {
    "JSON": as_json,
    "datasets": of_datasets,
    "pandas": of_pandas,
    "JSON text": lambda row: {"messages": json.dumps(row["messages"])},
    "prompt and completion": lambda row: {"prompt": row["messages"][:1], "completion": row["messages"][1:]},
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_every_form(small: Any, marks: Marks, form: str) -> None:
    row = {"messages": [user("Hi"), assistant("Ho", **marks.sampled("Ho"))]}
    batch = ChatCollator(small, per_token=("logprobs",))([FORMS[form](row)])
    assert marks.said(batch["logprobs"][0].tolist()) == trained(small, batch) == "Ho<|im_end|>"


DTYPES: list[tuple[Any, torch.dtype]] = [
    ([1, 2, 3, 4], torch.int64),
    ([0.5, 1, 2, 3], torch.float32),
    ([True, False, True, True], torch.bool),
    (np.arange(4, dtype=np.int32), torch.int32),
    (np.arange(4, dtype=np.uint16), torch.int32),
    (np.arange(4, dtype=">f8"), torch.float32),
    (np.arange(4, dtype=np.float16), torch.float16),
    (torch.arange(4, dtype=torch.int16), torch.int16),
    (torch.arange(4, dtype=torch.bfloat16, requires_grad=True), torch.float32),
    (ROUTED, torch.uint8),
    (ROUTED.tolist(), torch.int64),
]


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize(("values", "dtype"), DTYPES, ids=str)
def test_shapes_and_types_are_kept(small: Any, values: Any, dtype: torch.dtype, packing: bool) -> None:
    ids = small("abc", add_special_tokens=False)["input_ids"][:1] * 3 + small("<|im_end|>")["input_ids"]
    said = small.decode(ids[:3])
    # A row of which nothing was sampled has zeros.
    rows = [
        {"messages": [user("Hi"), assistant(said, token_ids=ids, extra=values)]},
        {"messages": [user("?"), assistant("!")]},
    ]
    batch = ChatCollator(small, per_token=["extra"], packing=packing)(rows)
    extra = batch["extra"]
    plain = values.detach().float().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    assert extra.dtype == dtype
    assert extra.shape == (*batch["input_ids"].shape, *plain.shape[1:])
    at = np.flatnonzero(np.asarray(batch["labels"][0]) != -100)[:4]
    assert extra[0, at].tolist() == plain.astype(float).tolist()
    assert extra.sum() == plain.sum()


TEXTS = st.text("ab 4.é🚆", min_size=1, max_size=6).filter(lambda text: text == text.strip())
CHATS = st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), min_size=1, max_size=3)


@given(
    chats=st.lists(CHATS, min_size=1, max_size=4),
    max_length=st.none() | st.integers(1, 40),
    truncation=st.sampled_from(["left", "right"]),
    side=st.sampled_from(["left", "right"]),
    multiple=st.none() | st.integers(1, 16),
    packing=st.booleans(),
    as_sampled=st.booleans(),
)
def test_splice_cut_pad_and_pack_are_the_slow_twins(
    small: Any,
    chats: list[list[tuple[str, str, bool]]],
    max_length: int | None,
    truncation: Any,
    side: Any,
    multiple: int | None,
    packing: bool,
    as_sampled: bool,
) -> None:
    marks = Marks(small)
    conversations = []
    for chat in chats:
        messages = []
        for question, answer, is_marked in chat:
            sampled = marks.sampled(answer)
            sampled["numbers"] = sampled.pop("logprobs")
            if not is_marked and messages:
                del sampled["numbers"]
            messages += [user(question), assistant(answer, **sampled)]
        conversations.append(messages)
    rows: list[Any] = [{"messages": messages} for messages in conversations]
    slow = [slow_row(small, messages) for messages in conversations]
    if as_sampled:
        rows = [ChatEncoder(small).sampled_rows(messages, per_token=["numbers"]) for messages in conversations]
        # A row as sampled ends with its last turn.
        slow = [row[:-1] for row in slow]
    slow = [row for row in (slow_cut(row, max_length, truncation) for row in slow) if any(t[1] != -100 for t in row)]
    collate = ChatCollator(
        small,
        per_token=("numbers",),
        max_length=max_length,
        truncation=truncation if max_length else "error",
        packing=packing,
        padding_side=side,
        pad_to_multiple_of=None if packing else multiple,
        empty_rows="drop",
    )
    if not slow:
        with pytest.raises(chatspan.EmptyBatchError):
            collate(rows)
        return
    batch = collate(rows)
    expected = slow_batch(slow, small.pad_token_id, side, multiple, packing=packing)
    for name, at in (("input_ids", 0), ("labels", 1), ("numbers", 2)):
        assert batch[name].tolist() == [[token[at] for token in row] for row in expected]


def test_a_data_set_is_mapped_with_its_side_arrays(small: Any, marks: Marks) -> None:
    encoder = ChatEncoder(small)
    rows = [
        {"messages": [user("Hi"), assistant("Ho", **marks.sampled("Ho"))]},
        {"messages": [user("Hi"), assistant("Plain")]},
    ]
    for row in rows[:1]:
        count = len(row["messages"][1]["token_ids"])
        row["messages"][1]["routed"] = np.arange(count * 6).reshape(count, 2, 3).tolist()
    dataset = datasets.Dataset.from_list(rows)
    names = ("logprobs", "routed")
    encode = encoder.as_map_fn(per_token=names)
    found = dataset.map(encode, batched=True, remove_columns=dataset.column_names)
    assert found.column_names == ["input_ids", "labels", *names]
    assert marks.said(found[0]["logprobs"]) == "Ho<|im_end|>"
    marks.require_own(found[0]["input_ids"], found[0]["logprobs"])
    assert np.asarray(found[0]["routed"]).shape == (len(found[0]["input_ids"]), 2, 3)
    assert not np.any(found[1]["routed"])
    assert pickle.loads(pickle.dumps(encode))(dataset[:1])["logprobs"][0].tolist() == found[0]["logprobs"]


def rows_of(tokenizer: Any) -> list[SampledRow]:
    return Marks(tokenizer).rollout(ChatEncoder(tokenizer), TURNS).rows()


def test_turns_of_a_row_as_sampled_can_be_selected(small: Any) -> None:
    [row] = rows_of(small)
    assert trained(small, ChatCollator(small, train_on="last")([row])) == "Sorry: 4<|im_end|>"
    assert trained(small, ChatCollator(small, train_on=["assistant"])([row])).startswith("It is 5.")
    first = {"sampled": row, "loss_messages": [1], "trace_id": "t"}
    assert trained(small, ChatCollator(small)([first])) == "It is 5.<|im_end|>"
    with pytest.raises(chatspan.EmptyRowError, match=r"trace 't': none of its turns is selected"):
        ChatCollator(small, train_on="last")([first])
    weights = ChatCollator(small, loss_weight=True)([first])["loss_weight"]
    assert small.decode(ChatCollator(small)([row])["input_ids"][0][weights[0] == 1]) == "It is 5.<|im_end|>"
    assert ChatCollator(small).has_signal(row)
    assert ChatCollator(small).lengths([row, first]) == [len(row), len(row)]
    assert "sampled: 'It is 5.<|im_end|>'" in ChatCollator(small).explain(row)


def test_turns_off_their_prompt_follow_the_policy(small: Any) -> None:
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    template += "{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}"
    [row] = ChatEncoder(small, chat_template=template).sampled_rows([user("Hi"), assistant("Ho")])
    assert trained(small, ChatCollator(small)([row])) == "Ho<|im_end|>"
    with pytest.raises(chatspan.OffPromptError, match="row 0 of the batch: message 1"):
        ChatCollator(small, off_prompt="error")([row])
    with pytest.raises(chatspan.EmptyRowError):
        ChatCollator(small, off_prompt="drop_turn")([row])


NO_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"loss_on": "content"}, "loss_on='content' does not work for a row as sampled"),
    ({"loss_on": {Kind.CONTENT}}, "loss_on="),
    ({"loss_on": {"assistant": 1.0}}, "loss_on="),
    ({"end_of_turn": "none"}, "end_of_turn='none' does not work"),
    ({"special_tokens": "escape"}, "special_tokens='escape' does not work"),
    ({"train_on": ["user"]}, r"train_on=\['user'\] does not work"),
]


@pytest.mark.parametrize(("options", "words"), NO_OPTIONS)
def test_options_that_cannot_be_for_rows_as_sampled_say_so(small: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=f"row 1 of the batch: {words}"):
        ChatCollator(small, **options)([{"messages": [user("Hi"), assistant("Ho")]}, *rows_of(small)])


def sampled_message(**keys: Any) -> dict[str, Any]:
    """Of two tokens."""
    return assistant("4", token_ids=[19, 2], **keys)


WRONG: list[tuple[list[Any], type[Exception], str]] = [
    ([[user("?"), assistant("4", x=[1.0])]], RolloutError, "message 1 .*'x', but no 'token_ids'"),
    ([[{**user("?"), "x": [1.0]}, assistant("4")]], RolloutError, "message 0"),
    ([[user("?"), sampled_message(x=[1.0])]], RolloutError, r"message 1 .*x has 1 values for the 2 token_ids"),
    ([[user("?"), sampled_message(x=[1.0, None])]], RolloutError, "message 1 .*object is not an array of numbers"),
    ([[user("?"), sampled_message(x=[[1], [1, 2]])]], RolloutError, "message 1 .*list is not an array of numbers"),
    ([[user("?"), sampled_message(x="ab")]], RolloutError, "message 1 .*not an array of numbers"),
    ([[user("?"), sampled_message(x=0.5)]], RolloutError, "message 1 .*one number for the 2"),
    (
        [[user("?"), sampled_message(x=[1, 2]), user("?"), sampled_message(x=[[1], [2]])]],
        RolloutError,
        r"message 3 .*values of the shape \[1\] per token, but earlier messages \[\]",
    ),
    (
        [[user("?"), sampled_message(x=[1, 2])], [user("?"), sampled_message(x=[[1], [2]])]],
        RowError,
        r"row 1 of the batch: x has values of the shape \[1\] per token, but rows before \[\]",
    ),
    ([[user("?"), sampled_message(y=[1, 2])]], RowError, "row 0 of the batch: per_token names 'x', and it has no such"),
    ([[user("?"), assistant("4")]], OptionError, "per_token names 'x', and no row of the batch has it"),
]


@pytest.mark.parametrize(("conversations", "error", "words"), WRONG)
def test_wrong_side_arrays_are_errors_with_their_place(
    small: Any, conversations: list[Any], error: type[Exception], words: str
) -> None:
    ids = small("4<|im_end|>")["input_ids"]
    rows = [
        {"messages": [{**message, **({"token_ids": ids} if "token_ids" in message else {})} for message in messages]}
        for messages in conversations
    ]
    with pytest.raises(error, match=words):
        ChatCollator(small, per_token=("x",))(rows)


@pytest.mark.parametrize("name", ["token_ids", "labels", "weight", "loss_mask", "kind", "loss_weight", "student_x"])
def test_names_that_something_else_has_are_refused(small: Any, name: str) -> None:
    for make in (ChatCollator, lambda tokenizer, **options: ChatEncoder(tokenizer).as_map_fn(**options)):
        with pytest.raises(OptionError, match=f"per_token has '{name}'"):
            make(small, per_token=(name,))
    with pytest.raises(OptionError, match="per_token has"):
        chatspan.DistillationConfig(per_token=(name,))
    with pytest.raises(OptionError, match="per_token='logprobs'"):
        ChatCollator(small, per_token="logprobs")


def test_rows_that_are_none_are_refused_with_their_place(small: Any) -> None:
    [row] = rows_of(small)
    with pytest.raises(RowError, match="row 0 of the batch: its 'loss_messages' names message 2, which was not samp"):
        ChatCollator(small)([{"sampled": row, "loss_messages": [2]}])
    with pytest.raises(RowError, match="row 0 of the batch: its 'sampled' is list: make one row for each"):
        ChatCollator(small)([{"sampled": [row]}])
    with pytest.raises(RowError, match="row 0 of the batch: it has 'messages' beside 'sampled'"):
        ChatCollator(small)([{"sampled": row, "messages": [user("Hi")]}])
    with pytest.raises(RowError, match="row 0 of the batch: GKDCollator takes rows of messages"):
        GKDCollator(small)([row])
    with pytest.raises(chatspan.TruncationError, match="row 0 of the batch: 43 tokens are more than max_length=9"):
        ChatCollator(small, max_length=9)([row])
    with pytest.raises(chatspan.EmptyRowError, match="nothing in the loss is left of its 43 tokens"):
        ChatCollator(small, max_length=9, truncation="right")([row])
    # A column of that name may hold anything else.
    batch = ChatCollator(small)([{"messages": [user("Hi"), assistant("Ho")], "sampled": True}])
    assert trained(small, batch) == "Ho<|im_end|>"
