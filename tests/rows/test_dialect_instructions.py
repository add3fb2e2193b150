"""Instructions, prompts with completions, and function-calling rows: columns that hold no messages yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chatspan.rows.dialects.alpaca import is_alpaca, of_alpaca, require_no_preferences
from chatspan.rows.dialects.completions import is_completion, of_completion
from chatspan.rows.dialects.found import DialectError, Found
from chatspan.rows.dialects.glaive import is_glaive, of_glaive
from chatspan.rows.dialects.xlam import is_xlam, of_xlam


def chat(*texts: str, system: str | None = None) -> list[dict[str, Any]]:
    head = [] if system is None else [{"role": "system", "content": system}]
    return head + [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "Translate.", "input": "Hallo", "output": "Hello"}, chat("Translate.\nHallo", "Hello")),
        ({"instruction": "Say hi.", "input": "", "output": "Hi"}, chat("Say hi.", "Hi")),
        ({"instruction": "Say hi.", "output": "Hi", "system": "Brief."}, chat("Say hi.", "Hi", system="Brief.")),
        (
            {"instruction": "C", "input": None, "output": "D", "history": [["A", "B"]], "system": ""},
            chat("A", "B", "C", "D"),
        ),
        ({"instruction": "Sum up.", "context": "Long.", "response": "Short."}, chat("Sum up.\nLong.", "Short.")),
        ({"query": "C", "response": "D", "history": '[["A", "B"]]'}, chat("A", "B", "C", "D")),
        ({"system_prompt": "Be kind.", "question": "Q", "response": "A"}, chat("Q", "A", system="Be kind.")),
        ({"question": "2+2?", "answer": "4"}, chat("2+2?", "4")),
    ],
)
def test_instructions(row: dict[str, Any], expected: list[Any]) -> None:
    assert is_alpaca(row)
    found = of_alpaca(row)
    assert found.messages == expected
    assert found.columns <= set(row)
    assert [note.code for note in found.notes] == ["instruction_read"]


@pytest.mark.parametrize(
    ("row", "expected", "completion_from", "codes"),
    [
        ({"prompt": "Q", "completion": "A"}, chat("Q", "A"), 1, ["prompt_text_read", "completion_text_read"]),
        ({"prompt": chat("Q", "A", "R"), "completion": chat("", "B")[1:]}, chat("Q", "A", "R", "B"), 3, []),
        ({"prompt": chat("Q", system="S"), "completion": "A"}, chat("Q", "A", system="S"), 2, ["completion_text_read"]),
        ({"prompt": "Q", "completion": chat("", "A")[1]}, chat("Q", "A"), 1, ["prompt_text_read"]),
        (
            {"prompt": '[{"role": "user", "content": "Q"}]', "completion": '{"v": 1}'},
            chat("Q", '{"v": 1}'),
            1,
            ["completion_text_read"],
        ),
    ],
)
def test_completions(row: dict[str, Any], expected: list[Any], completion_from: int, codes: list[str]) -> None:
    assert is_completion(row)
    found = of_completion(row)
    assert (found.messages, found.completion_from) == (expected, completion_from)
    assert [note.code for note in found.notes] == codes


def test_xlam() -> None:
    answers = '[{"name": "get", "arguments": {"city": "Bern"}}, {"name": "get", "arguments": {"city": "Rom"}}]'
    tool = {"name": "get", "description": "Gets.", "parameters": {"city": {"type": "str"}}}
    row = {"id": 1, "query": "Weather?", "answers": answers, "tools": [tool]}
    assert is_xlam(row)
    found = of_xlam(row)
    calls = [{"type": "function", "function": {"name": "get", "arguments": {"city": city}}} for city in ("Bern", "Rom")]
    assert found.messages == [*chat("Weather?"), {"role": "assistant", "content": "", "tool_calls": calls}]
    assert found.tools == [{"type": "function", "function": tool}]
    assert of_xlam({**row, "answers": "I cannot.", "tools": "[]"}).messages == chat("Weather?", "I cannot.")


FUNCTION = '{\n    "name": "get_news",\n    "description": "Gets {news}.",\n    "parameters": {"type": "object"}\n}'
TOOL = {
    "type": "function",
    "function": {"name": "get_news", "description": "Gets {news}.", "parameters": {"type": "object"}},
}
ACCESS = "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"


def glaive_call(arguments: dict[str, Any]) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "get_news", "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def test_glaive() -> None:
    turns = [
        "USER: News?\nOf today.",
        """ASSISTANT: <functioncall> {"name": "get_news", "arguments": '{"country": "France"}'} <|endoftext|>""",
        'FUNCTION RESPONSE: {"headlines": ["It\'s on"]}',
        "ASSISTANT: It is on. <|endoftext|>",
        "USER: More",
        """ASSISTANT: Wait. <functioncall> {"name": "get_news", "arguments": '{"of": "Tom\\'s"}'} <|endoftext|>""",
    ]
    row = {"system": ACCESS + FUNCTION + "\n\n" + FUNCTION + "\n", "chat": "\n\n\n".join(turns) + " "}
    assert is_glaive(row)
    found = of_glaive(row)
    assert found.tools == [TOOL, TOOL]
    assert found.messages == [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "News?\nOf today."},
        glaive_call({"country": "France"}),
        {"role": "tool", "content": '{"headlines": ["It\'s on"]}'},
        {"role": "assistant", "content": "It is on."},
        {"role": "user", "content": "More"},
        {**glaive_call({"of": "Tom's"}), "content": "Wait."},
    ]
    assert [note.code for note in found.notes] == ["functions_cut"]


