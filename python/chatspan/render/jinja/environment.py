"""The Jinja environment of transformers, with hooks that keep origins.

The same sandbox, filters, globals and tags as ``transformers.utils.chat_template_utils`` sets up. Four hooks more:
joins keep runs; filters and string methods that would lose them give derived runs; loops over messages (and macros
that take one) say which message is being rendered; generation blocks mark what they write.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import jinja2
import jinja2.compiler
import jinja2.ext
import jinja2.nodes as nodes
import jinja2.utils
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from chatspan.render.jinja.data import TracedBytes, TracedDict, message_of, remembered
from chatspan.render.jinja.dump import dump_json, dump_repr
from chatspan.render.jinja.text import (
    GENERATION,
    Field,
    OwnerMark,
    Traced,
    TracedMarkup,
    add,
    as_markup,
    derived,
    escape,
    formatted,
    join,
    join_with,
    percent,
    replace,
)


def to_text(value: Any) -> str:
    """``str(value)``, with the runs of what is inside."""
    kind = type(value)
    if kind is str or kind is Field or kind is Traced:
        return value  # type: ignore[no-any-return]
    if kind in (list, dict, tuple):
        return dump_repr(value)
    text = str(value)
    if isinstance(text, Traced):
        return text
    # What is printed with what is in it: tuples with names, views of dicts, namespaces.
    return derived(text, value._Namespace__attrs if kind is _TemplateNamespace else value)


class _CodeGenerator(jinja2.compiler.CodeGenerator):
    """Lets the environment turn values into text and join them."""

    def _output_child_pre(self, node: Any, frame: Any, finalize: Any) -> None:
        self.write("environment.to_text(")

    def visit_Add(self, node: nodes.BinExpr, frame: Any) -> None:
        parts: list[nodes.Expr] = [node.right]
        left = node.left
        while isinstance(left, nodes.Add):
            parts.append(left.right)
            left = left.left
        self.write("environment.add((")
        for part in (left, *reversed(parts)):
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Call(self, node: nodes.Call, frame: Any, forward_caller: bool = False) -> None:
        if not isinstance(node.node, nodes.EnvironmentAttribute):
            super().visit_Call(node, frame, forward_caller=forward_caller)
            return
        # A hook of our own: no need of the sandbox, nor of the context.
        self.write(f"environment.{node.node.name}(")
        for argument in node.args:
            self.visit(argument, frame)
            self.write(", ")
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:
        self.write("environment.concat_values((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _GenerationTag(jinja2.ext.Extension):
    """``{% generation %}``: transformers' tag for what an assistant wrote."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        text = caller()
        runs, marks = (text._runs, text._marks) if isinstance(text, Traced) else ((), ())
        return Traced(str.__str__(text), runs, (*marks, (0, len(text), GENERATION)))


class _OwnerHooks(NodeTransformer):
    """Adds the calls that say which message is being rendered."""

    def visit_For(self, node: nodes.For) -> list[nodes.Node]:
        self.generic_visit(node)
        node.body = [self._say("_enter", _names(node.target), node), *node.body]
        return [self._say("_push", [], node), node, self._say("_leave", [], node)]

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        self.generic_visit(node)
        arguments = [argument.name for argument in node.args]
        node.body = [
            self._say("_push", [], node),
            self._say("_bind", arguments, node),
            *node.body,
            self._say("_leave", [], node),
        ]
        return node

    def visit_Assign(self, node: nodes.Assign) -> list[nodes.Node]:
        self.generic_visit(node)
        return [node, self._say("_bind", _names(node.target), node)]

    def _say(self, method: str, names: list[str], at: nodes.Node) -> nodes.Node:
        arguments: list[nodes.Expr] = [nodes.Name(name, "load") for name in names]
        call = nodes.Call(nodes.EnvironmentAttribute(method), arguments, [], None, None)
        output = nodes.Output([call])
        output.set_lineno(at.lineno)
        if at.environment is not None:
            output.set_environment(at.environment)
        return output


