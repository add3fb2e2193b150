"""A chat template that the core evaluates: traced input in, a render out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jinja2.filters import do_title

from chatspan._core import TemplateProgram
from chatspan.chat_template import Render, TemplateRaisedError, compiled
from chatspan.origins import Dump
from chatspan.template_program import Unsupported, program_of
from chatspan.traced_dump import runs_of_dump

__all__ = ["NativeTemplate", "Unsupported"]

# What of texts that are not ASCII depends on Python's version of Unicode.
_OF_STRINGS = ("upper", "lower", "title", "capitalize", "casefold", "isalpha", "isalnum", "isdigit", "isdecimal")
_ANSWERS: dict[str, Callable[[str], Any]] = {
    "repr": repr,
    "title filter": do_title,
    **{name: getattr(str, name) for name in (*_OF_STRINGS, "isnumeric", "isspace", "isupper", "islower")},
}


class NativeTemplate:
    """A chat template, made ready once.

    Raises:
        Unsupported: it has a construct that the core lacks.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._program = TemplateProgram(program_of(compiled(source).tree))

    def render(self, variables: Mapping[str, Any], now: datetime) -> Render:
        """Renders traced variables.

        Raises:
            TemplateRaisedError: the template raised.
            Unsupported: it met something that the core lacks.
        """

        def answer(question: str, text: str) -> str:
            return now.strftime(text) if question == "strftime" else str(_ANSWERS[question](text))

        outcome, found = self._program.render(dict(variables), answer, _dump)
        if outcome == "rendered":
            text, runs, owners, generation = found
            if not owners or owners[0][0] > 0:
                owners.insert(0, (0, -1))
            return Render(text, runs, owners, generation, variables["messages"])
        if outcome == "lacking":
            raise Unsupported(found)
        raise TemplateRaisedError(Exception(found), None, -1)


def _dump(container: Any, text: str, style: tuple[bool, str | None, tuple[str, str] | None, bool] | None) -> Dump:
    return Dump(container, lambda: runs_of_dump(container, text, style))
