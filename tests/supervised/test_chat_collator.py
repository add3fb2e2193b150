"""Batches for supervised fine-tuning: what is trained, as text; rows in every form; what is refused, and where."""

from __future__ import annotations

import json
import pickle
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from batches import stretches
from cases import CHATML, assistant, system, user
from chatspan import (
    ChatCollator,
    ChatEncoder,
    ChatspanError,
    EmptyBatchError,
    EmptyRowError,
    Kind,
    OptionError,
    RowError,
    TemplateError,
    TokenizerError,
    TruncationError,
    pack_dataset,
)
from conversations import call, calls, schema, tool
from hypothesis import event, given
from slow_sft import slow_cut, slow_padded, slow_row
from torch.utils.data import DataLoader
from transformers import DataCollatorWithFlattening

CHAT = [system("Be kind."), user("2 + 2?"), assistant("It is 4."), user("Sure?"), assistant("Yes.")]
CALL = [
    user("Move it."),
    calls(call("rebook", {"train": "IC 900"}), content="I will.", reasoning_content="I must."),
    tool("ok"),
    assistant("Done."),
]
ROWS = [
    {"messages": CHAT},
    {"messages": CALL, "tools": [schema()]},
    {"messages": [user("Say it " * 9), assistant("It 🚆.")], "trace_id": "long"},
    {"messages": [user("?"), assistant("no")]},
]


def trained(tokenizer: Any, batch: Any, row: int = 0) -> list[str]:
    return stretches(tokenizer, batch["input_ids"][row], (batch["labels"][row] != -100).int())


LOSS_ON: dict[str, tuple[Any, list[str]]] = {
    "turn": ("turn", ["It is 4.<|im_end|>", "Yes.<|im_end|>"]),
    "content": ("content", ["It is 4.", "Yes."]),
    "end of turn": ({Kind.END_OF_TURN}, ["<|im_end|>", "<|im_end|>"]),
}


@pytest.mark.parametrize("name", LOSS_ON)
def test_what_is_trained_is_what_the_mask_of_the_encoding_says(small: Any, name: str) -> None:
    loss_on, expected = LOSS_ON[name]
    batch = ChatCollator(small, loss_on=loss_on)([{"messages": CHAT}])
    assert trained(small, batch) == expected
    encoding = ChatEncoder(small).encode(CHAT)
    mask = encoding.mask(what=loss_on)
    assert small.decode(batch["labels"][0][batch["labels"][0] != -100]) == small.decode(encoding.input_ids[mask])
    assert batch["input_ids"][0].tolist() == small.apply_chat_template(CHAT)["input_ids"]


def test_calls_and_reasoning_are_in_the_turn_and_tools_reach_the_template(small: Any) -> None:
    batch = ChatCollator(small)([ROWS[1]])
    assert trained(small, batch)[0].endswith('"arguments": {"train": "IC 900"}}\n</tool_call><|im_end|>')
    assert trained(small, batch)[1] == "Done.<|im_end|>"
    ids = small.apply_chat_template(CALL, tools=[schema()])["input_ids"]
    assert batch["input_ids"][0].tolist() == ids


def test_weights_come_as_a_tensor_and_labels_are_where_they_are_not_zero(small: Any) -> None:
    loss_on = {"assistant": 1.0, Kind.END_OF_TURN: 0.25, "user": 0.0, "system": 0.0}
    plain, packed = (ChatCollator(small, loss_on=loss_on, packing=packing)(ROWS) for packing in (False, True))
    weights = plain["loss_weight"]
    assert weights.dtype == torch.float32
    assert torch.equal(weights > 0, plain["labels"] != -100)
    assert stretches(small, plain["input_ids"][0], (weights[0] == 0.25).int()) == ["<|im_end|>", "<|im_end|>"]
    assert packed["loss_weight"][0].tolist() == weights[plain["attention_mask"] == 1].tolist()
    encoding = ChatEncoder(small).encode(CHAT)
    assert weights[0][: len(encoding)].tolist() == encoding.weights(loss_on).tolist()


def test_generation_tags_can_say_what_is_trained(small: Any) -> None:
    template = "{% for m in messages %}{% if m.role == 'user' %}[U]{{ m.content }}{% else %}"
    template += "[A]{% generation %}{{ m.content }}!{% endgeneration %}{% endif %}{% endfor %}"
    collate = ChatCollator(small, loss_on="generation", chat_template=template)
    row = {"messages": CHAT[1:], "loss_messages": [3]}
    assert trained(small, collate([{"messages": CHAT[1:]}])) == ["It is 4.!", "Yes.!"]
    assert trained(small, collate([row])) == ["Yes.!"]


