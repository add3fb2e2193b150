"""Renders by the machine and by traced Jinja2, and what differs between them, for a person to read."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jinja2
from chatspan.errors import TemplateError
from chatspan.render.fields import FieldDict, FieldFloat, FieldInt, FieldList, FieldText
from chatspan.render.jinja.data import TracedDict, TracedFloat, TracedInt, TracedList
from chatspan.render.jinja.engine import render_traced, traced_variables
from chatspan.render.jinja.template import TemplateRaisedError, compiled
from chatspan.render.jinja.text import Field
from chatspan.render.native.program import Unsupported
from chatspan.render.native.render import render_of
from chatspan.render.native.template import NativeTemplate, RaisedError, RenderJob, render_jobs
from chatspan.render.origins import Run, field_runs
from chatspan.render.preparation import preparation, tool_schemas
from chatspan.render.rendered import Render
from chatspan.render.request import RenderRequest
from conversations import SPECIAL_TOKENS

# What an engine makes of a template: a render, what the template raised, that it is no template (a ``SyntaxError`` is
# Python's, of the code that Jinja2 makes: a ``break`` outside of loops), that it is left to the other one.
# A ``TemplateError`` is the machine's of what may never end.
Result = (
    Render | TemplateRaisedError | RaisedError | TemplateError | jinja2.TemplateSyntaxError | SyntaxError | Unsupported
)
NOW = datetime(2024, 2, 29, 13, 5, 7)
EQUAL, BOTH_RAISE, LEFT, INCOMPARABLE = "equal", "both raise", "left to Jinja2", "an address in the text"
# Differences that are shown of one render.
SHOWN = 4

_KINDS = {
    Field: "field",
    TracedInt: "number",
    TracedFloat: "number",
    TracedDict: "container",
    TracedList: "container",
    FieldText: "field",
    FieldInt: "number",
    FieldFloat: "number",
    FieldDict: "container",
    FieldList: "container",
}


@dataclass(frozen=True)
class Given:
    """What a template is rendered with."""

    messages: Sequence[Any]
    tools: Any
    documents: Any
    add_generation_prompt: bool
    keywords: Mapping[str, Any]

    def traced(self) -> dict[str, Any]:
        """The variables that a renderer gives to traced Jinja2."""
        return traced_variables(self.request(), SPECIAL_TOKENS, {})

    def request(self) -> RenderRequest:
        return RenderRequest(
            self.messages, self.tools, self.documents, self.add_generation_prompt, template_kwargs=self.keywords
        )

    def read(self, template: NativeTemplate) -> Any:
        """The input that a renderer gives to the machine."""
        tokens, variables = dict(SPECIAL_TOKENS), {"tools": tool_schemas(self.tools), "documents": self.documents}
        for name, value in self.keywords.items():
            (tokens if name.endswith("_token") else variables)[name] = value
        return template.read(self.messages, variables, tokens, preparation())


def given(
    messages: Sequence[Any],
    *,
    tools: Any = None,
    documents: Any = None,
    add_generation_prompt: bool = False,
    **keywords: Any,
) -> Given:
    return Given(messages, tools, documents, add_generation_prompt, keywords)


def traced(source: str, what: Given, now: datetime = NOW) -> Result:
    try:
        return render_traced(compiled(source), what.request(), SPECIAL_TOKENS, now, {})
    except (TemplateRaisedError, jinja2.TemplateSyntaxError, SyntaxError) as error:
        return error


def native(source: str, what: Given, now: datetime = NOW) -> Result:
    template = made(source)
    if not isinstance(template, NativeTemplate):
        return template
    try:
        job = RenderJob(template, what.read(template), what.add_generation_prompt)
    except Unsupported as error:
        return error
    found = render_jobs([job], now)[0]
    return found if isinstance(found, Exception) else render_of(found, ())


@functools.lru_cache(maxsize=256)
def made(source: str) -> NativeTemplate | jinja2.TemplateSyntaxError | SyntaxError | Unsupported:
    """The machine's template, or why there is none; made once, as in a renderer."""
    try:
        return NativeTemplate(compiled(source).tree)
    except (jinja2.TemplateSyntaxError, SyntaxError, Unsupported) as error:
        return error


def both(source: str, what: Given, now: datetime = NOW) -> tuple[Result, Result]:
    """What traced Jinja2 makes of a template, and what the machine does."""
    return traced(source, what, now), native(source, what, now)


