"""Anthropic's content blocks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from chatspan.rows.dialects.anthropic import is_anthropic, of_anthropic, system_text
from chatspan.rows.dialects.calls import tools_of
from chatspan.rows.dialects.found import DialectError
from chatspan.rows.notes import Note


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **more}


USE = {
    "type": "tool_use",
    "id": "t1",
    "name": "read",
    "input": {"path": "a.py"},
    "cache_control": {"type": "ephemeral"},
}
CALL = {"type": "function", "id": "t1", "function": {"name": "read", "arguments": {"path": "a.py"}}}
THINKING = {"type": "thinking", "thinking": "I should look.", "signature": "Zm9v"}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "x = 1"}
TOOL = {"role": "tool", "content": "x = 1", "tool_call_id": "t1", "name": "read"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
CALLING = {"role": "assistant", "content": [USE]}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}

CASES: dict[str, tuple[list[Any], list[Any], list[str]]] = {
    "thinking, text and a call": (
        [{"role": "assistant", "content": [THINKING, text("Let me see.\n"), USE], "weight": 1}],
        [{"role": "assistant", "weight": 1, "content": "Let me see.\n", "reasoning_content": "I should look.",
          "tool_calls": [CALL]}],
        [],
    ),
    "a result, and more of the user": (
        [CALLING, {"role": "user", "content": [RESULT, text("Go on.")]}],
        [CALLED, TOOL, {"role": "user", "content": "Go on."}],
        [],
    ),
    "text before the result": (
        [CALLING, {"role": "user", "content": [text("Here:"), RESULT]}],
        [CALLED, TOOL, {"role": "user", "content": "Here:"}],
        [],
    ),
    "a result in blocks, that is an error": (
        [CALLING, {"role": "user", "content": [{**RESULT, "content": [text("no"), text("file")], "is_error": True}]}],
        [CALLED, {**TOOL, "content": "no\nfile", "is_error": True}],
        [],
    ),
    "an empty result": (
        [CALLING, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": False}]}],
        [CALLED, {**TOOL, "content": ""}],
        [],
    ),
    "a picture in a result": (
        [CALLING, {"role": "user", "content": [{**RESULT, "content": [text("See:"), IMAGE]}]}],
        [CALLED, {**TOOL, "content": [text("See:"), IMAGE]}],
        [],
    ),
    "texts side by side, and across a call": (
        [{"role": "assistant", "content": [text("It says "), text("“x”"), text("."), USE, text("Next.")]}],
        [{"role": "assistant", "content": "It says “x”.\n\nNext.", "tool_calls": [CALL]}],
        [],
    ),
    "texts of a user": (
        [{"role": "user", "content": [text("One", cache_control={"type": "ephemeral"}), text("Two")]}],
        [{"role": "user", "content": "One\nTwo"}],
        [],
    ),
    "a picture of a user": (
        [{"role": "user", "content": [{**IMAGE, "cache_control": {}}, text("What is it?")]}],
        [{"role": "user", "content": [IMAGE, text("What is it?")]}],
        [],
    ),
    "reasoning that nobody can read": (
        [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, text("Yes.")]},
         {"role": "assistant", "content": [{**THINKING, "thinking": ""}, text("Yes.")]}],
        [{"role": "assistant", "content": "Yes."}, {"role": "assistant", "content": "Yes."}],
        ["redacted_thinking_dropped", "hidden_thinking_dropped"],
    ),
    "a tool of the server": (
        [{"role": "assistant", "content": [
            {**USE, "type": "server_tool_use"}, {**RESULT, "type": "web_search_tool_result"}, text("Done.")]}],
        [CALLED, TOOL, {"role": "assistant", "content": "Done."}],
        [],
    ),
    "a message as the API returns it": (
        [{"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [text("Hi")],
          "stop_reason": "end_turn", "usage": {}}, {"role": "user", "content": "Hello"}],
        [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Hello"}],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected", "codes"), CASES.values(), ids=CASES)
def test_messages(given: list[Any], expected: list[Any], codes: list[str]) -> None:
    notes: list[Note] = []
    before = copy.deepcopy(given)
    assert of_anthropic(given, notes) == expected
    assert given == before
    assert [note.code for note in notes] == codes


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([CALLING], True),
        ([{"role": "user", "content": [RESULT]}], True),
        ([{"role": "user", "content": [text("Hi")]}], False),
        ([{"role": "user", "content": "Hi"}], False),
        ("Hi", False),
        ([3, {"content": [3]}], False),
    ],
)
def test_what_is_anthropic(messages: Any, expected: bool) -> None:
    assert is_anthropic(messages) is expected


def test_system_and_tools() -> None:
    assert system_text("Be brief.") == "Be brief."
    assert system_text([text("Be brief."), text("Be kind.", cache_control={})]) == "Be brief.\nBe kind."
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    tool = {"name": "read", "description": "Reads.", "input_schema": schema, "cache_control": {"type": "ephemeral"}}
    function = {"name": "read", "description": "Reads.", "parameters": schema}
    assert tools_of([tool]) == [{"type": "function", "function": function}]


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([{"role": "user", "content": [3]}], "block 0 of message 0 must be a dict, got int 3"),
        ([{"role": "user", "content": [{"text": "Hi"}]}], "block 0 of message 0 must have 'type', got dict"),
        ([CALLING, {"role": "user", "content": [{"type": "text"}]}], "block 0 of message 1 must have text in 'text'"),
        ([{"role": "assistant", "content": [{"type": "tool_use"}]}], "must have text in 'name'"),
    ],
)
def test_broken_blocks(messages: list[Any], error: str) -> None:
    with pytest.raises(DialectError) as raised:
        of_anthropic(messages, [])
    assert error in str(raised.value)
    with pytest.raises(DialectError, match="'system' must be text or a list of text blocks, got int 3"):
        system_text(3)