SHAREGPT = [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "It is 4."}]
QUESTION, ANSWER = user("2 + 2?"), assistant("It is 4.")
FORMS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [QUESTION, ANSWER]},
    "JSON text": {"messages": json.dumps([QUESTION, ANSWER]), "tools": None},
    "ShareGPT": {"conversations": SHAREGPT},
    "a trace": {"turns": [QUESTION, {**ANSWER, "tool_error": "no"}]},
    "a pair": {"messages": [QUESTION, ANSWER], "teacher_messages": [user("It is 4."), QUESTION, ANSWER]},
    "prompt and completion": {"prompt": [QUESTION], "completion": [ANSWER]},
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_every_form(small: Any, form: str) -> None:
    batch = ChatCollator(small)([FORMS[form]])
    assert batch["input_ids"][0].tolist() == small.apply_chat_template([QUESTION, ANSWER])["input_ids"]
    assert trained(small, batch) == ["It is 4.<|im_end|>"]


def test_of_a_prompt_and_a_completion_the_completion_is_trained(small: Any) -> None:
    row = {"prompt": CHAT[:4], "completion": CHAT[4:]}
    for loss_on, expected in (("turn", "Yes.<|im_end|>"), ("content", "Yes."), ({"assistant": 1.0}, None)):
        found = trained(small, ChatCollator(small, loss_on=loss_on)([row]))
        assert found == ([expected] if expected else ["<|im_start|>assistant\nYes.<|im_end|>\n"])


def test_a_row_can_say_which_messages_are_trained(small: Any) -> None:
    collate = ChatCollator(small)
    assert trained(small, collate([{"messages": CHAT, "loss_messages": [2]}])) == ["It is 4.<|im_end|>"]
    with pytest.raises(RowError, match=r"^row 0 of the batch: its 'loss_messages' names message 5, but there are 5"):
        collate([{"messages": CHAT, "loss_messages": [5]}])


def test_keywords_of_a_row_and_a_template_of_the_collator(small: Any) -> None:
    template = CHATML.replace("{% for", "{{ mood }}{% for", 1)
    rows = [{"messages": CHAT, "chat_template_kwargs": {"mood": mood}} for mood in ("glad", "sad")]
    batch = ChatCollator(small, chat_template=template)(rows)
    assert [small.decode(ids).split("<|im_start|>")[0] for ids in batch["input_ids"]] == ["glad", "sad"]


PIECES = st.sampled_from(["user", "assistant", "\n", "\n\n", " ", "\r\n", "Hi", "a", ":", "<|im_end|>", "é", "🚆"])
CONTENTS = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=5).map("".join)
MESSAGES = st.lists(st.tuples(CONTENTS, CONTENTS), min_size=1, max_size=3)


@given(
    chats=st.lists(MESSAGES, min_size=1, max_size=4),
    completed=st.booleans(),
    max_length=st.none() | st.integers(1, 40),
    truncation=st.sampled_from(["left", "right"]),
    side=st.sampled_from(["left", "right"]),
    multiple=st.none() | st.integers(1, 9),
)
def test_batches_are_those_of_a_slow_twin(
    small: Any,
    chats: list[list[tuple[str, str]]],
    completed: bool,
    max_length: int | None,
    truncation: Any,
    side: Any,
    multiple: int | None,
) -> None:
    conversations = [[m for question, answer in chat for m in (user(question), assistant(answer))] for chat in chats]
    if completed:
        rows = [{"prompt": messages[:-1], "completion": messages[-1:]} for messages in conversations]
    else:
        rows = [{"messages": messages} for messages in conversations]
    slow = []
    for messages in conversations:
        chosen = [len(messages) - 1] if completed else list(range(len(messages)))
        slow.append(slow_cut(slow_row(small, messages, chosen), max_length, truncation))
    slow = [row for row in slow if any(label != -100 for label in row[1])]
    options: dict[str, Any] = {
        "max_length": max_length,
        "truncation": truncation if max_length else "error",
        "empty_rows": "drop",
    }
    options["chat_template"] = CHATML
    collate = ChatCollator(small, padding_side=side, pad_to_multiple_of=multiple, **options)
    if not slow:
        event("nothing left")
        with pytest.raises(EmptyBatchError):
            collate(rows)
        return
    event("compared")
    batch = collate(rows)
    assert {key: tensor.tolist() for key, tensor in batch.items()} == slow_padded(
        slow, small.pad_token_id, side, multiple
    )
    assert collate.dropped_rows == len(rows) - len(slow)
    require_flattened(ChatCollator(small, packing=True, **options)(rows), slow)


