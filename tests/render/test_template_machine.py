"""The machine renders what traced Jinja2 renders: text, origins, owners, generation blocks; or leaves it to Jinja2."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from cases import TEMPLATES as HABITS
from cases import TRICKY_CONTENTS, assistant, user
from chatspan.render.rendered import Render
from chatspan.render.renderer import ChatRenderer
from conversations import CONVERSATIONS, call, calls, schema, tool
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from machine import LEFT, Given, NativeTemplate, assert_same, both, compare, given, made, native, traced
from machine_cases import CASES, CLOCK, ORIGINS, UNLIKE_JINJA2, one_by_one
from machine_values import VALUES
from random_chats import CONVERSATIONS as RANDOM_CONVERSATIONS
from random_chats import OPTIONS as RANDOM_OPTIONS
from random_templates import VALUES as RANDOM_VALUES
from random_templates import templates
from transformers.utils.chat_template_utils import _compile_jinja_template
from zoo import ZOO, ZOO_TOKENIZERS, require_zoo

RAISES = "(raises)"
TEMPLATES = sorted((ZOO / "templates").glob("*.jinja")) if ZOO.is_dir() else []
MESSAGES = [user("Hi <b>"), assistant("Hello  "), user(" And\n"), assistant("é🚆")]

LONE_SURROGATES = [
    "{{ messages[0].content }}",
    "{{ messages[1].content }}",
    "{{ messages[0].content ~ word }}|{{ (messages[0].content ~ word) | length }}",
    "{{ messages | tojson }}|{{ messages[0] }}|{{ word | upper }}|{{ messages[0].content[:-1] }}",
    "{{ '\\ud83d' }}{{ '\\ud83d\\ude86' }}",
]
# Nested as far as Jinja2 takes it, and further.
DEEP = [
    "{{ deep | tojson }}{{ deep }}{{ deep == deep }}",
    "{{ word" + " | trim" * 150 + " }}",
    "{{ " + "not " * 150 + "word }}",
    "{{ " + " - ".join(["1"] * 200) + " }}",
    "{{ " + " + ".join(["word"] * 400) + " }}",
    "{{ " + " ~ ".join(["word"] * 400) + " }}",
    "{{ " + "(" * 60 + "word" + " ~ 'a')" * 60 + " }}",
    "{% if word %}" * 18 + "x" + "{% endif %}" * 18,
    "{% for x in [1] %}" * 18 + "{{ x }}" + "{% endfor %}" * 18,
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}{% endcall %}{% endmacro %}"
    "{{ g() }}",
    "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x | length }}",
]
# Every render in a process of its own, which a stack that overflows would end.
NESTING = """
from machine import given, native
more = "{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% set ns.y = [ns.y] %}{% endfor %}"
ends = ["", "{{ ns.x == ns.y }}", "{{ ns.x | string | length }}", "{{ ns.x | tojson | length }}"]
for index, end in enumerate(ends):
    native("{% set ns = namespace(x=[], y=[]) %}" + 2 * more + end, given([{"role": "user", "content": "a"}]))
    print(index, flush=True)
