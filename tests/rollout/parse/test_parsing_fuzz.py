"""Any text is a completion: what comes back is a message, and one that is certain renders back."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from call_templates import CALL_TEMPLATES
from chatspan import ChatEncoder, ParsedCompletion
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prompts import SOURCES, tokenizer_for
from random_messages import TOOLS, marks_in
from transformers import AutoTokenizer
from turn_shapes import NEEDED
from zoo import EXAMPLES, ZOO

PROMPT = [{"role": "user", "content": "Weather?"}]
CALLS = [("get_weather", {"city": "a b", "days": 3, "opt": {"k": [1, None]}}), ("find", {})]
WORDS = st.sampled_from(
    ["Hi", " ", "\n", "\n\n", "{", "}", "[", "]", '"', ":", ",", "find", "n", "1", "null", "\\", "\0"]
)
# Templates of all forms, and some real ones of those that no form here is like.
NAMES = [*CALL_TEMPLATES]
REAL = ["Qwen-Qwen3-0.6B", "GLM-4.7-Flash", "google-gemma-4-31B-it", "openai-gpt-oss-120b", "Kimi-K2-Thinking"]
if ZOO.is_dir():
    NAMES += REAL


@functools.cache
def known(name: str) -> tuple[Any, ChatEncoder, str, dict[str, Any]]:
    if name in CALL_TEMPLATES:
        tokenizer, source = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer"), CALL_TEMPLATES[name]
    else:
        tokenizer, source = tokenizer_for(name), SOURCES[name]
    return tokenizer, ChatEncoder(tokenizer, chat_template=source), source, NEEDED.get(name, {})


@functools.cache
def completions(name: str) -> tuple[str, ...]:
    """Whole turns, of which others are made."""
    tokenizer, _, source, keywords = known(name)
    calls = [
        {"type": "function", "id": f"abcdefgh{index}", "function": {"name": called, "arguments": arguments}}
        for index, (called, arguments) in enumerate(CALLS)
    ]
    plain: dict[str, Any] = {"role": "assistant", "content": "It is."}
    found = []
    for message in (
        plain,
        {**plain, "reasoning_content": "Hm."},
        {**plain, "tool_calls": calls[:1]},
        {**plain, "tool_calls": calls},
    ):
        texts = []
        for messages, prompt in ((PROMPT, True), ([*PROMPT, message], False)):
            try:
                texts.append(
                    tokenizer.apply_chat_template(
                        messages,
                        chat_template=source,
                        tokenize=False,
                        tools=TOOLS,
                        add_generation_prompt=prompt,
                        **keywords,
                    )
                )
            except Exception:
                break
        if len(texts) == 2:
            same = next((at for at, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), len(texts[0]))
            found.append(texts[1][same:])
    return tuple(found)


def texts(name: str) -> st.SearchStrategy[str]:
    """Anything, pieces of the template, and turns with something cut out, put in, or cut off."""
    pieces = st.sampled_from(marks_in(known(name)[2]) or ["<x>"])
    anything = st.lists(st.one_of(pieces, WORDS, st.text(max_size=3)), max_size=8).map("".join)
    turns = st.sampled_from(completions(name) or ("Hi",))

    @st.composite
    def changed(draw: Any) -> str:
        turn = draw(turns)
        first, last = sorted(draw(st.integers(0, len(turn))) for _ in range(2))
        return draw(
            st.sampled_from(
                [turn[:last], turn[:first] + turn[last:], turn[:first] + draw(anything) + turn[first:], turn + turn]
            )
        )

    return st.one_of(anything, changed(), st.text(max_size=20))


def require_holds(name: str, text: str, parsed: ParsedCompletion) -> None:
    """The message is JSON in OpenAI's form; it renders back if that is certain, by transformers."""
    tokenizer, _, source, keywords = known(name)
    json.dumps([parsed.message, parsed.tool_calls, parsed.others])
    assert parsed.message["role"] == "assistant"
    assert isinstance(parsed.message["content"], str)
    assert text.endswith(parsed.rest)
    assert [call["function"]["name"] for call in parsed.message.get("tool_calls", ())] == [
        call["function"]["name"] for call in parsed.tool_calls
    ]
    assert all(isinstance(call["function"]["arguments"], dict) for call in parsed.tool_calls)
    if not parsed.certain:
        assert parsed.notes
        return
    row, prompt = (
        tokenizer.apply_chat_template(
            messages, chat_template=source, tokenize=False, tools=TOOLS, add_generation_prompt=prompt, **keywords
        )
        for messages, prompt in (([*PROMPT, parsed.message], False), (PROMPT, True))
    )
    body = text[: len(text) - len(parsed.rest)]
    if all(note.code != "spelling" for note in parsed.notes):
        assert row.startswith(prompt + body)
    else:
        assert row.startswith(prompt)
        assert row[len(prompt) :] != body


@pytest.mark.parametrize("name", NAMES)
def test_any_completion(name: str, request: Any) -> None:
    @settings(
        max_examples=3000 if request.config.getoption("--all") else 25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(texts(name))
    def check(text: str) -> None:
        _, encoder, _, keywords = known(name)
        parsed = encoder.parse_completion(PROMPT, text, TOOLS, template_kwargs=keywords)
        require_holds(name, text, parsed)

    check()


@pytest.mark.parametrize("name", ["keyed tags", "JSON list", "Python calls"])
def test_long_completions_of_one_mark(name: str) -> None:
    """Nothing that begins a call over and over is searched for long."""
    _, encoder, source, _ = known(name)
    for mark in (*marks_in(source), " ", "\n", "{", "[", '{"a":', "<", "find(", "<arg_key>a</arg_key>\n<arg_value>"):
        parsed = encoder.parse_completion(PROMPT, mark * (20000 // len(mark)), TOOLS)
        assert parsed.message["role"] == "assistant"
