"""Rows that nobody writes on purpose: a result, or an error that says where; no other exception, and no change."""

from __future__ import annotations

import json
import re
from typing import Any

import chatspan
import pytest
from chatspan import ChatspanError
from hostile_rows import Hostile, written
from hypothesis import example, given
from hypothesis import strategies as st


def read(row: Any, **options: Any) -> Any:
    """What a reader finds, or its error, which says where."""
    try:
        chat = chatspan.read_row(row, **options)
    except ChatspanError as error:
        return f"{error.row_place}: {error.message}"
    return written([chat.messages, dict(chat.weights), chat.loss_messages, chat.tool_errors, chat.tools])


@given(seed=st.integers(0, 2**32))
def test_any_row_gives_a_conversation_or_an_error_with_its_place(small: Any, seed: int) -> None:
    row = Hostile(seed).row()
    before = written(row)
    encoder = chatspan.ChatEncoder(small)
    for options in ({}, {"encoder": encoder}):
        found = read(row, **options)
        assert not isinstance(found, str) or found.startswith("the row: ")
        assert read(row, **options) == found
    assert written(row) == before


@pytest.mark.filterwarnings("ignore::chatspan.render.renderer.UnknownKeywordWarning")
@given(seed=st.integers(0, 2**32))
# An array without items in 'loss_messages', of a row without a teacher.
@example(seed=38175153)
def test_any_row_gives_a_batch_or_an_error_with_its_place(small: Any, seed: int) -> None:
    row = Hostile(seed).row()
    before = written(row)
    config = chatspan.CollatorConfig(hint_generator=lambda error, meta: "Mind it.")
    collators: list[Any] = [
        chatspan.ChatCollator(small),
        chatspan.SelfDistillationCollator(small),
        chatspan.ComposerDataCollator(small, config),
    ]
    for collate in collators:
        try:
            rows = collate([row])["input_ids"].shape[0]
        except ChatspanError as error:
            rows = int((error.row_place or error.trace_id) is not None)
        assert rows == 1
    assert written(row) == before


TEXTS = st.sampled_from(["Hi", "", " x ", "{not json", "null", "Grüezi", "<image>"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)
CALLS = st.lists(
    st.builds(
        lambda arguments: {"type": "function", "function": {"name": "f", "arguments": arguments}},
        ARGUMENTS | ARGUMENTS.map(json.dumps) | TEXTS,
    ),
    min_size=1,
    max_size=2,
)
ANSWERS = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": TEXTS | st.none()},
    optional={
        "tool_calls": CALLS,
        "weight": st.sampled_from([0, 1, 0.5]),
        "tool_error": st.sampled_from(["sold out", {"code": 3}]),
        "error_meta": st.sampled_from(["x", {"tool": "f"}]),
        "reasoning_content": TEXTS,
    },
)
RESULTS = st.fixed_dictionaries({"role": st.just("tool"), "content": TEXTS}, optional={"is_error": st.booleans()})
CONVERSATIONS = st.builds(
    lambda first, rest: [{"role": "user", "content": first}, *rest],
    TEXTS,
    st.lists(ANSWERS | RESULTS, min_size=1, max_size=4),
)
ROWS = st.fixed_dictionaries(
    {"messages": CONVERSATIONS},
    optional={
        "system": st.just("Be brief."),
        "loss_messages": st.lists(st.integers(0, 1), max_size=2),
        "teacher_messages": CONVERSATIONS,
        "chat_template_kwargs": st.fixed_dictionaries({"enable_thinking": st.booleans()}),
        "trace_id": st.just("t"),
    },
) | st.fixed_dictionaries({"prompt": TEXTS | CONVERSATIONS, "completion": TEXTS | st.lists(ANSWERS, min_size=1)})


def named(chat: Any) -> list[int] | None:
    """The messages that may be in a loss, without those of a completion that their own flag takes out."""
    if chat.loss_messages is None:
        return None
    of_completion = isinstance(chat.loss_messages, range)
    return [index for index in chat.loss_messages if not (of_completion and chat.weights.get(index) == 0)]


@given(row=ROWS, knows_template=st.booleans())
def test_a_conversation_that_is_written_as_a_row_is_read_as_the_same(
    small: Any, row: Any, knows_template: bool
) -> None:
    options = {"encoder": chatspan.ChatEncoder(small)} if knows_template else {}
    try:
        chat = chatspan.read_row(row, **options)
    except ChatspanError:
        return
    for again in (chat.as_row(), json.loads(json.dumps(chat.as_row()))):
        found = chatspan.read_row(again, **options)
        assert found.messages == chat.messages
        assert found.weights == chat.weights
        assert found.loss_messages == named(chat)
        assert written(found.tool_errors) == written(chat.tool_errors)
        assert (found.failed_results, found.teacher_messages) == (chat.failed_results, chat.teacher_messages)
        assert found.template_kwargs == chat.template_kwargs


class Unwritable:
    """An object of a caller's own, which cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"content": Unwritable()}, "the content of message 1 is Unwritable …: expected a text, a list of parts"),
        ({"content": "a", "token_ids": Unwritable()}, "at least one, got …: pass the ids that were sampled"),
        ({"content": "a", "weight": Unwritable()}, "message 1 has 'weight': …; expected true, false, or a number"),
        ({"content": "a", "tool_calls": Unwritable()}, "'tool_calls' of message 1 must be a list of calls"),
    ],
)
def test_an_object_that_cannot_be_shown_is_told_of(small: Any, message: Any, said: str) -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", **message}]}
    with pytest.raises(ChatspanError, match=re.escape(said)) as raised:
        chatspan.ChatCollator(small)([row])
    assert raised.value.row_index == 0