@pytest.mark.parametrize(
    ("system", "expected", "has_tools"),
    [
        ("SYSTEM: You are a helpful assistant, with no access to external functions.\n", None, False),
        ("SYSTEM: Answer in {json}.", "Answer in {json}.", False),
        (f"Use these functions:\n[{FUNCTION}]\nBe brief.", "Use these functions\n\nBe brief.", True),
        (None, "", False),
    ],
)
def test_glaive_system_texts(system: Any, expected: str | None, has_tools: bool) -> None:
    found = of_glaive({"system": system, "chat": "USER: Hi\n\n\nASSISTANT: Hello <|endoftext|>"})
    if expected is None:
        expected = system.removeprefix("SYSTEM: ").strip()
    assert found.messages == chat("Hi", "Hello", system=expected or None)
    assert bool(found.tools) is has_tools


def test_a_glaive_call_that_is_broken_stays_text() -> None:
    found = of_glaive({"chat": 'USER: Hi\n\n\nASSISTANT: <functioncall> {"name": "x", "arguments": oops}'})
    assert found.messages == chat("Hi", '<functioncall> {"name": "x", "arguments": oops}')
    assert [note.code for note in found.notes] == ["functioncall_unreadable"]


@pytest.mark.parametrize(
    ("read", "row", "error"),
    [
        (of_alpaca, {"instruction": "Q"}, "an instruction needs its answer"),
        (of_alpaca, {"instruction": " ", "input": "", "output": "A"}, "'instruction' is blank"),
        (of_alpaca, {"instruction": "Q", "output": ["A"]}, "'output' must be text, got list ['A']"),
        (of_alpaca, {"instruction": "Q", "output": "A", "history": [["B"]]}, "item 0 is list ['B']"),
        (of_completion, {"prompt": 3, "completion": "A"}, "'prompt' must be a list with at least one item, got int 3"),
        (of_completion, {"prompt": ["Q"], "completion": "A"}, "message 0 of 'prompt' must be a dict, got str 'Q'"),
        (of_xlam, {"query": 3, "answers": "[]", "tools": "[]"}, "'query' must be text, got int 3"),
        (of_xlam, {"query": "Q", "answers": [{"name": 3}], "tools": "[]"}, "'answers' must be calls"),
        (of_xlam, {"query": "Q", "answers": "A", "tools": "none"}, "'tools' must be a list of functions"),
        (of_glaive, {"system": 3, "chat": "USER: Hi"}, "'system' must be text, got int 3"),
        (of_glaive, {"chat": "Hi\n\nASSISTANT: Hello"}, "'chat' must begin with 'USER:'"),
        (require_no_preferences, {"chosen": "A", "rejected": "B"}, "'dpo_pairs'"),
    ],
)
def test_broken_rows(read: Callable[[Any], Found | None], row: dict[str, Any], error: str) -> None:
    with pytest.raises(DialectError) as raised:
        read(row)
    assert error in str(raised.value)


def test_rows_of_other_shapes_are_not_taken() -> None:
    row = {"messages": chat("Q", "A"), "source": "x"}
    assert not any(is_it(row) for is_it in (is_alpaca, is_completion, is_xlam, is_glaive))
    assert not is_glaive({"chat": chat("Q", "A")})
    require_no_preferences({"chosen": "A", "rejected": "B", "completion": "A", "prompt": "Q"})
