"""The quick way to labels, in the core, against its slow twin, which makes an encoding of each row."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from cases import assistant, system, user
from chatspan import ChatCollator, ChatEncoder, ChatspanError
from chatspan.rows.row import RawRow
from chatspan.supervised import collator as collator_module
from chatspan.supervised.labelled import labelled_batch
from chatspan.supervised.options import SupervisedOptions
from chatspan.supervised.rows import outcomes_of
from conversations import call, calls, schema, tool
from hypothesis import event, given

_TEXTS = st.text("ab<|>im_end 🚆é\n", max_size=12) | st.sampled_from(["Hi", "It is 4.", "", " ", "<|im_end|>"])
_SELDOM: list[dict[str, Any]] = [
    *({"weight": 0}, {"weight": 1}, {"weight": 0.5}, {"train": False}, {"reasoning_content": "so"}, {"name": None}),
    *({"tool_calls": [call("rebook", {"train": "IC 9"})]}, {"tool_error": "no", "error_meta": {}}, {"odd": 1}),
    *({"tool_calls": []}, {"content": None}, {"content": ["a", "b"]}, {"role": "gpt"}, {"refusal": "No."}),
    *({"token_ids": [5, 6, 7]}, {"is_error": True}, {"content": float("nan")}),
]
_ASSISTANTS = st.builds(assistant, _TEXTS)
_ODD = st.builds(lambda text, extra: {**assistant(text), **extra}, _TEXTS, st.sampled_from(_SELDOM))
_OTHERS = st.builds(user, _TEXTS) | st.builds(system, _TEXTS) | st.builds(tool, _TEXTS)
_USUAL = st.builds(lambda head, last: [*head, last], st.lists(_OTHERS | _ASSISTANTS, max_size=5), _ASSISTANTS)
_MESSAGES = _USUAL | st.lists(_OTHERS | _ASSISTANTS | _ODD, max_size=6)
_PLAIN = st.fixed_dictionaries({"messages": _USUAL}, optional={"trace_id": st.text(max_size=2)})
_ROWS = _PLAIN | st.fixed_dictionaries(
    {"messages": _MESSAGES},
    optional={
        "tools": st.sampled_from([None, [], [schema()], "no"]),
        "loss_messages": st.lists(st.integers(0, 3), max_size=3) | st.none(),
        "system": _TEXTS,
        "images": st.sampled_from([[], None, ["a.png"]]),
        "tool": st.just(3),
    },
)
_SEVERAL = st.lists(_PLAIN, min_size=1, max_size=4) | st.lists(_ROWS, min_size=1, max_size=4)
_OPTIONS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "train_on": st.sampled_from(["all", "last", ["assistant"], ["user"], ["assistant", "tool"]]),
        "end_of_turn": st.sampled_from(["token", "all", "none", "next_header"]),
        "empty_rows": st.sampled_from(["drop", "error"]),
    },
)
_RARE: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        *({}, {}, {}, {}, {}, {"loss_on": "content"}, {"loss_on": {"assistant": 0.5}}, {"loss_weight": True}),
        *({"off_prompt": "drop_turn"}, {"special_tokens": "escape"}, {"boundaries": "as_prompted"}),
    ]
)
_CUTS = st.sampled_from([{}, {"max_length": 9}, {"max_length": 9, "truncation": "left"}]) | st.builds(
    lambda count, side: {"max_length": count, "truncation": side},
    st.integers(1, 40),
    st.sampled_from(["left", "right"]),
)
_FORMS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "pad_to_multiple_of": st.sampled_from([None, 8]),
        "padding_side": st.sampled_from(["left", "right"]),
        "shift_labels": st.booleans(),
        "packing": st.sampled_from([False, False, True]),
    },
)


def outcome(collate: ChatCollator, rows: list[Any]) -> Any:
    """A batch as lists, or the error with all that it says; and how many rows were dropped."""
    try:
        batch = collate(copy.deepcopy(rows))
    except ChatspanError as error:
        return type(error), str(error), vars(error), collate.dropped_rows
    tensors = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
    others = {name: value for name, value in batch.items() if name not in tensors}
    listed = {name: (value.dtype, value.tolist()) for name, value in tensors.items()}
    return list(batch), listed, others, collate.dropped_rows


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether each batch was made the quick way."""
    found: list[bool] = []

    def noted(*args: Any, **keywords: Any) -> Any:
        made = labelled_batch(*args, **keywords)
        found.append(made is not None)
        return made

    with monkeypatch.context() as patched:
        patched.setattr(collator_module, "labelled_batch", noted)
        yield found


def collators(tokenizer: Any, **options: Any) -> tuple[ChatCollator, ChatCollator]:
    """One that has looked at its first rows, which it makes encodings of; and the twin, which always does."""
    quick, slow = (ChatCollator(tokenizer, backend="native", **options) for _ in range(2))
    for collate in (quick, slow):
        collate._first_rows.tell_of([collate.encoder.encode_rendered(list(collate.encoder.render([_request()])))[0]])
    slow._quick = lambda rows: None  # type: ignore[method-assign]
    return quick, slow


