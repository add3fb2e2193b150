"""A chat template that the core evaluates: messages in, a render out, and where it came from when it is asked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, overload

from jinja2.filters import do_title

from chatspan._core import Habits as CoreHabits
from chatspan._core import NativeRender, TemplateInput, TemplateProgram, render_templates
from chatspan.chat_template import Render, compiled
from chatspan.errors import TemplateError
from chatspan.origins import Dump, Root, Run
from chatspan.preparation import REASONING_KEYS, Habits, plain
from chatspan.template_limits import TemplateLimits, limit_error
from chatspan.template_program import Unsupported, program_of
from chatspan.traced_data import trace
from chatspan.traced_dump import Style, runs_of_dump

# What of texts that are not ASCII depends on Python's version of Unicode.
_OF_STRINGS = ("upper", "lower", "title", "capitalize", "casefold", "isalpha", "isalnum", "isdigit", "isdecimal")
_ANSWERS: dict[str, Callable[[str], Any]] = {
    "repr": repr,
    "title filter": do_title,
    **{name: getattr(str, name) for name in (*_OF_STRINGS, "isnumeric", "isspace", "isupper", "islower")},
}


class RaisedError(Exception):
    """The template raised; traced Jinja2 says where."""


class NativeTemplate:
    """A chat template, made ready once.

    Raises:
        Unsupported: it has a construct that the core lacks.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            self.program = TemplateProgram(program_of(compiled(source).tree))
        except ValueError as error:
            raise Unsupported(str(error)) from None

    def read(
        self, messages: Sequence[Any], variables: Mapping[str, Any], tokens: Mapping[str, Any], habits: Habits
    ) -> TemplateInput:
        """Reads what is to be rendered, prepared as transformers does.

        Args:
            variables: tools, documents and keywords.
            tokens: special tokens, which are the template's own text.

        Raises:
            Unsupported: it holds what the core lacks.
        """
        prepare = plain if habits.plain_types else None
        aliases = list(REASONING_KEYS) if habits.aliases_reasoning else []
        try:
            return TemplateInput(messages, dict(variables), dict(tokens), prepare, habits.drops_none, aliases)
        except (ValueError, TypeError) as error:
            raise Unsupported(str(error)) from None


class Job(NamedTuple):
    """What is to be rendered.

    Attributes:
        habits: what the template writes around assistants' messages, to cut the render by message and kind, too.
        limits: what the render may take.
    """

    template: NativeTemplate
    given: TemplateInput
    add_generation_prompt: bool
    habits: CoreHabits | None = None
    limits: TemplateLimits = TemplateLimits()


# A render; that the template raised; that it met something that the core lacks; that it reached a limit.
Outcome = NativeRender | RaisedError | Unsupported | TemplateError


def render_jobs(jobs: Sequence[Job], now: datetime) -> list[Outcome]:
    """Renders on all cores, without the GIL."""

    def answer(question: str, text: str) -> str:
        return now.strftime(text) if question == "strftime" else str(_ANSWERS[question](text))

    found = render_templates(
        [(job.template.program, *job[1:4], (job.limits.steps, job.limits.depth, job.limits.bytes)) for job in jobs],
        answer,
    )
    return [_outcome(*each) for each in found]


def _outcome(what: str, found: NativeRender | str) -> Outcome:
    if isinstance(found, NativeRender):
        return found
    if what == "lacking":
        return Unsupported(found)
    if what == "limit":
        return limit_error(found)
    return RaisedError(found)


@functools.lru_cache(maxsize=256)
def native_template(source: str) -> NativeTemplate | str:
    """The template of a source, made ready once per process; or what of it the core lacks."""
    try:
        return NativeTemplate(source)
    except Unsupported as lacking:
        return str(lacking)


def render_of(native: NativeRender, roles: tuple[str, ...]) -> Render:
    """The render as the rest of the package takes it; what only few ask for is made when it is asked for."""
    origins = Origins(native)
    return Render(
        given_text=None,
        runs=_Later(origins.runs),
        owners=_Later(native.owners),
        generation=_Later(native.generation),
        messages=_Later(origins.messages),
        prompt_start_char=native.prompt_start_char,
        native=native,
        roles=roles,
        engine="native",
    )


class Origins:
    """The objects that a native render came from, made from what the core read.

    Nothing refers to a render in a circle, which would keep it until Python looks for circles.
    """

    def __init__(self, native: NativeRender) -> None:
        self._native = native

    @functools.cached_property
    def _variables(self) -> dict[str, Any]:
        given = self._native.input.to_python()
        messages = [trace(message, Root(index, ()), False) for index, message in enumerate(given.pop("messages"))]
        for index, name, source in self._native.input.aliases():
            messages[index][name] = messages[index][source]
        return {"messages": messages, **{name: trace(value, Root(-1, (name,)), False) for name, value in given.items()}}

    def messages(self) -> list[Any]:
        """The messages."""
        messages: list[Any] = self._variables["messages"]
        return messages

    def runs(self) -> list[Run]:
        """What of the render came from them."""
        return self._native.runs(self._find, _dump)

    def _find(self, message_index: int, path: tuple[Any, ...]) -> Any:
        """What stands at a place."""
        found: Any = self._variables["messages"][message_index] if message_index >= 0 else self._variables
        for key in path:
            found = found[key]
        return found


def _dump(container: Any, text: str, style: Style | None) -> Dump:
    return Dump(container, lambda: runs_of_dump(container, text, style))


class _Later(Sequence[Any]):
    """A list that is made when it is first looked at."""

    def __init__(self, make: Callable[[], list[Any]]) -> None:
        self._make = make

    @functools.cached_property
    def _items(self) -> list[Any]:
        return self._make()

    def __reduce__(self) -> Any:
        return (list, (self._items,))

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return list(self) == other
