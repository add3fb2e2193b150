"""A compiled chat template: traced input in, a render out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes

from chatspan._core import NativeRender
from chatspan.origins import Run
from chatspan.template_env import TracedEnvironment
from chatspan.traced_str import Field, OwnerMark

CharRange = tuple[int, int]


@dataclass(frozen=True)
class Render:
    """A rendered conversation, and where it came from.

    Attributes:
        given_text: the render, where Python has it; see :attr:`text`.
        runs: in order, without overlaps: what of it came from the input.
        owners: ``(start_char, message_index)``, rising: from there on, the message being rendered (-1: none).
        generation: the characters of each generation block, in the order in which the template closed them.
        messages: the traced messages.
        prompt_start_char: where the generation prompt begins; -1 if there is none.
        open_end: whether the last message is to be continued.
        native: the core's own, where it made this one whole.
        roles: of the messages, where they are known without these.
        engine: what evaluated the template: ``"native"``, ``"jinja2"``.
    """

    given_text: str | None
    runs: Sequence[Run]
    owners: Sequence[tuple[int, int]]
    generation: Sequence[CharRange] = ()
    messages: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    prompt_start_char: int = -1
    open_end: bool = False
    native: NativeRender | None = field(default=None, repr=False)
    roles: tuple[str, ...] | None = field(default=None, repr=False)
    engine: str = "jinja2"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "given_text": self.text, "native": None}

    @property
    def text(self) -> str:
        """The render; of one by the core made when it is first asked for."""
        if self.given_text is not None:
            return self.given_text
        assert self.native is not None
        return self.native.text


class TemplateRaisedError(Exception):
    """A template raised; with the line of the template and the message being rendered."""

    def __init__(self, error: Exception, line: int | None, message_index: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.line = line
        self.message_index = message_index


class ChatTemplate:
    """A chat template, compiled once."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._environment = TracedEnvironment()
        self._template = self._environment.from_string(source)

    @functools.cached_property
    def variables(self) -> frozenset[str]:
        """The names that the template reads from its caller."""
        return frozenset(jinja2.meta.find_undeclared_variables(self.tree))

    @functools.cached_property
    def has_generation_tags(self) -> bool:
        """Whether the template says itself what an assistant wrote."""
        return any(self.tree.find_all(jinja2.nodes.ExtensionAttribute))

    @functools.cached_property
    def tree(self) -> jinja2.nodes.Template:
        """The template's syntax tree."""
        return self._environment.plain_tree(self.source)

    def render(self, variables: Mapping[str, Any], now: datetime) -> Render:
        """Renders traced variables.

        Raises:
            TemplateRaisedError: the template raised.
        """
        self._environment.start(now)
        texts: list[str] = []
        runs: list[Run] = []
        owners: list[tuple[int, int]] = []
        generation: list[CharRange] = []
        length, owner = 0, -1
        try:
            chunk: Any
            for chunk in self._template.root_render_func(self._template.new_context(dict(variables))):
                kind = type(chunk)
                if kind is str:
                    texts.append(chunk)
                    length += len(chunk)
                elif kind is OwnerMark:
                    owner = chunk.owner
                    _own(owners, length, owner)
                elif kind is Field:
                    texts.append(chunk)
                    runs.append((length, length + len(chunk), chunk, 0))
                    length += len(chunk)
                else:
                    runs += [(start + length, end + length, *origin) for start, end, *origin in chunk._runs]
                    for start, end, what in chunk._marks:
                        if isinstance(what, int):
                            _own(owners, start + length, what)
                            _own(owners, end + length, owner)
                        else:
                            generation.append((start + length, end + length))
                    texts.append(chunk)
                    length += len(chunk)
        except Exception as error:
            line = self._line(error.__traceback__)
            raise TemplateRaisedError(error, line, self._environment.owner) from error
        if not owners or owners[0][0] > 0:
            owners.insert(0, (0, -1))
        return Render("".join(texts), runs, owners, generation, variables["messages"])

    def _line(self, traceback: TracebackType | None) -> int | None:
        """The line of the template's source that a traceback ends in."""
        line = None
        while traceback is not None:
            if traceback.tb_frame.f_globals.get("environment") is self._environment:
                line = self._template.get_corresponding_lineno(traceback.tb_lineno)
            traceback = traceback.tb_next
        return line


def _own(owners: list[tuple[int, int]], start_char: int, owner: int) -> None:
    """From here on, the message being rendered is another; a change before any character was written does not count."""
    if owners and owners[-1][0] == start_char:
        owners.pop()
    if (owners[-1][1] if owners else None) != owner:
        owners.append((start_char, owner))


@functools.lru_cache(maxsize=256)
def compiled(source: str) -> ChatTemplate:
    """The template of a source, compiled once per process."""
    return ChatTemplate(source)
