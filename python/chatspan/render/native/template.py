"""Chat templates that the core evaluates: made ready once, and rendered on all cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import jinja2.nodes
from jinja2.filters import do_title

from chatspan._core import NativeRender, TemplateInput, TemplateProgram, TurnScaffold, render_templates
from chatspan.errors import ChatspanError, TemplateError
from chatspan.render.limits import TemplateLimits, limit_error
from chatspan.render.native.program import Unsupported, program_of
from chatspan.render.preparation import REASONING_KEYS, Preparation, plain

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

    Args:
        tree: its syntax tree, as Jinja2's own parser gives it.

    Raises:
        Unsupported: it has a construct that the core lacks.
    """

    def __init__(self, tree: jinja2.nodes.Template) -> None:
        try:
            self.program = TemplateProgram(program_of(tree))
        except ValueError as error:
            raise Unsupported(str(error)) from None

    def read(
        self, messages: Sequence[Any], variables: Mapping[str, Any], tokens: Mapping[str, Any], prepared: Preparation
    ) -> TemplateInput:
        """Reads what is to be rendered, prepared as transformers does.

        Args:
            variables: tools, documents and keywords.
            tokens: special tokens, which are the template's own text.
            prepared: what transformers does before it renders.

        Raises:
            Unsupported: it holds what the core lacks.
        """
        prepare = plain if prepared.plain_types else None
        aliases = list(REASONING_KEYS) if prepared.aliases_reasoning else []
        try:
            return TemplateInput(messages, dict(variables), dict(tokens), prepare, prepared.drops_none, aliases)
        except (ChatspanError, MemoryError, RecursionError):
            raise
        except (ValueError, TypeError) as error:
            raise Unsupported(str(error)) from None
        # What an object of a caller's own raises: traced Jinja2 says in which message.
        except Exception:
            raise Unsupported("an object that cannot be read") from None


class RenderJob(NamedTuple):
    """What is to be rendered.

    Attributes:
        scaffold: what the template writes around assistants' messages, to cut the render by message and kind, too.
        limits: what the render may take.
    """

    template: NativeTemplate
    given: TemplateInput
    add_generation_prompt: bool
    scaffold: TurnScaffold | None = None
    limits: TemplateLimits = TemplateLimits()


# A render; that the template raised; that it met something that the core lacks; that it reached a limit.
NativeOutcome = NativeRender | RaisedError | Unsupported | TemplateError


def render_jobs(jobs: Sequence[RenderJob], now: datetime) -> list[NativeOutcome]:
    """Renders on all cores, without the GIL."""

    def answer(question: str, text: str) -> str:
        return now.strftime(text) if question == "strftime" else str(_ANSWERS[question](text))

    found = render_templates(
        [(job.template.program, *job[1:4], (job.limits.steps, job.limits.depth, job.limits.bytes)) for job in jobs],
        answer,
    )
    return [_outcome(*each) for each in found]


def _outcome(what: str, found: NativeRender | str) -> NativeOutcome:
    if isinstance(found, NativeRender):
        return found
    if what == "lacking":
        return Unsupported(found)
    if what == "limit":
        return limit_error(found)
    return RaisedError(found)
