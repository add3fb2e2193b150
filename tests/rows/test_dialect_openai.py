"""Old and odd spellings of OpenAI's messages."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from chatspan.rows.dialects.found import DialectError
from chatspan.rows.dialects.openai import normalized, tools_of_functions
from chatspan.rows.notes import Note

USER = {"role": "user", "content": "2+2?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"x": 2}'}}
FLAT = {"name": "add", "arguments": {"x": 2}}
WRAPPED = {"type": "function", "function": FLAT}


def assistant(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, **fields}


CASES = {
    "an empty list of calls": ([assistant(content="4", tool_calls=[])], [assistant(content="4")], []),
    "null calls": ([assistant(content="4", tool_calls=None)], [assistant(content="4")], []),
    "what model_dump() writes": (
        [assistant(content="4", refusal=None, audio=None, function_call=None, tool_calls=None, annotations=[])],
        [assistant(content="4", annotations=[])],
        [],
    ),
    "a null content stays": ([assistant(tool_calls=[CALL], refusal=None)], [assistant(tool_calls=[CALL])], []),
    "a lone call": ([assistant(tool_calls=CALL)], [assistant(tool_calls=[CALL])], []),
    "nulls in a call": (
        [assistant(tool_calls=[{"id": None, "type": None, "name": None, "function": FLAT}])],
        [assistant(tool_calls=[{"function": FLAT}])],
        [],
    ),
    "calls as JSON text": ([assistant(tool_calls='[{"function": {"name": "f"}}]')],
        [assistant(tool_calls=[{"function": {"name": "f"}}])], []),
    "a flat call": (
        [assistant(tool_calls=[{"id": "c1", **FLAT}])],
        [assistant(tool_calls=[{"type": "function", "id": "c1", "function": FLAT}])],
        ["flat_calls_wrapped"],
    ),
    "a legacy call and its result": (
        [USER, assistant(function_call=FLAT), {"role": "function", "name": "add", "content": "4"}],
        [USER, assistant(tool_calls=[WRAPPED]), {"role": "tool", "name": "add", "content": "4"}],
        ["function_call_converted", "function_role_converted"],
    ),
    "role function without legacy calls": (
        [assistant(tool_calls=[CALL]), {"role": "function", "name": "add", "content": "4"}],
        [assistant(tool_calls=[CALL]), {"role": "function", "name": "add", "content": "4"}],
        [],
    ),
    "a refusal": ([assistant(refusal="I will not.")], [assistant(content="I will not.")], ["refusal_as_content"]),
    "a refusal beside a content": ([assistant(content="No.", refusal="x")],
        [assistant(content="No.", refusal="x")], []),
    "flags of other stages": ([assistant(content="4", weight=0, train=False)],
        [assistant(content="4", weight=0, train=False)], []),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected", "codes"), CASES.values(), ids=CASES)
def test_messages(given: list[Any], expected: list[Any], codes: list[str]) -> None:
    notes: list[Note] = []
    before = copy.deepcopy(given)
    assert normalized(given, notes) == expected
    assert given == before
    assert [note.code for note in notes] == codes
    assert all(note.message_index is not None and str(note.message_index) in note.place for note in notes)


def test_messages_that_need_no_change_are_not_copied() -> None:
    given = [USER, assistant(tool_calls=[CALL]), {"role": "tool", "content": "4"}, assistant(content="4")]
    assert all(one is other for one, other in zip(normalized(given, []), given, strict=True))


def test_functions_are_tools() -> None:
    function = {"name": "add", "parameters": {"type": "object"}}
    assert tools_of_functions([function]) == [{"type": "function", "function": function}]
    assert tools_of_functions('[{"name": "add"}]') == [{"type": "function", "function": {"name": "add"}}]


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        (["Hi"], "message 0 must be a dict, got str 'Hi'"),
        ([assistant(tool_calls="none")], "'tool_calls' of message 0 must be a list of calls, got str 'none'"),
        ([USER, assistant(tool_calls=["add"])], "message 1, tool_calls[0] must be a dict, got str 'add'"),
        ([assistant(tool_calls=[{"id": "c1"}])], "message 0, tool_calls[0] has no 'name'"),
        ([assistant(function_call="add")], "message 0, function_call must be a dict, got str 'add'"),
    ],
)
def test_what_is_no_call_is_refused(messages: list[Any], error: str) -> None:
    with pytest.raises(DialectError) as raised:
        normalized(messages, [])
    assert error in str(raised.value)
    with pytest.raises(DialectError, match="'functions' must be a list with at least one function, got int 3"):
        tools_of_functions(3)