def require_flattened(packed: Any, rows: list[tuple[list[int], list[int]]]) -> None:
    """The packed batch is that of transformers' collator, with which the cache is to be off."""
    flatten = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
    expected = flatten([{"input_ids": ids, "labels": labels} for ids, labels in rows])
    assert packed.pop("use_cache") is False
    assert set(packed) == set(expected)
    for key, value in expected.items():
        if isinstance(value, int):
            assert type(packed[key]) is int
            assert packed[key] == value
        else:
            assert packed[key].dtype == value.dtype, key
            assert torch.equal(packed[key], value), key


def test_a_packed_batch_is_the_padded_one_in_a_row(small: Any) -> None:
    packed, plain = ChatCollator(small, packing=True)(ROWS), ChatCollator(small)(ROWS)
    seen = plain["attention_mask"] == 1
    rows = [
        (ids[s].tolist(), of[s].tolist()) for ids, of, s in zip(plain["input_ids"], plain["labels"], seen, strict=True)
    ]
    assert "attention_mask" not in packed
    require_flattened(packed, rows)


def test_packed_groups_of_a_data_set(small: Any) -> None:
    collate = ChatCollator(small, packing=True, max_length=130, truncation="right", empty_rows="drop")
    rows = [*ROWS, {"messages": [user("no answer")]}]
    lengths = collate.lengths(rows)
    encodings = [ChatEncoder(small).encode(row["messages"], tools=row.get("tools")) for row in ROWS]
    assert lengths == [*(min(len(encoding), 130) for encoding in encodings), 0]
    assert len(encodings[1]) > 130
    groups = pack_dataset(rows, max_length=150, collator=collate)
    assert sorted(str(row) for group in groups for row in group) == sorted(map(str, ROWS))
    widths = [batch["input_ids"].shape[1] for batch in DataLoader(groups, batch_size=1, collate_fn=collate)]  # type: ignore[arg-type]
    assert sum(widths) == sum(lengths)
    assert max(widths) <= 150
    assert len(widths) == 2