def _names(target: nodes.Node) -> list[str]:
    return [name.name for name in ([target] if isinstance(target, nodes.Name) else target.find_all(nodes.Name))]


class TracedEnvironment(ImmutableSandboxedEnvironment):
    """Renders traced values. One per template and thread-safe: what is being rendered is kept per thread."""

    code_generator_class = _CodeGenerator
    concat = staticmethod(join)
    intercepted_binops = frozenset({"%"})
    to_text = staticmethod(to_text)
    add = staticmethod(add)

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols])
        self._state = threading.local()
        _keep_origins(self.filters)
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda format: derived(self._state.now.strftime(format), format)
        self.globals["dict"] = _TemplateDict()
        self.globals["namespace"] = _TemplateNamespace

    def plain_tree(self, source: str) -> nodes.Template:
        """The syntax tree of a template, without hooks."""
        return super()._parse(source, None, None)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _OwnerHooks().visit(tree)
        tree.set_environment(self)
        return tree

    @staticmethod
    def concat_values(values: tuple[Any, ...]) -> str:
        return join([to_text(value) for value in values])

    # --- which message is being rendered: levels of [owner, whether the loop or the macro is over messages]

    def start(self, now: datetime) -> None:
        """Before each render: no message yet, and what ``strftime_now`` takes for now."""
        self._state.levels = [(-1, False)]
        self._state.now = now

    @property
    def owner(self) -> int:
        """The message being rendered, -1 if none."""
        return int(self._state.levels[-1][0])

    def _push(self) -> str:
        levels = self._state.levels
        levels.append(levels[-1])
        return ""

    def _enter(self, *targets: Any) -> str:
        """Each round of a loop: its messages are those of its targets, else that around the loop."""
        levels = self._state.levels
        owners = [owner for owner in map(message_of, targets) if owner is not None]
        level = (owners[0], True) if owners else levels[-2]
        if level == levels[-1]:
            return ""
        levels[-1] = level
        return OwnerMark(level[0])

    def _bind(self, *values: Any) -> str:
        """``set message = messages[i]`` inside of a loop over indices, or a macro's argument."""
        levels = self._state.levels
        if len(levels) == 1 or levels[-1][1]:
            return ""
        owners = [owner for owner in map(message_of, values) if owner is not None]
        if not owners:
            return ""
        levels[-1] = (owners[0], True)
        return OwnerMark(owners[0])

    def _leave(self) -> str:
        levels = self._state.levels
        left = levels.pop()
        return "" if left[0] == levels[-1][0] else OwnerMark(levels[-1][0])

    # --- what the sandbox would allow anyway, without asking it each time: a third of a render

    def getattr(self, obj: Any, attribute: str) -> Any:
        kind = type(obj)
        if kind is TracedDict and attribute not in _OF_DICTS:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if kind is _TemplateNamespace and not attribute.startswith("_"):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return self.undefined(obj=obj, name=attribute)
        if attribute in _ALLOWED.get(kind, ()):
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)

    # --- calls and operators that would lose runs

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        receiver: Any = getattr(__obj, "__self__", None)
        kind = type(receiver)
        if kind is not str and kind is not Field and kind is not Traced:
            found = super().call(__context, __obj, *args, **kwargs)
            return remembered(found, receiver) if kind is TracedBytes else found
        # A method of a string: none of them is unsafe or takes a context.
        kwargs.pop("_loop_vars", None)
        kwargs.pop("_block_vars", None)
        if kind is str and args:
            if __obj.__name__ == "join":
                return join_with(receiver, *args)
            if __obj.__name__ == "replace":
                return replace(receiver, *args, **kwargs)
            if __obj.__name__ in _FILLING:
                return derived(__obj(*args, **kwargs), *args)
        found = __obj(*args, **kwargs)
        return remembered(found, receiver) if type(found) is bytes else found

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        template = getattr(value, "__self__", None)
        if isinstance(template, Traced) and not isinstance(template, TracedMarkup):
            # What is formatted is made a string of the template's type, which for a traced one takes runs.
            value = getattr(str.__str__(template), value.__name__)
        formatting = super().wrap_str_format(value)
        if formatting is None:
            return None
        return lambda *args, **kwargs: formatted(formatting, args, kwargs, template)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return percent(left, right) if isinstance(left, str) else left % right


