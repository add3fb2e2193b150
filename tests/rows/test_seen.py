"""Rows are read in the same way with one look at all of their messages and without it, step by step."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
from chatspan import ChatEncoder, ChatspanError, RowOptions
from chatspan.rows import reader as reader_module
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow
from chatspan.rows.steps import listings
from chatspan.rows.steps.nulls import has_nulls
from chatspan.rows.steps.plain import plain_data
from chatspan.rows.steps.seen import seen_messages
from hypothesis import event, example, given

_WORDS = st.sampled_from(
    ["user", "assistant", "tool", "system", "gpt", "function", "Hi", "{}", "", "<image>", "\ud800"]
)
_LEAVES = _WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.just(2**70) | st.just(b"x")
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.integers(0, 1), inner, max_size=3),
    max_leaves=8,
)
_PARTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "image", "tool_use", "tool_result"])},
        optional={"text": _WORDS, "name": _WORDS},
    ),
    max_size=2,
)
_CALLS = st.sampled_from(
    [[], None, [{"name": "f", "arguments": "{}"}], [{"function": {"name": "f", "arguments": "{}"}}]]
)
_CALL: st.SearchStrategy[Any] = st.sampled_from([None, {"name": "f", "arguments": {"a": 1}}])
_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "content": _WORDS | _PARTS | st.none(),
    **dict.fromkeys(("from", "value", "text", "name", "tool_call_id", "reasoning_content", "refusal"), _WORDS),
    **dict.fromkeys(("function_call", "tool_call"), _CALL),
    "tool_calls": _CALLS,
    **dict.fromkeys(("weight", "train", "loss_mask", "is_error"), st.sampled_from([0, 1, True, None, 0.5])),
    "tool_error": st.sampled_from([None, "no", {"a": None}]),
    "error_meta": st.none() | st.just({"tool": "x"}),
    "logprobs": st.just([-0.5, float("nan")]),
    "odd": _VALUES,
}
_ROLES = st.sampled_from(["user", "assistant", "tool", "system"])
_USUAL = st.fixed_dictionaries({"role": _ROLES, "content": _WORDS})
_LIKE = st.builds(lambda message, some: {**message, **some}, _USUAL, st.fixed_dictionaries({}, optional=_KEYS))
_MESSAGE = _LIKE | st.fixed_dictionaries({"role": _WORDS}, optional=_KEYS) | st.fixed_dictionaries({}, optional=_KEYS)
_MESSAGES = (
    st.lists(_USUAL, max_size=4) | st.lists(_USUAL | _MESSAGE, max_size=4) | st.lists(_MESSAGE | _VALUES, max_size=3)
)
_COLUMN = st.sampled_from(["messages", "messages", "messages", "turns", "conversations", "chat"])
_BESIDE: dict[str, st.SearchStrategy[Any]] = {
    "tools": _VALUES,
    "system": _WORDS,
    "images": st.sampled_from([[], None, ["a.png"]]),
    "trace_id": _VALUES,
    "loss_messages": st.lists(st.integers(0, 3), max_size=2),
    "chat_template_kwargs": st.dictionaries(_WORDS, _VALUES, max_size=2),
    "teacher_messages": _MESSAGES,
    "turns": _MESSAGES,
}
_ROWS = st.builds(
    lambda column, messages, beside: {**beside, column: messages},
    _COLUMN,
    _MESSAGES,
    st.fixed_dictionaries({}, optional=_BESIDE) | st.just({}),
)
_OPTIONS = st.sampled_from(
    [
        *(RowOptions(), RowOptions(), RowOptions(column="chat"), RowOptions(tool_arguments="as_given")),
        *(RowOptions(format="messages"), RowOptions(format="sharegpt"), RowOptions(format="anthropic")),
    ]
)


def _nothing(value: Any) -> None:
    return None


def read(reader: RowReader, value: Any) -> Any:
    """The conversation as text, since a NaN is not equal to itself; or the error with all that it says."""
    try:
        return repr(reader.read(RawRow(0, "row 0", copy.deepcopy(value), folder=".")))
    except ChatspanError as error:
        return type(error), str(error), repr(vars(error))


@given(_ROWS, _OPTIONS, st.booleans(), st.sampled_from([(), ("logprobs",), ("weight", "is_error")]))
@example({"messages": [{"role": "user", "content": None, "name": None}] * 2}, RowOptions(), False, ())
def test_one_look_changes_nothing(
    small: Any, row: Any, options: RowOptions, has_template: bool, per_token: tuple[str, ...]
) -> None:
    pipeline = ChatEncoder(small).pipeline if has_template else None
    values = [row]
    # What no JSON has.
    with suppress(TypeError, ValueError):
        values.append(json.dumps(row).encode("utf-8", "surrogatepass"))
    for value in values:
        reader = RowReader(options, pipeline, per_token=per_token)
        quick = read(reader, value)
        with patch.object(listings, "seen_messages", _nothing), patch.object(reader_module, "survey", _nothing):
            assert quick == read(reader, value)
        event("error" if isinstance(quick, tuple) else "chat")


@given(st.dictionaries(_WORDS, _VALUES, max_size=3))
def test_what_is_plain_data_needs_no_change(columns: dict[str, Any]) -> None:
    found = reader_module.survey(columns)
    if found is not None:
        assert plain_data(columns) is columns
        assert found == any(has_nulls(value) for value in columns.values())


def test_what_messages_have_is_seen() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [{}], "name": "a"},
    ]
    seen = seen_messages(messages)
    assert seen is not None
    assert seen.keys == {"role", "content", "tool_calls", "name"}
    assert seen.roles == {"user", "assistant"}
    assert (seen.are_texts, seen.have_parts, seen.have_nulls) == (False, False, False)
    assert seen_messages([{"role": "user", "content": ["a"], "x": None}]) == (
        frozenset({"role", "content", "x"}),
        frozenset({"user"}),
        *(False, True, True),
    )
    for odd in ([1], [{"content": "Hi"}], [{"role": None}], [{"role": "user", 1: 2}], [{"role": "\ud800"}]):
        assert seen_messages(odd) is None
    assert seen_messages([{"role": f"r{index}"} for index in range(17)]) is None
