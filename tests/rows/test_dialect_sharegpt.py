"""ShareGPT in the spellings of LLaMA-Factory, ToolACE, Hermes and kin."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from chatspan.rows.dialects.found import DialectError
from chatspan.rows.dialects.sharegpt import is_sharegpt, of_sharegpt, role_of, tools_in_system_note
from chatspan.rows.notes import Note
from hypothesis import given, settings
from hypothesis import strategies as st

CALL_TEXT = '{"name": "add", "arguments": {"x": 2}}'
CALL = {"type": "function", "function": {"name": "add", "arguments": {"x": 2}}}
OTHER_TEXT = '{"name": "sub", "arguments": {"y": 1}}'
OTHER = {"type": "function", "function": {"name": "sub", "arguments": {"y": 1}}}


def said(speaker: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"from": speaker, "value": value, **more}


def message(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


HERMES = f"<tool_call>\n{CALL_TEXT}\n</tool_call>"

CASES: dict[str, tuple[list[Any], list[Any], list[str]]] = {
    "a chat": (
        [said("system", "S"), said("human", "Q"), said("gpt", "A", weight=0)],
        [message("system", "S"), message("user", "Q"), message("assistant", "A", weight=0)],
        [],
    ),
    "LLaMA-Factory's calls": (
        [said("function_call", CALL_TEXT), said("observation", "4"), said("gpt", "Four.")],
        [message("assistant", "", tool_calls=[CALL]), message("tool", "4"), message("assistant", "Four.")],
        [],
    ),
    "several calls in one": (
        [said("function_call", f"[{CALL_TEXT}, {OTHER_TEXT}]")],
        [message("assistant", "", tool_calls=[CALL, OTHER])],
        [],
    ),
    "calls that are data": (
        [said("tool_calls", [{"name": "add", "parameters": {"x": 2}}])],
        [message("assistant", "", tool_calls=[CALL])],
        [],
    ),
    "arguments that are text stay text": (
        [said("function-call", '{"name": "add", "arguments": "{}"}')],
        [message("assistant", "", tool_calls=[{"type": "function", "function": {"name": "add", "arguments": "{}"}}])],
        [],
    ),
    "a thought before calls": (
        [said("function_call", f"<think>\nadd\n</think>\n\n{CALL_TEXT}")],
        [message("assistant", "<think>\nadd\n</think>", tool_calls=[CALL])],
        [],
    ),
    "text right before calls": (
        [said("gpt", "Let me add.", weight=0), said("function_call", CALL_TEXT, weight=0)],
        [message("assistant", "Let me add.", weight=0, tool_calls=[CALL])],
        ["call_joined"],
    ),
    "text right before calls of another weight": (
        [said("gpt", "Let me add.", weight=0), said("function_call", CALL_TEXT)],
        [message("assistant", "Let me add.", weight=0), message("assistant", "", tool_calls=[CALL])],
        [],
    ),
    "calls right after calls": (
        [said("function_call", CALL_TEXT), said("function_call", OTHER_TEXT)],
        [message("assistant", "", tool_calls=[CALL]), message("assistant", "", tool_calls=[OTHER])],
        [],
    ),
    "no JSON": (
        [said("function_call", "add(2)")],
        [message("assistant", "add(2)")],
        ["call_unreadable"],
    ),
    "JSON that is no call": (
        [said("function_call", {"answer": "é"})],
        [message("assistant", '{"answer": "é"}')],
        ["call_unreadable"],
    ),
    "Hermes' calls": (
        [said("gpt", f"Two calls.\n{HERMES}\n<tool_call>\n{OTHER_TEXT}\n</tool_call>")],
        [message("assistant", "Two calls.", tool_calls=[CALL, OTHER])],
        ["tool_call_blocks_read"],
    ),
    "Hermes' calls with text after them": (
        [said("gpt", f"{HERMES} and so on")],
        [message("assistant", f"{HERMES} and so on")],
        ["tool_call_block_unreadable"],
    ),
    "Hermes' calls that are broken": (
        [said("gpt", f"{HERMES}<tool_call>{{</tool_call>")],
        [message("assistant", f"{HERMES}<tool_call>{{</tool_call>")],
        ["tool_call_block_unreadable"],
    ),
    "a tag that is not closed": (
        [said("gpt", "Use <tool_call> for that.")],
        [message("assistant", "Use <tool_call> for that.")],
        ["tool_call_block_unreadable"],
    ),
    "a user who writes tags": (
        [said("human", HERMES)],
        [message("user", HERMES)],
        [],
    ),
    "Hermes' results": (
        [said("tool", '<tool_response>\n{"v": 4}\n</tool_response>\n<tool_response>\n5\n</tool_response>')],
        [message("tool", '{"v": 4}'), message("tool", "5")],
        ["tool_response_blocks_read"],
    ),
    "Hermes' results with text around": (
        [said("tool", "x <tool_response>4</tool_response>")],
        [message("tool", "x <tool_response>4</tool_response>")],
        ["tool_response_block_unreadable"],
    ),
    "a result that is data": (
        [said("observation", {"v": "é"}), said("tool", [1, 2]), said("tool", [{"type": "text", "text": "4"}])],
        [message("tool", '{"v": "é"}'), message("tool", "[1, 2]"), message("tool", [{"type": "text", "text": "4"}])],
        ["result_as_json", "result_as_json"],
    ),
    "other keys": (
        [{"role": "user", "value": "Q"}, {"from": "gpt", "content": "A"}, {"role": "assistant", "text": "B"}],
        [message("user", "Q"), message("assistant", "A"), message("assistant", "B")],
        [],
    ),
    "a role of its own": (
        [said("critic", "Hm."), said("Human", "Q")],
        [message("critic", "Hm."), message("user", "Q")],
        [],
    ),
    "no text beside calls": (
        [said("gpt", None, tool_calls=[CALL])],
        [message("assistant", None, tool_calls=[CALL])],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "expected", "codes"), CASES.values(), ids=CASES)
def test_messages(rows: list[Any], expected: list[Any], codes: list[str]) -> None:
    notes: list[Note] = []
    before = copy.deepcopy(rows)
    assert of_sharegpt(rows, notes) == expected
    assert rows == before
    assert [note.code for note in notes] == codes


@pytest.mark.parametrize(
    ("role", "names"),
    {
        "user": ("human", "user", "Human", "USER"),
        "assistant": ("gpt", "assistant", "chatgpt", "bing", "bard", "model", "bot", "AI", "GPT"),
        "system": ("system", "system_prompt", "System Prompt"),
        "call": ("function_call", "function-call", "tool_call", "tool_calls", "Function Call"),
        "tool": ("observation", "tool", "function_response", "tool-response", "function-response", "ipython"),
    }.items(),
)
def test_spellings(role: str, names: tuple[str, ...]) -> None:
    assert {role_of(name) for name in names} == {role}
    assert role_of("Critic") == "Critic"


def test_detection() -> None:
    assert is_sharegpt([said("human", "Q")])
    assert is_sharegpt([{"role": "user", "text": "Q"}])
    assert not is_sharegpt([{"role": "user", "content": "Q"}])
    assert not any(map(is_sharegpt, ([], "from", [3], None)))


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([], "the conversation must be a list with at least one item, got list []"),
        ("Hi", "the conversation must be a list with at least one item, got str 'Hi'"),
        ([said("human", "Q"), "A"], "message 1 must be a dict, got str 'A'"),
        ([{"value": "Q"}], "message 0 has no 'from' or 'role' with a name; its keys are 'value'"),
        ([{"from": "gpt"}], "message 0 has no 'value', 'content' or 'text'; its keys are 'from'"),
        ([said("gpt", None)], "message 0 must have text or a list of content parts, got NoneType None"),
        ([said("human", 4)], "message 0 must have text or a list of content parts, got int 4"),
        ([said("tool", 4)], "message 0 must have text or a list of content parts, got int 4"),
        ([said("function_call", 4)], "message 0 must have text or a list of content parts, got int 4"),
    ],
)
def test_broken_rows(rows: Any, error: str) -> None:
    with pytest.raises(DialectError) as raised:
        of_sharegpt(rows, [])
    assert error in str(raised.value)


def test_tools_in_two_places_are_told() -> None:
    note = tools_in_system_note("<tools>[]</tools>", [{"name": "add"}])
    assert note is not None
    assert "both are rendered" in note.message
    assert tools_in_system_note("<tools>[]</tools>", None) is None
    assert tools_in_system_note("Be brief.", [{"name": "add"}]) is None


SPEAKERS = st.sampled_from(["human", "gpt", "system", "observation", "function_call", "critic", "Tool"])
TEXTS = st.lists(
    st.sampled_from(
        ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", CALL_TEXT, "\n", " ", "{", "a"]
    )
    | st.text(max_size=5),
    max_size=6,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(SPEAKERS, TEXTS), min_size=1, max_size=5))
def test_no_word_is_lost(turns: list[tuple[str, str]]) -> None:
    found = of_sharegpt([said(speaker, value) for speaker, value in turns], [])
    kept = "".join(item["content"] for item in found)
    for item in found:
        for call in item.get("tool_calls", ()):
            assert call == CALL
            kept += CALL_TEXT
    for _, value in turns:
        for tag in ("tool_call", "tool_response"):
            value = value.replace(f"<{tag}>", " ").replace(f"</{tag}>", " ")
        for word in value.split():
            assert word in kept