"""
# Forms that contents and calls come in, each of which some template cannot take.
FORMS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    **CONVERSATIONS,
    "tricky parts": ([user([{"type": "text", "text": text} for text in TRICKY_CONTENTS.values()])], {}),
    "an image": ([user([{"type": "image"}, {"type": "text", "text": "what?"}]), assistant("A cat.")], {}),
    "None and calls": ([user("Go."), calls(call("rebook", {"n": None}), content=None), tool("ok")], {}),
    "None alone": ([user("Go."), assistant(None)], {}),
    "empty": ([user(""), assistant("")], {}),
    "nested arguments": (
        [
            user("Go."),
            calls(call("rebook", {"a": {"b": [1, 2.5, None, True, "é"]}, "c": [], "d": {}, "e": "two\nlines"})),
            tool([{"type": "text", "text": "done"}]),
            assistant("Yes."),
        ],
        {"tools": [schema()]},
    ),
    "arguments as bad text": ([user("Go."), calls(call("rebook", "{not json")), tool({"ok": True})], {}),
    "no arguments": ([user("Go."), calls({"type": "function", "function": {"name": "rebook"}})], {}),
    "a call without a function": ([user("Go."), calls({"name": "rebook", "arguments": {"a": 1}})], {}),
    "another role": (
        [{"role": "developer", "content": "Be kind."}, user("Hi"), {"role": "critic", "content": "No."}],
        {},
    ),
    "no content": ([user("Hi"), {"role": "assistant"}], {}),
    "no role": ([{"content": "Hi"}], {}),
    "thinking": ([user("Hi"), assistant("Yes.", thinking="so"), user("And?"), assistant("No.", reasoning="but")], {}),
    "extras": (
        [
            user(
                "Hi",
            )
            | {"name": "Ann", "items": [1], "get": "x"},
            assistant("Yes.", prefix=True, weight=0.5),
        ],
        {},
    ),
    "rich tools": (
        [user("Hi")],
        {
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "book",
                        "description": 'Books "it".\nSoon',
                        "parameters": {
                            "type": "object",
                            "required": ["a"],
                            "properties": {
                                "a": {"type": ["string", "null"], "enum": ["x", "ü"], "default": "x"},
                                "b": {"type": "array", "items": {"type": "integer"}, "description": "numbers"},
                                "c": {"type": "object", "properties": {"d": {"type": "number"}}},
                                "e": {"anyOf": [{"type": "string"}, {"type": "boolean"}]},
                            },
                        },
                        "return": {"type": "string", "description": "an answer"},
                    },
                }
            ]
        },
    ),
}
# Keywords that templates read.
OPTIONS: list[dict[str, Any]] = [
    {**prompt, **tools, **thinking}
    for prompt, tools, thinking in itertools.product(
        ({}, {"add_generation_prompt": True}),
        ({}, {"tools": [schema(), schema("cancel")]}),
        ({}, {"enable_thinking": True}, {"enable_thinking": False}),
    )
]


class Outcomes(Counter[str]):
    """Counts outcomes, and says them in one line."""

    def said(self) -> str:
        return ", ".join(f"{count} {outcome}" for outcome, count in self.most_common())


def outcomes_of(what: str) -> Any:
    """Counts for a test, which are said at the end of the run."""

    @pytest.fixture(scope="module")
    def outcomes(say: Callable[[str], None]) -> Iterator[Outcomes]:
        counts = Outcomes()
        yield counts
        say(f"{what}, the machine and traced Jinja2: {counts.said()}")

    return outcomes


renders = outcomes_of("real templates")
random_renders = outcomes_of("random messages on real templates")
cases = outcomes_of("small templates")
random_templates = outcomes_of("random templates")


@pytest.fixture(scope="module")
def natively(say: Callable[[str], None]) -> Iterator[dict[str, str]]:
    left: dict[str, str] = {}
    yield left
    whole = len(left) - sum(1 for reason in left.values() if reason)
    said = "; ".join(f"{name}: {reason}" for name, reason in left.items() if reason)
    say(f"templates that the machine takes: {whole} of {len(left)}. {said}".strip())


# --- real templates


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_real_templates(
    path: Any, zoo_messages: list[Any], renders: Outcomes, natively: dict[str, str], request: Any
) -> None:
    source, everything = path.read_text(), request.config.getoption("--all")
    template = made(source)
    natively[path.stem] = "" if isinstance(template, NativeTemplate) else str(template)
    options = OPTIONS if everything else OPTIONS[:: len(OPTIONS) - 1]
    for messages, keywords in FORMS.values():
        for more in options:
            renders[compare(source, given(messages, **{**keywords, **more}))] += 1
    turn = TEMPLATES.index(path)
    for index, messages in enumerate(zoo_messages[:: 1 if everything else 20]):
        more = OPTIONS[(index + turn) % len(OPTIONS)]
        renders[compare(source, given(messages, **more))] += 1
        for end in range(1, min(len(messages), 8)) if everything else ():
            renders[compare(source, given(messages[:end], **more))] += 1


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
def test_the_tokenizers_own_templates(
    name: str, zoo_tokenizer: Callable[[str], Any], zoo_messages: list[Any], renders: Outcomes, request: Any
) -> None:
    tokenizer = zoo_tokenizer(name)
    special = {key: value for key, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    for with_tools in (None, [schema()]):
        source = ChatRenderer(tokenizer).source(with_tools)
        for messages, keywords in FORMS.values():
            renders[compare(source, given(messages, **{**keywords, "tools": with_tools, **special}))] += 1
        for messages in zoo_messages[:: 1 if request.config.getoption("--all") else 20]:
            renders[compare(source, given(messages, tools=with_tools, **special))] += 1


@pytest.mark.parametrize("name", HABITS)
def test_templates_of_every_habit(name: str, renders: Outcomes) -> None:
    for messages, keywords in FORMS.values():
        renders[compare(HABITS[name], given(messages, **keywords))] += 1


def test_the_templates_are_there() -> None:
    require_zoo()
    assert len(TEMPLATES) == 55


@pytest.mark.parametrize("path", TEMPLATES[::9], ids=lambda path: path.stem)
def test_a_render_changes_nothing_that_the_next_one_sees(path: Any, renders: Outcomes) -> None:
    source, (messages, keywords) = path.read_text(), FORMS["two calls"]
    what, copy = given(messages, **keywords), given(deepcopy(messages), **deepcopy(keywords))
    first, again = native(source, what), native(source, what)
    assert what == copy
    wanted = traced(source, copy)
    for found in (first, again):
        renders[assert_same(wanted, found)] += 1


def test_real_templates_are_not_left_to_jinja2(natively: dict[str, str], renders: Outcomes) -> None:
    assert not {name: reason for name, reason in natively.items() if reason}
    left = {outcome: count for outcome, count in renders.items() if outcome.startswith(LEFT)}
    assert 100 * sum(left.values()) <= renders.total(), left


# --- what Python does


@pytest.mark.parametrize("group", CASES)
def test_what_python_does(group: str, cases: Outcomes) -> None:
    failures, sources = [], list(one_by_one(group))
    for source in sources:
        wanted, found = both(source, values_for(source))
        plain, text = by_jinja2(source), text_of(wanted)
        try:
            assert plain == text or " at 0x" in plain, f"Jinja2 gives {plain!r}, traced {text!r}"
            cases[assert_same(wanted, found)] += 1
        except AssertionError as difference:
            failures.append(f"{source}\n    {difference}")
    assert not failures, f"{len(failures)} of {len(sources)}:\n" + "\n".join(failures)


@pytest.mark.parametrize("source", UNLIKE_JINJA2)
def test_where_traced_strings_are_not_jinja2s_the_machine_is_one_of_both(source: str, cases: Outcomes) -> None:
    wanted, found = both(source, values_for(source))
    plain = by_jinja2(source)
    assert plain != text_of(wanted)
    if isinstance(found, Render) and found.text == plain:
        cases["as Jinja2, not as traced"] += 1
    else:
        cases[assert_same(wanted, found)] += 1


@pytest.mark.parametrize("source", LONE_SURROGATES)
def test_half_a_character(source: str, cases: Outcomes) -> None:
    """JSON may have one, a Python string keeps it, and UTF-8 cannot."""
    cases[compare(source, given([user("a\ud83d"), assistant("b")], word="\ude86"))] += 1


@pytest.mark.parametrize("source", DEEP)
def test_depth(source: str, cases: Outcomes) -> None:
    deep: Any = "x"
    for level in range(300):
        deep = [deep] if level % 2 else {"a": deep}
    cases[compare(source, given(MESSAGES, word="w", deep=deep))] += 1


def test_what_a_template_nests_without_end_does_not_end_the_process() -> None:
    here = Path(__file__).parent
    helpers = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (here, here.parent)))}
    run = subprocess.run([sys.executable, "-c", NESTING], capture_output=True, text=True, env=helpers, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.split() == ["0", "1", "2", "3"]


def values_for(source: str) -> Given:
    """The values that a template names; what it does not read is nothing to the machine."""
    values = {name: value for name, value in VALUES.items() if re.search(rf"\b{name}\b", source)}
    return given(MESSAGES, tools=[schema()] if "tools" in source else None, **values)


def text_of(result: Any) -> str:
    return result.text if isinstance(result, Render) else RAISES


def by_jinja2(source: str) -> str:
    """What transformers renders."""
    given = {**VALUES, "messages": MESSAGES, "add_generation_prompt": False, "tools": None, "documents": None}
    try:
        return str(_compile_jinja_template(source).render(**given))
    except Exception:
        return RAISES


@pytest.mark.parametrize("source", [*CLOCK, *ORIGINS])
def test_the_clock_and_origins(source: str, cases: Outcomes) -> None:
    cases[compare(source, values_for(source))] += 1


# --- random ones

EXAMPLES = 2 * settings.default.max_examples


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@hypothesis.given(source=templates(), messages=RANDOM_CONVERSATIONS, options=RANDOM_OPTIONS, values=RANDOM_VALUES)
def test_random_templates(
    random_templates: Outcomes, source: str, messages: list[Any], options: dict[str, Any], values: dict[str, Any]
) -> None:
    outcome = compare(source, given(messages, **options, **values))
    random_templates[outcome] += 1
    event(outcome)


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@hypothesis.given(data=st.data(), messages=RANDOM_CONVERSATIONS, options=RANDOM_OPTIONS)
def test_random_messages_on_real_templates(
    random_renders: Outcomes, data: Any, messages: list[Any], options: dict[str, Any]
) -> None:
    require_zoo()
    path = data.draw(st.sampled_from(TEMPLATES), label="template")
    outcome = compare(path.read_text(), given(messages, **options))
    random_renders[outcome] += 1
    event(outcome)