def assert_same(wanted: Result, found: Result) -> str:
    """The outcome, for counting: ``"equal"``, ``"both raise"``, ``"left to Jinja2: …"`` with the reason."""
    if isinstance(found, Unsupported):
        return f"{LEFT}: {found}"
    if isinstance(wanted, Render) and isinstance(found, Render):
        if " at 0x" in wanted.text.lower():
            # The repr of an object without one of its own: another one in each render.
            return INCOMPARABLE
        differences = [*_differences(wanted, found)]
        assert not differences, "the machine's render is another one:\n" + "\n".join(differences)
        return EQUAL
    assert not isinstance(wanted, Render), f"only the machine raises: {_said(found)}\nJinja2 renders {wanted.text!r}"
    if isinstance(found, Render):
        raise AssertionError(f"only Jinja2 raises: {_said(wanted)}\nthe machine renders {found.text!r}")
    if isinstance(wanted, TemplateRaisedError) and type(wanted.error) is jinja2.TemplateError:
        # What the template says with `raise_exception`. What comes of its mistakes, each engine says in its own words.
        assert str(found) == str(wanted), f"Jinja2 raises {_said(wanted)}, the machine {_said(found)}"
    return BOTH_RAISE


def compare(source: str, what: Given, now: datetime = NOW) -> str:
    """The outcome of both."""
    return assert_same(*both(source, what, now))


def _said(result: Any) -> str:
    error = result.error if isinstance(result, TemplateRaisedError) else result
    return f"{type(error).__name__}: {error}"


def _differences(wanted: Render, found: Render) -> Iterator[str]:
    if wanted.text != found.text:
        pairs = zip(wanted.text, found.text, strict=False)
        shorter = min(len(wanted.text), len(found.text))
        start = next((i for i, (one, other) in enumerate(pairs) if one != other), shorter)
        around = slice(max(start - 20, 0), start + 40)
        yield f"text from character {start} on: Jinja2 {wanted.text[around]!r}, the machine {found.text[around]!r}"
        return
    if wanted.prompt_start_char != found.prompt_start_char:
        yield f"prompt from: Jinja2 {wanted.prompt_start_char}, the machine {found.prompt_start_char}"
    for name in ("owners", "generation"):
        ours, theirs = list(getattr(wanted, name)), list(getattr(found, name))
        if ours != theirs:
            yield f"{name}: Jinja2 {ours}, the machine {theirs}"
    if not (len(wanted.messages) == len(found.messages) and list(wanted.messages) == list(found.messages)):
        yield "messages: others"
    runs, others = merged_runs(wanted.runs), merged_runs(found.runs)
    if runs != others:
        yield from _lines("only Jinja2 has", [run for run in runs if run not in others], wanted.text)
        yield from _lines("only the machine has", [run for run in others if run not in runs], wanted.text)
        if sorted(map(str, runs)) == sorted(map(str, others)):
            yield "the runs are not in order"
    for start, end, origin, origin_start in field_runs(found.runs):
        if (
            origin_start >= 0
            and str.__str__(origin)[origin_start : origin_start + end - start] != found.text[start:end]
        ):
            yield f"no copy of its field: {_line(_place((start, end, origin, origin_start)), found.text)}"


# start, end, message, path, start in the origin, kind of the origin.
Place = tuple[int, int, int, tuple[Any, ...], int, str]


def merged_runs(runs: Sequence[Run]) -> list[Place]:
    """Which field each character is of, in as few runs as say it.

    Where a field is cut and joined again, an engine may keep the pieces or the whole: every reader gets the same
    characters of the same field, so pieces that go on where the last one ended are one run here.
    """
    merged: list[Place] = []
    for run in field_runs(runs):
        start, end, message, path, origin_start, kind = _place(run)
        if merged:
            last_start, last_end, *where, last_origin_start, last_kind = merged[-1]
            goes_on = -1 if last_origin_start < 0 else last_origin_start + last_end - last_start
            if (last_end, *where, goes_on, last_kind) == (start, message, path, origin_start, kind):
                merged[-1] = (last_start, end, message, path, last_origin_start, kind)
                continue
        merged.append((start, end, message, path, origin_start, kind))
    return merged


def _place(run: Run) -> Place:
    start, end, origin, origin_start = run
    kind = _KINDS.get(type(origin), type(origin).__name__)
    return start, end, origin._message_index, tuple(origin._path), origin_start, kind


def _lines(who: str, places: Sequence[Place], text: str) -> Iterator[str]:
    for place in places[:SHOWN]:
        yield f"{who} {_line(place, text)}"
    if len(places) > SHOWN:
        yield f"{who} {len(places) - SHOWN} runs more"


def _line(place: Place, text: str) -> str:
    start, end, message, path, origin_start, kind = place
    shown = text[start:end] if end - start <= 40 else f"{text[start : start + 20]}…{text[end - 20 : end]}"
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path if key is not None).removeprefix(
        "."
    )
    owner = f"messages[{message}]{'.' if where else ''}{where}" if message >= 0 else where
    copied = "derived from" if origin_start < 0 else f"a copy from character {origin_start} of"
    return f"[{start}:{end}] {shown!r}, {copied} {kind} {owner}"
