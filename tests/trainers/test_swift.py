"""Rows for ms-swift's OPSD: ids and masks of each turn, what the teacher reads, and what the columns cannot say."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest
from cases import assistant, config, failed, system, trace, user
from chatspan import (
    ChatCollator,
    ChatEncoder,
    ComposerDataCollator,
    DistillationConfig,
    EmptyBatchError,
    LayoutError,
    OptionError,
    Rollout,
    SelfDistillationCollator,
)
from chatspan.swift import opsd_rows
from conversations import schema, tool

ANSWER = assistant("It is 4.")
FIRST = [system("Be kind."), user("1 + 1?"), assistant("It is 2.")]
QUESTION, PRIVILEGED = user("2 + 2?"), user("2 + 2? (The solution: 4.)")
ROWS = [
    {"messages": [QUESTION, ANSWER], "teacher_messages": [PRIVILEGED, ANSWER]},
    # The loss is on the last of two turns, behind which the conversation goes on.
    {
        "messages": [*FIRST, QUESTION, ANSWER, user("Thanks."), assistant("Bye.")],
        "teacher_messages": [*FIRST, PRIVILEGED, ANSWER, user("Thanks."), assistant("Bye.")],
        "loss_messages": [4],
    },
    {"messages": [QUESTION, ANSWER], "teacher_messages": None},
]


def rollout_row(tokenizer: Any) -> dict[str, Any]:
    """Two sampled turns, spelled in other tokens than the tokenizer would."""
    rollout = Rollout(ChatEncoder(tokenizer), [user("1 + 1?")])
    for text, reply in (("It is 2.", QUESTION), ("It is 4.", None)):
        ids = [*(each for letter in text for each in tokenizer(letter)["input_ids"]), tokenizer.eos_token_id]
        assert ids[:-1] != tokenizer(text)["input_ids"]
        rollout.add_completion(ids, message=assistant(text))
        if reply is not None:
            rollout.add_messages([reply])
    [row] = rollout.rows()
    messages = list(row.chat.messages)
    return {"sampled": row, "teacher_messages": [*messages[:2], PRIVILEGED, messages[-1]]}


def collator(tokenizer: Any, **options: Any) -> SelfDistillationCollator:
    return SelfDistillationCollator(
        tokenizer, DistillationConfig(**{"layout": "indexed", "loss_on": "turn", **options})
    )


def in_loss(tokenizer: Any, row: dict[str, Any]) -> list[str]:
    pairs = zip(row["response_token_ids"], row["response_loss_mask"], strict=True)
    return [tokenizer.decode([i for i, flag in zip(ids, mask, strict=True) if flag]) for ids, mask in pairs]


def test_recorded_conversations(small: Any) -> None:
    short, long = opsd_rows(collator(small), ROWS)
    assert short == {
        "messages": [QUESTION, {**ANSWER, "loss": True}],
        "teacher_prompt": "2 + 2? (The solution: 4.)",
        "response_token_ids": [small("It is 4.<|im_end|>")["input_ids"]],
        "response_loss_mask": [[1] * 7],
        "add_eos": False,
    }
    assert long["messages"] == [*FIRST[:2], {**FIRST[2], "loss": False}, QUESTION, {**ANSWER, "loss": True}]
    assert long["teacher_prompt"] == "2 + 2? (The solution: 4.)"
    assert [small.decode(ids) for ids in long["response_token_ids"]] == ["It is 2.<|im_end|>", "It is 4.<|im_end|>"]
    assert in_loss(small, long) == ["", "It is 4.<|im_end|>"]


def test_rollouts_keep_the_ids_that_were_sampled(small: Any) -> None:
    given = rollout_row(small)
    [row] = opsd_rows(collator(small), [given])
    ids = given["sampled"].input_ids
    turns = [ids[start:end].tolist() for ranges in given["sampled"].turns.values() for start, end in ranges]
    assert row["response_token_ids"] == turns
    assert in_loss(small, row) == ["It is 2.<|im_end|>", "It is 4.<|im_end|>"]


def test_traces_with_hints_in_the_last_users_message(small: Any) -> None:
    rows = [trace(user("Go?"), failed("Try it.", error="x"), user("ok"), failed("Again.", error="y"))]
    options = {"loss_on": "turn", "hint_placement": "append_to_previous", "hint_scope": "per_site"}
    found = opsd_rows(ComposerDataCollator(small, config(**options)), rows)
    assert [row["teacher_prompt"] for row in found] == ["Go?\n\nHint: x.", "ok\n\nHint: y."]
    assert [in_loss(small, row) for row in found] == [["Try it.<|im_end|>"], ["", "Again.<|im_end|>"]]


@pytest.mark.filterwarnings("ignore::chatspan.UnknownKeywordWarning")
def test_calls_are_in_the_ids_and_keywords_in_their_columns(small: Any) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call]}
    row = {
        "messages": [QUESTION, calling],
        "teacher_messages": [PRIVILEGED, calling],
        "tools": [schema("f")],
        "chat_template_kwargs": {"enable_thinking": False},
    }
    [found] = opsd_rows(collator(small), [row])
    text = '\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
    assert found["messages"][1] == assistant(text, loss=True)
    assert in_loss(small, found) == [text]
    assert found["tools"] == [schema("f")]
    assert found["chat_template_kwargs"] == {"enable_thinking": False}


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a hint of its own message": (
        {"messages": [QUESTION, ANSWER], "teacher_messages": [QUESTION, system("Mind."), ANSWER]},
        {},
        r"trace 'row 0'.*: the teacher has 3 messages, the student 2, but ms-swift's teacher_prompt replaces only",
    ),
    "a hint in a tool's result": (
        {
            "messages": [QUESTION, assistant("I look."), tool("error"), ANSWER],
            "teacher_messages": [QUESTION, assistant("I look."), tool("error. Mind."), ANSWER],
            "loss_messages": [3],
        },
        {},
        r"the teacher has another message 2 \(a tool's\), but ms-swift's teacher_prompt replaces only the "
        r"last user message, 0",
    ),
    "the content alone": (
        ROWS[0],
        {"loss_on": "content"},
        r"message 1: the loss is on 6 of the 7 tokens of its turn",
    ),
    "weights": (
        ROWS[0],
        {"loss_on": {"assistant": 0.5}},
        r"weights other than 1, which response_loss_mask cannot carry",
    ),
    "a row that was cut": (
        {
            "messages": [*FIRST, QUESTION, ANSWER],
            "teacher_messages": [*FIRST, PRIVILEGED, ANSWER],
            "loss_messages": [4],
        },
        {"max_length": 50},
        r"it was cut to max_length, but ms-swift would render all of it: leave the row out",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_columns_cannot_say(small: Any, name: str) -> None:
    row, options, what = REFUSED[name]
    with pytest.raises(LayoutError, match=what):
        opsd_rows(collator(small, **options), [row])


def test_what_is_refused(small: Any) -> None:
    with pytest.raises(OptionError, match=r"ChatCollator has no teacher, or a student with filler text"):
        opsd_rows(ChatCollator(small), ROWS)  # type: ignore[arg-type]
    with pytest.raises(EmptyBatchError, match=r"no token of 1 rows is in the loss"):
        opsd_rows(collator(small), ROWS[2:])


def test_another_library_of_the_name_is_told_of(monkeypatch: Any) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "swift"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "swift", ModuleType("swift"))
    monkeypatch.delitem(sys.modules, "chatspan.swift.proof", raising=False)
    with pytest.raises(
        OptionError, match=r"the module swift that is installed is not that of ms-swift 4\.6 \(No module"
    ):
        importlib.import_module("chatspan.swift.proof")
