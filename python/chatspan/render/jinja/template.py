"""A compiled chat template: traced input in, a render out."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes

from chatspan.render.jinja.environment import TracedEnvironment
from chatspan.render.jinja.roles import named_roles
from chatspan.render.jinja.switches import switches
from chatspan.render.jinja.text import Field, OwnerMark
from chatspan.render.origins import Run
from chatspan.render.rendered import CharRange, Render

# What a template reads that no row gives as a keyword of its own.
ALWAYS_GIVEN = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now", "range"}
    | {"namespace", "dict", "bos_token", "eos_token", "pad_token", "unk_token", "loop"}
)
# Methods of strings that look for one.
_SEARCHES = ("startswith", "endswith", "find", "rfind", "index", "count", "split", "rsplit", "partition", "rpartition")


def _text_of(node: jinja2.nodes.Node) -> str:
    return node.value if isinstance(node, jinja2.nodes.Const) and isinstance(node.value, str) else ""


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
    def keywords(self) -> tuple[str, ...]:
        """The names that the template reads from its caller and that a row may give, in order."""
        return tuple(sorted(name for name in self.variables - ALWAYS_GIVEN if not name.endswith("_token")))

    @functools.cached_property
    def switches(self) -> Mapping[str, tuple[Any, ...]]:
        """The keywords that a caller may give, and values that the template writes something else for."""
        return switches(self.tree, self.keywords)

    @functools.cached_property
    def keys(self) -> frozenset[str]:
        """All names that the template may look up in what it is given: attributes, and texts that it writes out."""
        attributes = {node.attr for node in self.tree.find_all(jinja2.nodes.Getattr)}
        constants = {node.value for node in self.tree.find_all(jinja2.nodes.Const) if isinstance(node.value, str)}
        return frozenset(attributes | constants)

    @functools.cached_property
    def has_generation_tags(self) -> bool:
        """Whether the template says itself what an assistant wrote."""
        return any(self.tree.find_all(jinja2.nodes.ExtensionAttribute))

    @functools.cached_property
    def literal_text(self) -> str:
        """The text that the template's source itself writes, pieces between NULs."""
        literals = {node.data for node in self.tree.find_all(jinja2.nodes.TemplateData)}
        literals |= {node.value for node in self.tree.find_all(jinja2.nodes.Const) if isinstance(node.value, str)}
        return "\0".join(literals)

    @functools.cached_property
    def tested_literals(self) -> tuple[str, ...]:
        """The texts that the template looks for in texts, but plain words, which are the names of keys and roles."""
        found = set()
        for compared in self.tree.find_all(jinja2.nodes.Compare):
            if any(operand.op in ("in", "notin") for operand in compared.ops):
                found.add(_text_of(compared.expr))
        for call in self.tree.find_all(jinja2.nodes.Call):
            if isinstance(call.node, jinja2.nodes.Getattr) and call.node.attr in _SEARCHES and call.args:
                found.add(_text_of(call.args[0]))
        return tuple(sorted(text for text in found if text.strip() and not text.replace("_", "").isalnum()))

    @functools.cached_property
    def compared_words(self) -> frozenset[str]:
        """The words that the template compares values with or keeps something by: the roles it knows among them."""
        found: list[jinja2.nodes.Node] = []
        for compared in self.tree.find_all(jinja2.nodes.Compare):
            for operand in compared.ops:
                if operand.op in ("eq", "ne"):
                    found += [compared.expr, operand.expr]
                elif operand.op in ("in", "notin") and isinstance(
                    operand.expr, (jinja2.nodes.List, jinja2.nodes.Tuple)
                ):
                    found += operand.expr.items
        found += [pair.key for pair in self.tree.find_all(jinja2.nodes.Pair)]
        for called in self.tree.find_all(jinja2.nodes.Filter):
            found += called.args if called.name in ("selectattr", "rejectattr") else []
        words = map(_text_of, found)
        return frozenset(word for word in words if re.fullmatch(r"[\w-]+", word))

    @functools.cached_property
    def named_roles(self) -> frozenset[str]:
        """The roles that the template names."""
        return named_roles(self.tree)

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
