"""Random templates, of what real ones are made of, and the values that they read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st
from random_chats import ATOMS, KEYS, NESTED, NUMBERS, TEXTS
from template_parts import (
    COMPARED,
    JSON,
    LIST_FILTERS,
    LITERALS,
    LOOKED_UP,
    LOOP,
    LOOP_FLAGS,
    LOOP_TEXTS,
    METHODS,
    OF_LISTS,
    SLICES,
    TESTS,
    TEXT_FILTERS,
    VIEWS,
)

# A number from the first to the second, both among them: all that a writer decides with. 0, or the first, is simplest.
Pick = Callable[[int, int], int]

# What a random template finds beside the messages, each of one type.
VALUES = st.fixed_dictionaries(
    {
        "word": TEXTS,
        "other": TEXTS,
        "number": NUMBERS,
        "flag": st.booleans(),
        "letters": st.lists(TEXTS, max_size=4),
        "records": st.lists(st.dictionaries(KEYS, ATOMS, max_size=3), max_size=3),
        "nested": st.dictionaries(KEYS, NESTED, max_size=3),
        "anything": NESTED,
    }
)


class _Writer:
    """Writes one template. Names are kept by the type of what they stand for, so that most of it can be rendered."""

    def __init__(self, pick: Pick) -> None:
        self._pick = pick
        self._names: dict[str, list[str]] = {
            "text": ["word", "other"],
            "number": ["number"],
            "flag": ["flag", "add_generation_prompt"],
            "items": ["letters", "messages", "records"],
            "mapping": ["nested"],
            "any": ["anything", "absent", "tools", "none"],
        }
        self._macros: list[str] = []
        self._loops = 0
        self._fresh = 0

    def one_of(self, options: list[Any]) -> Any:
        return options[self._pick(0, len(options) - 1)]

    def chance(self, of: int) -> bool:
        """True once in so many times; shrinks to false."""
        return self._pick(0, of - 1) == of - 1

    @contextlib.contextmanager
    def scope(self, **names: str) -> Iterator[None]:
        before = {kind: list(known) for kind, known in self._names.items()}
        macros = list(self._macros)
        for kind, name in names.items():
            self._names[kind].append(name)
        yield
        self._names, self._macros = before, macros

    def fresh(self) -> str:
        self._fresh += 1
        return f"v{self._fresh}"

    # --- expressions

    def expression(self, kind: str, depth: int) -> str:
        if self.chance(30):
            kind = "any"
        if kind == "any":
            return self.any(depth)
        if depth <= 0 or self.chance(3):
            return str(self.one_of([*self.literals(kind), *self._names[kind]]))
        return str(getattr(self, kind)(depth - 1))

    def literals(self, kind: str) -> list[str]:
        loop = [f"loop.{name}" for name in LOOP] if self._loops else []
        loop_texts = LOOP_TEXTS if self._loops else []
        return {
            "text": [*LITERALS, "messages[0].role", "messages[-1]['content']", "messages[0].content", *loop_texts],
            "number": ["0", "1", "2", "-1", "1.5", "messages | length", *loop],
            "flag": ["true", "false", *(LOOP_FLAGS if self._loops else [])],
            "items": ["[]", "['a', word]", "range(3)", "messages[1:]", "nested.items()", "[1, none, 'x']", *VIEWS],
            "mapping": ["{}", "{'a': word}", "messages[0]", "messages[-1]"],
        }[kind]

    def text(self, depth: int) -> str:
        form = self.one_of(
            [
                "filter",
                "method",
                "add",
                "concat",
                "slice",
                "json",
                "cond",
                "join",
                "string",
                "key",
                "percent",
                "times",
                "or",
            ]
        )
        text = self.expression("text", depth)
        if form == "filter":
            return f"({text} | {self.one_of(TEXT_FILTERS)})"
        if form == "method":
            return f"({text}).{self.one_of(METHODS)}"
        if form == "add":
            return f"({text} + {self.expression('text', depth)})"
        if form == "concat":
            return f"({text} ~ {self.expression('any', depth)} ~ {self.expression('text', depth)})"
        if form == "slice":
            return f"({text})[{self.one_of(SLICES)}]"
        if form == "json":
            return f"({self.expression('any', depth)} | {self.one_of(JSON)})"
        if form == "cond":
            other = f" else {self.expression('text', depth)}" if self.chance(2) else ""
            return f"({text} if {self.expression('flag', depth)}{other})"
        if form == "join":
            return f"({self.expression('items', depth)} | map('string') | join({text}))"
        if form == "string":
            return f"({self.expression(self.one_of(['number', 'flag', 'mapping', 'items']), depth)} | string)"
        if form == "key":
            return self.key(self.expression("mapping", depth))
        if form == "percent":
            return f"('<%s>' % {text})"
        if form == "times":
            return f"({text} * {self.one_of(['0', '1', '2', '3'])})"
        return f"({text} {self.one_of(['or', 'and'])} {self.expression('text', depth)})"

    def key(self, of: str) -> str:
        key = self.one_of(LOOKED_UP)
        forms = [f"({of})['{key}']", f"({of}).get('{key}')", f"({of}).get('{key}', word)"]
        return str(self.one_of(forms if " " in key else [*forms, f"({of}).{key}"]))

    def number(self, depth: int) -> str:
        number = self.expression("number", depth)
        forms = ["op", "length", "int", "filter"]
        form = self.one_of(forms)
        if form == "op":
            return f"({number} {self.one_of(['+', '-', '*', '//', '%', '/', '**'])} {self.expression('number', depth)})"
        if form == "length":
            return f"({self.expression(self.one_of(['text', 'items', 'mapping']), depth)} | length)"
        if form == "int":
            return f"({self.expression('text', depth)} | {self.one_of(['int', 'float', 'int(7)'])})"
        return f"({number} | {self.one_of(['abs', 'int', 'round', 'float'])})"

    def flag(self, depth: int) -> str:
        form = self.one_of(["compare", "test", "not", "and", "starts", "in", "chain", "truth"])
        if form == "compare":
            kind = self.one_of(["text", "number", "any", "items"])
            operator = self.one_of(COMPARED[:2] if kind == "any" else COMPARED)
            return f"({self.expression(kind, depth)} {operator} {self.expression(kind, depth)})"
        if form == "test":
            return f"({self.expression('any', depth)} is {self.one_of(['', 'not '])}{self.one_of(TESTS)})"
        if form == "not":
            return f"(not {self.expression('flag', depth)})"
        if form == "and":
            return f"({self.expression('flag', depth)} {self.one_of(['and', 'or'])} {self.expression('any', depth)})"
        if form == "starts":
            method = self.one_of(["startswith", "endswith"])
            return f"({self.expression('text', depth)}).{method}({self.expression('text', depth)})"
        if form == "in":
            where = self.one_of(["text", "items", "mapping"])
            return f"({self.expression('text', depth)} {self.one_of(['in', 'not in'])} {self.expression(where, depth)})"
        if form == "chain":
            return f"(0 <= {self.expression('number', depth)} < {self.expression('number', depth)})"
        return self.expression(self.one_of(["text", "items", "mapping", "number"]), depth)

    def items(self, depth: int) -> str:
        form = self.one_of(["filter", "literal", "add", "slice", "split", "of a mapping", "tuple"])
        if form == "filter":
            return f"({self.expression('items', depth)} | {self.one_of(LIST_FILTERS)})"
        if form == "literal":
            return f"[{self.expression('any', depth)}, {self.expression('text', depth)}]"
        if form == "add":
            return f"({self.expression('items', depth)} + [{self.expression('any', depth)}])"
        if form == "slice":
            return f"({self.expression('items', depth)})[{self.one_of(SLICES[:9])}]"
        if form == "split":
            return f"({self.expression('text', depth)}).split({self.one_of(['', LITERALS[0], LITERALS[2]])})"
        if form == "tuple":
            return f"({self.expression('any', depth)}, {self.expression('text', depth)})"
        how = self.one_of(
            [
                *(".items() | list", ".keys() | list", ".values() | list", " | list", " | dictsort", " | items | list"),
                *(".keys()", ".values()", ".items()", " | dictsort(true)", " | dictsort(by='value')", " | sort"),
            ]
        )
        return f"(({self.expression('mapping', depth)}){how})"

    def mapping(self, depth: int) -> str:
        form = self.one_of(["literal", "dict", "key"])
        if form == "literal":
            key = self.one_of(["'a'", "'role'", "word"])
            return f"{{{key}: {self.expression('any', depth)}, 'content': {self.expression('text', depth)}}}"
        if form == "dict":
            return f"dict({self.expression('mapping', depth)}, a={self.expression('any', depth)})"
        return self.key(self.expression("mapping", depth))

    def any(self, depth: int) -> str:
        if depth <= 0 or self.chance(4):
            return str(self.one_of(self._names["any"]))
        forms = ["text", "number", "flag", "items", "mapping", "key", "index", "of a list"]
        forms += ["macro"] if self._macros else []
        form = self.one_of(forms)
        if form == "key":
            return self.key(self.any(depth - 1))
        if form == "index":
            return f"({self.expression('items', depth - 1)})[{self.one_of(['0', '-1', '1'])}]"
        if form == "of a list":
            return f"({self.expression('items', depth - 1)} | {self.one_of(OF_LISTS)})"
        if form == "macro":
            arguments = self.one_of(["{0}", "{0}, {1}", "b={1}, a={0}", "{0}, b={1}"])
            macro, depth = self.one_of(self._macros), depth - 1
            return f"{macro}({arguments.format(self.any(depth), self.expression('text', depth))})"
        return self.expression(form, depth)

    # --- statements

    def body(self, depth: int) -> str:
        return "".join(self.statement(depth) for _ in range(self._pick(1, 3)))

    def statement(self, depth: int) -> str:
        forms = ["output", "text", "set"]
        if depth > 0:
            forms += [
                "if",
                "for",
                "for messages",
                "macro",
                "namespace",
                "set block",
                "generation",
                "filter",
                "call",
                "range",
            ]
            forms += ["for", "for messages", "if", "pairs", "raise"]
            forms += ["stop"] if self._loops else []
        return str(getattr(self, "write_" + self.one_of(forms).replace(" ", "_"))(depth))

    def tag(self, inside: str) -> str:
        """A tag with one of the ways to cut blanks."""
        opening, closing = self.one_of([("", ""), ("-", ""), ("", "-"), ("-", "-"), ("+", ""), ("", "+")])
        line = self.one_of(["", "", "\n", "  "])
        return f"{line}{{%{opening} {inside} {closing}%}}{self.one_of(['', '', chr(10)])}"

    def write_output(self, depth: int) -> str:
        opening, closing = self.one_of([("", ""), ("", ""), ("-", ""), ("", "-")])
        return f"{{{{{opening} {self.expression(self.one_of(['text', 'text', 'any']), depth + 1)} {closing}}}}}"

    def write_text(self, depth: int) -> str:
        return str(
            self.one_of(
                [
                    "x",
                    "\n",
                    "<|im_start|>",
                    " y \n",
                    "é🚆",
                    "{# no #}",
                    "  \n  z",
                    "{% raw %}{{ w }}{% endraw %}",
                    "\r\n",
                ]
            )
        )

    def write_set(self, depth: int) -> str:
        kind = self.one_of(["text", "any", "number", "items", "flag", "mapping"])
        value = self.expression(kind, depth + 1)
        # Often a name that is there: what a `set` in a loop or a macro hides, and what it does not.
        name = self.one_of([self.fresh(), self.one_of(self._names[kind])])
        name = self.fresh() if "." in name or name in ("none", "messages") else name
        self._names[kind].append(name)
        return self.tag(f"set {name} = {value}")

    def write_if(self, depth: int) -> str:
        written = self.tag(f"if {self.expression('flag', 2)}")
        with self.scope():
            written += self.body(depth - 1)
        if self.chance(3):
            with self.scope():
                written += self.tag(f"elif {self.expression('flag', 1)}") + self.body(depth - 1)
        if self.chance(2):
            with self.scope():
                written += self.tag("else") + self.body(depth - 1)
        return written + self.tag("endif")

    def write_for(self, depth: int) -> str:
        name = self.fresh()
        return self._loop(name, self.expression("items", 2), depth, any=name)

    def write_for_messages(self, depth: int) -> str:
        name = self.one_of(["m", "message", self.fresh()])
        which = self.one_of(["messages", "messages", "messages[1:]", "messages[::-1]", "messages | reverse | list"])
        return self._loop(name, which, depth, mapping=name)

    def write_range(self, depth: int) -> str:
        name, inner = self.fresh(), self.fresh()
        written = self.tag(f"for {name} in range(messages | length)") + self.tag(f"set {inner} = messages[{name}]")
        with self.in_loop(), self.scope(number=name, mapping=inner):
            return written + self.body(depth - 1) + self.tag("endfor")

    def write_pairs(self, depth: int) -> str:
        key, value = self.fresh(), self.fresh()
        how = self.one_of([".items()", " | items", " | dictsort"])
        return self._loop(f"{key}, {value}", f"({self.expression('mapping', 1)}){how}", depth, text=key, any=value)

    @contextlib.contextmanager
    def in_loop(self) -> Iterator[None]:
        self._loops += 1
        yield
        self._loops -= 1

    def _loop(self, target: str, items: str, depth: int, **names: str) -> str:
        with self.scope(**names):
            condition = f" if {self.outside_loops(lambda: self.expression('flag', 1))}" if self.chance(5) else ""
            with self.in_loop():
                written = self.tag(f"for {target} in {items}{condition}") + self.body(depth - 1)
        if self.chance(6):
            with self.scope():
                written += self.tag("else") + self.body(depth - 1)
        return written + self.tag("endfor")

    def outside_loops(self, write: Callable[[], str]) -> str:
        """What stands where no loop may be named."""
        loops, self._loops = self._loops, 0
        written = write()
        self._loops = loops
        return written

    def write_stop(self, depth: int) -> str:
        statement = self.one_of(["continue", "break"])
        return self.tag(f"if {self.expression('flag', 1)}") + self.tag(statement) + self.tag("endif")

    def write_macro(self, depth: int) -> str:
        name = self.fresh()
        default = self.one_of(["", "='d'", "=word", "=none"])

        def body() -> str:
            with self.scope(any="a", text="b"):
                return self.body(depth - 1)

        written = self.tag(f"macro {name}(a, b{default})") + self.outside_loops(body) + self.tag("endmacro")
        self._macros.append(name)
        return written

    def write_call(self, depth: int) -> str:
        name = self.fresh()
        written = f"{{% macro {name}(a) %}}<{{{{ a }}}}{{{{ caller({self.one_of(['', '', 'a'])}) }}}}>{{% endmacro %}}"
        parameter = self.one_of(["", "", "(c)"])

        def body() -> str:
            with self.scope():
                return self.body(depth - 1)

        argument = self.expression("any", 1)
        return (
            written + self.tag(f"call{parameter} {name}({argument})") + self.outside_loops(body) + self.tag("endcall")
        )

    def write_namespace(self, depth: int) -> str:
        name, kind = self.fresh(), self.one_of(["text", "number", "items"])
        initial = {"text": "''", "number": "0", "items": "[]"}[kind]
        written = self.tag(f"set {name} = namespace(x={initial}, y=word)")
        self._names[kind].append(f"{name}.x")
        with self.scope(), self.in_loop():
            change = f"set {name}.x = {name}.x {'~' if kind == 'text' else '+'} "
            inside = {"text": "text", "number": "number", "items": "items"}[kind]
            looped = self.tag("for m in messages") + self.tag(change + self.expression(inside, 1)) + self.tag("endfor")
        return written + looped + f"{{{{ {name}.x }}}}"

    def write_set_block(self, depth: int) -> str:
        name = self.fresh()
        how = self.one_of(["", "", " | trim", " | upper"])
        with self.scope():
            written = self.tag(f"set {name}{how}") + self.body(depth - 1) + self.tag("endset")
        self._names["text"].append(name)
        return written

    def write_generation(self, depth: int) -> str:
        with self.scope():
            return self.tag("generation") + self.body(depth - 1) + self.tag("endgeneration")

    def write_filter(self, depth: int) -> str:
        which = self.one_of(["trim", "upper", "replace('a', word)", "indent(2)", "trim | lower"])
        with self.scope():
            return self.tag(f"filter {which}") + self.body(depth - 1) + self.tag("endfilter")

    def write_raise(self, depth: int) -> str:
        condition = self.expression("flag", 1)
        raised = f"{{{{ raise_exception({self.expression('text', 1)}) }}}}"
        return self.tag(f"if ({condition}) and ({self.expression('flag', 1)})") + raised + self.tag("endif")


def template(pick: Pick) -> str:
    """A template; most can be rendered."""
    writer = _Writer(pick)
    return "".join(writer.statement(2) for _ in range(pick(1, 4)))


@st.composite
def templates(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    return template(lambda low, high: draw(st.integers(low, high)))