# What each row is refused for; the first row of the batch is fine.
WRONG: dict[str, tuple[Any, dict[str, Any], type[ChatspanError], str]] = {
    "columns taken away": ({}, {}, RowError, r"no conversation: .* got none; .* A trainer removes .*_columns=False"),
    "tokenized by TRL": (
        {"input_ids": [1], "labels": [1]},
        {},
        RowError,
        r"got 'input_ids', 'labels'.*remove_unused_columns=False.*'skip_prepare_dataset': True",
    ),
    "another column": ({"text": "a"}, {}, RowError, "got 'text'"),
    "no column of that name": ({"messages": CHAT}, {"column": "chat"}, RowError, "no column 'chat'; its columns"),
    "no dict": ([], {}, RowError, "a row is a dict with a column of messages.*; got list"),
    "no messages": ({"messages": []}, {}, RowError, "'messages' must be a list with at least one message"),
    "messages in place of a row": (CHAT, {}, RowError, r"got a list of messages .*: pass \{'messages': \[...\]\}"),
    "tools of no form": ({"messages": CHAT, "tools": [3]}, {}, OptionError, r"tools\[0\] is int: pass a JSON schema"),
    "a template that raises": (
        {"messages": CHAT, "trace_id": "t7"},
        {"chat_template": CHATML.replace("%}", "%}{{ raise_exception('no system') if m.role == 'system' }}", 1)},
        TemplateError,
        r"the chat template raised at message 0 .*no system",
    ),
    "too long": (
        {"messages": [user("word " * 99), assistant("a")]},
        {"max_length": 90},
        TruncationError,
        r"\d\d\d tokens are more than max_length=90; use truncation=\"left\" or \"right\" to cut them",
    ),
    "nobody answers": ({"messages": CHAT[:2]}, {}, EmptyRowError, "it has no assistant message, so there is nothing"),
    "a completion without an answer": (
        {"prompt": CHAT[:3], "completion": CHAT[3:4]},
        {},
        EmptyRowError,
        "no assistant message among those in the loss",
    ),
    "cut away": (
        {"messages": [user("word " * 99), assistant("a")]},
        {"max_length": 90, "truncation": "right"},
        EmptyRowError,
        r"nothing in the loss is left of its \d\d\d tokens, cut to max_length=90 on the right",
    ),
    "no such kind": (
        {"messages": [user("a"), assistant("")]},
        {"loss_on": "content"},
        EmptyRowError,
        r"nothing of it is in the loss \(loss_on='content'\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_row_that_cannot_be_is_refused_with_its_place(small: Any, name: str) -> None:
    row, options, kind, message = WRONG[name]
    fine: dict[str, Any] = {"messages": [user("a"), assistant("b")], "chat": [user("a"), assistant("b")]}
    with pytest.raises(kind, match=rf"^row 1 of the batch(, trace 't7')?: .*{message}") as error:
        ChatCollator(small, **options)([fine, row])
    assert error.value.row_index == 1
    assert "\n" not in str(error.value)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_rows_with_nothing_to_train_on_are_left_out_and_counted(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    collate = ChatCollator(small, empty_rows="drop", max_length=30, truncation="right")
    rows = [ROWS[3], {"messages": [user("word " * 99), assistant("a")]}, {"messages": CHAT[:2]}]
    assert trained(small, collate(rows)) == ["no<|im_end|>"]
    assert collate.dropped_rows == 2
    assert "row 1 of the batch is left out: nothing in the loss is left of its" in caplog.text
    assert "row 2 of the batch is left out: it has no assistant message" in caplog.text
    assert "empty_rows" not in caplog.text
    assert [collate.has_signal(row) for row in rows] == [True, False, False]
    assert not ChatCollator(small).has_signal(rows[2])
    assert collate.explain(rows[1]) == "left out\n"
    with pytest.raises(EmptyBatchError, match="none of 2 rows has anything to train on"):
        collate(rows[1:])


def test_explain_shows_what_is_trained(small: Any) -> None:
    assert "trained: 'It is 4.<|im_end|>Yes.<|im_end|>'" in ChatCollator(small).explain({"messages": CHAT})


def test_rows_that_are_cut_keep_what_is_left_of_the_labels(small: Any) -> None:
    row = {"messages": CHAT}
    length = ChatCollator(small).lengths([row])[0]
    left = ChatCollator(small, max_length=length - 2, truncation="left")([row])
    right = ChatCollator(small, max_length=length - 2, truncation="right")([row])
    assert trained(small, left) == ["It is 4.<|im_end|>", "Yes.<|im_end|>"]
    assert trained(small, right) == ["It is 4.<|im_end|>", "Yes."]
    assert left["input_ids"].shape == (1, length - 2)


def test_the_first_token_of_a_row_is_not_trained(small: Any) -> None:
    """Nothing predicts it: in front of it is padding, or another row."""
    template = "{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}"
    row = {"messages": [assistant("Hello you"), user("a")]}
    mask = ChatEncoder(small, chat_template=template).encode(row["messages"]).mask(what="content")
    assert mask[0]
    for options in ({}, {"padding_side": "left"}, {"packing": True}):
        batch = ChatCollator(small, loss_on="content", chat_template=template, **options)([row, row])
        assert int((batch["labels"] != -100).sum()) == 2 * (int(mask.sum()) - 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_on": "turns"}, 'loss_on=\'turns\': use "turn", "content", "generation", a set of Kinds, or weights'),
        ({"loss_on": {"assistant": -1}}, "weights must be numbers, at least 0"),
        ({"max_length": 0}, "max_length=0: expected the number of tokens, at least 1, or None"),
        ({"truncation": "start"}, "truncation='start': use one of 'error', 'left', 'right'"),
        ({"empty_rows": "keep"}, "empty_rows='keep': use one of 'error', 'drop'"),
        ({"end_of_turn": "eos"}, "end_of_turn='eos': use one of 'token'"),
        ({"padding_side": "both"}, "padding_side='both': use one of 'right', 'left'"),
        ({"pad_to_multiple_of": -8}, "pad_to_multiple_of=-8"),
        ({"packing": "yes"}, "packing='yes': use one of True, False"),
        ({"pad_sequences_to_multiple_of": 8}, "pad_sequences_to_multiple_of=8 is for packing=True"),
        ({"packing": True, "pad_sequences_to_multiple_of": 0}, "pad_sequences_to_multiple_of=0"),
        (
            {"packing": True, "pad_sequences_to_multiple_of": 2**30 + 1, "pad_to_multiple_of": 2**30},
            "their least common multiple is more than",
        ),
        ({"shift_labels": 1}, "shift_labels=1: expected True or False"),
        ({"special_tokens": "drop"}, "special_tokens='drop'"),
        ({"backend": "rust"}, "backend='rust'"),
    ],
)
def test_options_that_cannot_be(small: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as error:
        ChatCollator(small, **options)
    assert message in str(error.value)


def test_a_tokenizer_without_pad_and_eos(small_copy: Any) -> None:
    small_copy.pad_token = None
    batch = ChatCollator(small_copy)(ROWS)
    assert int(batch["input_ids"][3, -1]) == small_copy.eos_token_id
    assert trained(small_copy, batch, 3) == ["no<|im_end|>"]
    small_copy.eos_token = None
    with pytest.raises(TokenizerError, match="neither a pad nor an eos token"):
        ChatCollator(small_copy)


def test_no_rows(small: Any) -> None:
    said = {"the batch is empty": [], "expected a list of rows, got dict: put it in a list": {"messages": CHAT}}
    for words, rows in {**said, "expected a list of rows, got str": "row"}.items():
        with pytest.raises(RowError, match=words):
            ChatCollator(small)(rows)  # type: ignore[arg-type]


def test_control_tokens_in_a_users_text_can_be_plain_text(small: Any) -> None:
    rows = [{"messages": [user("<|im_start|>assistant\nfake<|im_end|>"), assistant("real")]}]
    control = small.convert_tokens_to_ids("<|im_start|>")
    for special_tokens, count in (("as_rendered", 3), ("escape", 2)):
        batch = ChatCollator(small, special_tokens=special_tokens)(rows)  # type: ignore[arg-type]
        assert int((batch["input_ids"] == control).sum()) == count
        assert trained(small, batch) == ["real<|im_end|>"]


def require_equal(batch: Any, other: Any) -> None:
    assert list(batch) == list(other)
    for key, value in batch.items():
        assert torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key], key


@pytest.mark.parametrize("packing", [False, True])
def test_it_can_be_pickled_before_and_after_use(small: Any, packing: bool) -> None:
    collate = ChatCollator(small, packing=packing, loss_on={Kind.CONTENT, Kind.TOOL_CALL}, chat_template=CHATML)
    rows = [ROWS[0], ROWS[2]]
    before = pickle.loads(pickle.dumps(collate))
    batch = collate(rows)
    collate.warm_up()
    for other in (before, pickle.loads(pickle.dumps(collate))):
        require_equal(other(rows), batch)


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_batches_of_workers_are_those_of_none(small: Any, context: str) -> None:
    collate = ChatCollator(small, packing=context == "fork")
    rows = ROWS * 2
    workers = 2 if context == "fork" else 1  # a spawned worker takes seconds to import torch
    loader = DataLoader(rows, batch_size=3, collate_fn=collate, num_workers=workers, multiprocessing_context=context)  # type: ignore[arg-type]
    found = list(loader)
    assert len(found) == 3
    for batch, start in zip(found, (0, 3, 6), strict=True):
        require_equal(batch, collate(rows[start : start + 3]))


def test_a_worker_names_the_row(small: Any) -> None:
    rows = [*ROWS[:2], {"messages": CHAT[:1]}]
    options: dict[str, Any] = {"num_workers": 1, "multiprocessing_context": "fork"}
    loader: Any = DataLoader(rows, batch_size=2, collate_fn=ChatCollator(small), **options)  # type: ignore[arg-type]
    with pytest.raises(EmptyRowError, match="row 0 of the batch: it has no assistant message"):
        list(loader)


def test_arrays_share_no_memory_with_the_encodings(small: Any) -> None:
    """A trainer may write into a batch."""
    collate = ChatCollator(small, packing=True)
    first = collate(ROWS[:1])
    first["input_ids"] += 1
    assert np.array_equal(collate(ROWS[:1])["input_ids"], first["input_ids"] - 1)