def _request() -> Any:
    from chatspan.render.request import request_of

    return request_of([user("Hi"), assistant("Yes.")])


@given(_SEVERAL, _OPTIONS, _RARE, _CUTS, _FORMS)
def test_batches_of_the_core_are_those_of_encodings(
    small: Any,
    rows: list[Any],
    options: dict[str, Any],
    rare: dict[str, Any],
    cut: dict[str, Any],
    form: dict[str, Any],
) -> None:
    quick, slow = collators(small, **options, **rare, **cut, **form)
    with pytest.MonkeyPatch.context() as patch, counted(patch) as ways:
        found = outcome(quick, rows)
    assert found == outcome(slow, rows)
    event(f"quick: {ways}, {'error' if isinstance(found[0], type) else 'batch'}")


@given(_SEVERAL, _OPTIONS, _CUTS, st.booleans())
def test_columns_of_the_core_are_those_of_encodings(
    small: Any, rows: list[Any], options: dict[str, Any], cut: dict[str, Any], as_json: bool
) -> None:
    pipeline = ChatEncoder(small, backend="native").pipeline
    asked = SupervisedOptions(**options, **cut)
    raw = [
        RawRow(index, f"row {index}", json.dumps(row).encode() if as_json else row) for index, row in enumerate(rows)
    ]
    found = labelled_batch(pipeline, raw, asked, with_whose=True)
    if found is None:
        event("slow")
        return
    event("quick")
    columns = found.tokens.rows.columns(found.trained)
    assert columns is not None
    edges, *arrays = columns
    slow = outcomes_of(pipeline, raw, asked)
    for index, each in enumerate(slow):
        assert (index in found.trained) == (each is not None and not isinstance(each, Exception)), each
    kept: list[Any] = [slow[index] for index in found.trained]
    for at, (row, index) in enumerate(zip(kept, found.trained, strict=True)):
        start, end = edges[at : at + 2]
        expected = (row.encoding.input_ids, row.labels, row.encoding.message_index, row.encoding.kind)
        for array, own in zip(arrays, expected, strict=True):
            assert array[start:end].tolist() == own.tolist()
        trained = int((row.labels != -100).sum())
        assert found.tokens.counts[index] == (len(row.labels), trained, row.encoding.truncated)
        assert (found.chats[index], found.roles[index]) == (row.chat, row.encoding.roles)


@given(_SEVERAL, _OPTIONS, _CUTS)
def test_columns_of_a_map_function_are_those_of_encodings(small: Any, rows: list[Any], options: Any, cut: Any) -> None:
    encoder = ChatEncoder(small, backend="native")
    names = ("input_ids", "labels", "attention_mask", "message_index", "kind")
    quick, slow = (encoder.as_map_fn(columns=names, **options, **cut) for _ in range(2))
    slow._quick = lambda rows: None  # type: ignore[method-assign]
    for make in (quick, slow):
        make._first_rows.tell_of([encoder.encode([user("Hi"), assistant("Yes.")])])
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    assert listed(quick, columns) == listed(slow, columns)


def listed(make: Any, columns: dict[str, Any]) -> Any:
    """The columns as lists, with their types; or the error with all that it says."""
    try:
        made = make(copy.deepcopy(columns))
    except ChatspanError as error:
        return type(error), str(error), vars(error)
    return {name: [(array.dtype, array.tolist()) for array in arrays] for name, arrays in made.items()}


def test_what_most_runs_ask_for_goes_the_quick_way(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = [system("Be kind."), user("2 + 2?"), assistant("It is 4."), user("Sure?"), assistant("Yes.")]
    with_call = [user("Go."), calls(call("rebook", {"train": "IC 9"})), tool("ok"), assistant("Done.")]
    rows = [{"messages": chat, "trace_id": "a"}, {"messages": with_call, "tools": [schema()]}]
    for options in ({}, {"train_on": "last"}, {"max_length": 20, "truncation": "left"}, {"padding_side": "left"}):
        collate, _ = collators(small, **options)
        with counted(monkeypatch) as ways:
            collate(rows)
        assert ways == [True], options


def test_the_first_batch_is_looked_at_and_later_ones_are_the_same(
    small: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    collate = ChatCollator(small, backend="native", empty_rows="drop")
    rows = [{"messages": [user("Hi"), assistant("Yes.")]}, {"messages": [user("Hi")]}]
    with counted(monkeypatch) as ways, caplog.at_level(logging.WARNING, logger="chatspan"):
        first = collate(rows)
        said = [record.getMessage() for record in caplog.records]
        caplog.clear()
        second = collate(rows)
    assert ways == [True]
    assert said == [record.getMessage() for record in caplog.records]
    assert {name: value.tolist() for name, value in first.items()} == {
        name: value.tolist() for name, value in second.items()
    }
    assert collate.dropped_rows == 2
