"""Whatever a template does to a string: the text is what ``str`` gives, and verbatim runs are copies."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from chatspan.render.jinja.data import trace
from chatspan.render.jinja.dump import dump_json
from chatspan.render.jinja.environment import TracedEnvironment
from chatspan.render.jinja.text import Field, Traced, join
from chatspan.render.origins import Root, field_runs
from hypothesis import given
from hypothesis import strategies as st

OPERATIONS: dict[str, Callable[[Any, int, int], Any]] = {
    "slice": lambda s, i, j: s[i:j],
    "step": lambda s, i, j: s[:: (i % 3) + 1],
    "backwards": lambda s, i, j: s[::-1],
    "letter": lambda s, i, j: s[i % len(s)] if s else s,
    "strip": lambda s, i, j: s.strip(),
    "lstrip": lambda s, i, j: s.lstrip(" a"),
    "rstrip": lambda s, i, j: s.rstrip("\n"),
    "removeprefix": lambda s, i, j: s.removeprefix("a"),
    "removesuffix": lambda s, i, j: s.removesuffix("a"),
    "split": lambda s, i, j: "|".join(s.split()) if type(s) is str else join(_between("|", s.split())),
    "split at": lambda s, i, j: (s.split("a", i % 3) or [s])[-1],
    "rsplit at": lambda s, i, j: s.rsplit("a", i % 3)[0],
    "lines": lambda s, i, j: (s.splitlines() or [s])[-1],
    "lines with ends": lambda s, i, j: (s.splitlines(True) or [s])[0],
    "partition": lambda s, i, j: s.partition("a")[i % 3],
    "rpartition": lambda s, i, j: s.rpartition("a")[j % 3],
    "replace": lambda s, i, j: s.replace("a", "<b>"),
    "replace by itself": lambda s, i, j: s.replace(" ", s[:2]),
    "replace nothing": lambda s, i, j: s.replace("", "-"),
    "upper": lambda s, i, j: s.upper(),
    "title": lambda s, i, j: s.title(),
    "twice": lambda s, i, j: s * 2,
    "front": lambda s, i, j: "[" + s,
    "behind": lambda s, i, j: s + "]",
    "percent": lambda s, i, j: "<%s>" % s,  # noqa: UP031
    "center": lambda s, i, j: s.center(len(s) + 3),
    "letters": lambda s, i, j: join(list(s)),
}
TEXTS = st.text(alphabet="a b\n\tß🚆\u0301\"\\'x", max_size=12)


def _between(separator: str, parts: list[str]) -> list[str]:
    return [piece for part in parts for piece in (separator, part)][1:]


def field(text: str) -> Any:
    return trace({"content": text}, Root(0, ()), True)["content"]


@given(
    TEXTS, st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(-9, 9), st.integers(-9, 9)), max_size=4)
)
def test_operations_keep_text_and_runs(text: str, steps: list[tuple[str, int, int]]) -> None:
    plain, traced = text, field(text)
    for name, i, j in steps:
        plain, traced = OPERATIONS[name](plain, i, j), OPERATIONS[name](traced, i, j)
        assert str.__str__(traced) == plain
    runs = field_runs(traced._runs) if isinstance(traced, Traced) else []
    ends = [(start, end) for start, end, _, _ in runs]
    assert ends == sorted(ends)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(ends))
    for start, end, origin, origin_start in runs:
        assert isinstance(origin, Field)
        if origin_start >= 0:
            assert plain[start:end] == text[origin_start : origin_start + end - start]


VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-5, 99), st.booleans(), st.none(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 0, 2]), st.booleans())
def test_dumps_are_those_of_json_and_their_leaves_are_copies(
    value: Any, ensure_ascii: bool, indent: int | None, sort_keys: bool
) -> None:
    traced = trace({"arguments": value}, Root(0, ()), True)["arguments"]
    options: dict[str, Any] = {"ensure_ascii": ensure_ascii, "indent": indent, "sort_keys": sort_keys}
    dumped = dump_json(traced, **options)
    assert str.__str__(dumped) == json.dumps(value, **options)
    for start, end, origin, origin_start in field_runs(getattr(dumped, "_runs", ())):
        if origin_start >= 0:
            assert dumped[start:end] == str.__str__(origin)[origin_start : origin_start + end - start]


def test_every_plain_word_of_a_dump_is_found() -> None:
    arguments = {"city": "Rom", "legs": [{"train": "IC 900"}], "quoted": 'a "b"', "seats": 2}
    traced = trace({"arguments": arguments}, Root(3, ()), True)["arguments"]
    found = {o._path: dump_json(traced)[s:e] for s, e, o, p in field_runs(dump_json(traced)._runs) if p >= 0}  # type: ignore[attr-defined]
    assert found == {("arguments", "city"): "Rom", ("arguments", "legs", 0, "train"): "IC 900"}
    printed = field_runs(str(traced)._runs)  # type: ignore[attr-defined]
    assert [str(traced)[s:e] for s, e, o, p in printed if p >= 0] == ["Rom", "IC 900", 'a "b"']


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ '%s!' % x }}", ["Hi"]),
        ("{{ '%s-%s' % ('a', x) }}", ["Hi"]),
        ("{{ '%5s!' % x }}", ["   Hi!"]),
        ("{{ '%s-%d' | format(x, 3) }}", ["Hi"]),
        ("{{ '{}: {}'.format('a', x) }}", ["Hi"]),
        ("{{ '{b}{a:>4}'.format(a=x, b=x) }}", ["Hi  Hi"]),
        ("{{ '{a}{b}'.format(a=x, b=x) }}", ["Hi", "Hi"]),
        ("{{ 'a' ~ x ~ 3 }}", ["Hi"]),
        ("{{ [x, x] | join('-') }}", ["Hi", "Hi"]),
        ("{{ ', '.join([x, 'b']) }}", ["Hi"]),
        ("{{ x | replace('H', 'h') }}", ["i"]),
        ("{{ 'a-b'.replace('-', x) }}", ["Hi"]),
        ("{{ ('1\\n' + x) | indent(2) }}", ["Hi"]),
        ("{{ x | upper }}", ["HI"]),
        ("{{ ['plain', x] | first }}", []),
        ("{{ x | default('d') }}", ["Hi"]),
        ("{{ 'abc'.strip(x) }}", []),
        ("{{ x | tojson | safe }}", ["Hi"]),
        ("{{ ('<' + x) | safe + '<' }}", ["Hi"]),
        ("{% set y %}[{{ x }}]{% endset %}{{ y }}", ["Hi"]),
        ("{% macro f(y) %}({{ y }}){% endmacro %}{{ f(x) }}", ["Hi"]),
        ("{% filter trim %} {{ x }} {% endfilter %}", ["Hi"]),
        ("{% for c in x %}{{ c }}{% endfor %}", ["H", "i"]),
        ("{{ [x] }}", ["Hi"]),
        ("{{ {'k': x} }}", ["Hi"]),
        ("{% if x %}scaffold{% endif %}", []),
    ],
)
def test_what_templates_do_to_a_string(source: str, expected: list[str]) -> None:
    environment = TracedEnvironment()
    template = environment.from_string(source)
    environment.start(datetime.now())
    text = join(list(template.root_render_func(template.new_context({"x": field("Hi")}))))
    runs = field_runs(getattr(text, "_runs", ()))
    assert [str.__str__(text[start:end]) for start, end, _, _ in runs] == expected