_OF_DICTS = frozenset(dir(TracedDict))
_OF_STRINGS = frozenset(name for name in dir(str) if not name.startswith(("_", "format")))
# Methods of a template's own string that write what they are given.
_FILLING = ("center", "ljust", "rjust", "translate")
_OF_LOOPS = frozenset(name for name in dir(LoopContext) if not name.startswith("_"))
_ALLOWED = {str: _OF_STRINGS, Field: _OF_STRINGS, Traced: _OF_STRINGS, LoopContext: _OF_LOOPS}

# Filters that make a text of their own out of what they get, and those that make a number.
_DERIVING = (
    *("capitalize", "center", "filesizeformat", "pprint", "reverse", "striptags", "title", "truncate"),
    *("urlencode", "urlize", "wordwrap", "xmlattr"),
)
_COUNTING = ("int", "float", "abs", "round")


def _keep_origins(filters: dict[str, Callable[..., Any]]) -> None:
    for name in _DERIVING:
        filters[name] = _with_origin(filters[name])
    for name in _COUNTING:
        filters[name] = _with_origin(filters[name], (int, float))
    for name in ("lower", "upper", "trim"):
        filters[name] = _of_text(filters[name])
    filters["tojson"] = dump_json
    filters["string"] = to_text
    filters["safe"] = as_markup_of
    filters["escape"] = filters["e"] = lambda value: escape(value if hasattr(value, "__html__") else to_text(value))
    filters["forceescape"] = lambda value: escape(to_text(value))
    filters["join"] = jinja2.pass_environment(_join)
    filters["replace"] = _replace
    filters["indent"] = _indent
    filters["format"] = _format


def as_markup_of(value: Any) -> TracedMarkup:
    return as_markup(to_text(value))


def _with_origin(function: Callable[..., Any], kinds: tuple[type, ...] = (str,)) -> Callable[..., Any]:
    """A filter whose text, or number, where it comes out without runs, is derived from what went in."""

    @functools.wraps(function)
    def with_origin(value: Any, *args: Any, **kwargs: Any) -> Any:
        result = function(value, *args, **kwargs)
        if type(result) not in kinds:
            return result
        return remembered(result, value) if kinds != (str,) else derived(result, value, *args, *kwargs.values())

    return with_origin


def _of_text(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of a text, which of what is no text takes the text that it is written as."""

    @functools.wraps(function)
    def of_text(value: Any, *args: Any, **kwargs: Any) -> Any:
        return function(value if isinstance(value, str) else to_text(value), *args, **kwargs)

    return of_text


def _join(environment: Any, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        get = jinja2.filters.make_attrgetter(environment, attribute)
        value = map(get, value)
    return join_with(to_text(d), [to_text(part) for part in value])


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    return replace(to_text(text), to_text(old), to_text(new), -1 if count is None else count)


def _format(template: Any, *args: Any, **kwargs: Any) -> str:
    if args and kwargs:
        raise jinja2.exceptions.FilterArgumentError("can't handle positional and keyword arguments at the same time")
    return percent(to_text(template), kwargs or args)


def _indent(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Jinja's ``indent``, line for line."""
    indention = width if isinstance(width, str) else " " * width
    lines = (text + "\n").splitlines()
    if blank:
        indented = join_with("\n" + indention, lines)
    else:
        indented = join_with("\n", [lines[0], *(indention + line if line else line for line in lines[1:])])
    return indention + indented if first else indented


def _raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


class _TemplateDict:
    """``dict`` without the attributes of the type, as transformers gives it to templates."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **kwargs)


class _TemplateNamespace(jinja2.utils.Namespace):
    """A namespace that stores no name with an underscore in front, as transformers gives it to templates."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(
            f"Chat templates cannot store underscore-prefixed attributes on a namespace, but got {name!r}. "
            "Please rename the attribute."
        )
