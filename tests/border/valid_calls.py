"""Right arguments for all that the compiled core offers: what the walk makes wrong, one place after the other."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from chatspan import _core
from chatspan.render.native.program import program_of
from chatspan.render.preparation import plain
from jinja2 import Environment
from zoo import EXAMPLES

Arguments = dict[str, Any]

SOURCE = (
    "{% for m in messages %}{{ '<' ~ m.role ~ '>' ~ m.content ~ (m.x | tojson if m.x else '') ~ '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}{{ n | default(3) }}"
)
TEXT = "<user>Hi<end><assistant>Hello<end>"
LIMITS = (10_000_000, 400, 1 << 28)


def array(values: Any, dtype: type = np.int64) -> Any:
    return np.array(values, dtype=dtype)


@functools.cache
def program() -> Any:
    return _core.TemplateProgram(program_of(Environment().parse(SOURCE)))


def messages() -> list[dict[str, Any]]:
    return [{"role": "user", "content": "Hi", "x": [1, {"a": "b"}]}, {"role": "assistant", "content": "Hello"}]


def template_input() -> Arguments:
    return {
        "messages": messages(),
        "variables": {"tools": [{"a": ("b", 1.5, None)}], "n": 3},
        "plain": {"eos_token": "<end>", "list": ["a", (1, True)]},
        "prepare": plain,
        "drops_none": True,
        "reasoning_keys": ["reasoning_content"],
    }


def scaffold() -> Arguments:
    return {
        "openings": [(("user", "user"), ("<assistant>", "<assistant>")), (("tool", "user"), None)],
        "ends": ["<end>"],
        "open_tag": "<think>",
        "close_tag": "</think>",
        "control_tokens": ["<end>", "<user>"],
        "call_ends": ["</call>"],
    }


def segments() -> Arguments:
    return {
        "edges": array([0, 6, 8, 13, 34]),
        "message_index": array([0, 0, 0, 1], np.int32),
        "kind": array([0, 1, 4, 1], np.uint8),
        "regions": {1: (13, 34, 24, (29, 34), True, "exact", True)},
        "homeless": [3],
        "leads": [(6, 7)],
    }


def offsets() -> Any:
    return _core.Offsets([(0, 6), (6, 8), (8, 13), (13, 34)], text_length=34)


def render() -> Any:
    given = _core.TemplateInput(**template_input())
    job = (program(), given, True, _core.TurnScaffold(**scaffold()), LIMITS)
    [(what, found)] = _core.render_templates([job], lambda question, text: text)
    assert what == "rendered", found
    return found


@functools.cache
def tokenizer_json() -> str:
    return Path(EXAMPLES / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8")


@functools.cache
def tokenizer() -> Any:
    return _core.NativeTokenizer(tokenizer_json(), cache_bytes=1 << 20)


def to_label() -> Arguments:
    return {
        "texts": [TEXT, render()],
        "segments": [_core.Segments(**segments()), _core.Segments(**segments())],
        "messages": [[1], []],
        "end_of_turn": "token",
        "max_length": 9,
        "cut": "left",
        "with_whose": True,
    }


def labelled() -> Any:
    # Without results inside of the turn, so that it is a row with labels.
    own = _core.Segments(**{**segments(), "regions": {1: (13, 34, 24, (29, 34), True, "exact", False)}})
    return tokenizer().label_batch([TEXT], [own], [[1]], end_of_turn="token")


def field() -> Any:
    from chatspan.render.fields import place
    from chatspan.render.origins import Root

    return place({"role": "user", "content": "Hi"}, Root(0, ()), True)["content"]


def found() -> Arguments:
    return {"openings": {1: ("<assistant>", "<assistant>")}, "stops": {1: (20, True)}, "owners": [(0, 0), (13, 1)]}


def side() -> tuple[Any, ...]:
    return (array([1, 2, 3, 4]), offsets(), _core.Segments(**segments()), array([[6, 8, 5, 0], [13, 34, 6, 0]]))


FUNCTIONS: dict[str, Callable[[], Arguments]] = {
    "locate": lambda: {
        "text": TEXT,
        "contents": ["Hi", "Hello"],
        "anchors": [("<user>", "<end>"), ("", "<end>")],
        "blanks": "kept",
    },
    "token_spans": lambda: {"offsets": [(0, 6), [6, 8]], "spans": [(0, 3), (-1, -1)], "straddle": "first"},
    "token_mask": lambda: {"offsets": array([[0, 6], [6, 8]]), "spans": array([[0, 3]]), "straddle": "first"},
    "token_mask_of_kinds": lambda: {
        "offsets": offsets(),
        "message_index": array([0, 0, 0, 1], np.int32),
        "kind": array([0, 1, 4, 1], np.uint8),
        "messages": [1],
        "kinds": [1],
    },
    "control_tokens_in": lambda: {
        "input_ids": array([1, 2, 3, 4]),
        "offsets": offsets(),
        "is_control": array([False, True, False], np.bool_),
        "data": array([[6, 8], [13, 20]]),
    },
    "attribute": lambda: {"offsets": offsets(), "segments": _core.Segments(**segments())},
    "attribute_render": lambda: {
        "text": TEXT,
        "runs": [(6, 8, field(), 0)],
        "owners": [(0, 0), (13, 1)],
        "roles": ["user", "assistant"],
        "shapes": ["user", "assistant"],
        "scaffold": _core.TurnScaffold(**scaffold()),
        "prompt_start": None,
        "found": found(),
    },
    "render_templates": lambda: {
        "jobs": [(program(), _core.TemplateInput(**template_input()), True, None, LIMITS)],
        "answer": lambda question, text: text,
    },
    "read_json": lambda: {"data": b'{"messages": [1.5, null]}'},
    "survey": lambda: {"columns": {"messages": messages(), "n": 1.5, "none": None}},
    "survey_messages": lambda: {"messages": messages()},
    "pad_rows": lambda: {"sets": [([array([1, 2]), array([3])], -1)], "width": 4, "on_left": False},
    "pair_tokens": lambda: {"student": side(), "teacher": side(), "message_map": array([0, 1], np.int32)},
    "align_columns": lambda: {
        "student": array([1, 2, 3]),
        "teacher": array([9, 1, 2, 3]),
        "student_blocks": [(1, 3)],
        "teacher_blocks": [(2, 4)],
    },
    "look_up_numpy": dict,
    "_panic": lambda: {"message": "PyObject pointer is null"},
    "Offsets": lambda: {"offsets": [(0, 6), (6, 8)], "text_length": 34},
    "NativeTokenizer": lambda: {"json": tokenizer_json(), "cache_bytes": 0},
    "TurnScaffold": scaffold,
    "Segments": segments,
    "TemplateProgram": lambda: {"program": program_of(Environment().parse("{{ messages[0].content }}"))},
    "TemplateInput": template_input,
}

# What methods are called on.
INSTANCES: dict[str, Callable[[], Any]] = {
    "Offsets": offsets,
    "NativeTokenizer": tokenizer,
    "LabelledRows": labelled,
    "TurnScaffold": lambda: _core.TurnScaffold(**scaffold()),
    "Segments": lambda: _core.Segments(**segments()),
    "TemplateProgram": program,
    "TemplateInput": lambda: _core.TemplateInput(**template_input()),
    "NativeRender": render,
}

METHODS: dict[str, Callable[[], Arguments]] = {
    "NativeTokenizer.encode_batch": lambda: {"texts": [TEXT, render()], "segments": None},
    "NativeTokenizer.label_batch": to_label,
    "LabelledRows.padded": lambda: {"rows": [0], "width": 40, "pad_id": 0, "on_left": True},
    "LabelledRows.columns": lambda: {"rows": [0, 0]},
    "NativeTokenizer.set_alike": lambda: {"characters": "abc"},
    "NativeTokenizer.cut": lambda: {"text": "Two words"},
    "NativeTokenizer.is_of": lambda: {"json": tokenizer_json()},
    "NativeTokenizer.encode_plain": lambda: {"text": "Hello"},
    "NativeTokenizer.token": lambda: {"id": 3},
    "Segments.turns": lambda: {"messages": [1], "end_of_turn": "token"},
    "Segments.region": lambda: {"message_index": 1},
    "Segments.without_results": lambda: {"start": 0, "end": 10},
    "NativeRender.data": lambda: {"structural_roles": ["user"]},
    "NativeRender.fields_behind": lambda: {"start_char": 3},
    "NativeRender.starts_with": lambda: {"other": render()},
    "NativeRender.text_from": lambda: {"start_char": 3},
    "NativeRender.runs": lambda: {"find": lambda index, path: path, "make_dump": lambda *dump: dump},
    "NativeRender.segments": lambda: {
        "scaffold": _core.TurnScaffold(**scaffold()),
        "found": found(),
        "again": True,
    },
}

# What the interpreter calls around a fork, each after the other: alone, the first closes the core.
AROUND_FORKS = frozenset({"before_fork", "after_fork_in_parent", "after_fork_in_child"})

# What every class has of `object`, and cannot be called wrongly in a way that reaches the core.
_OF_OBJECT = frozenset(dir(type("Any", (), {"__slots__": ()}))) - {"__reduce__", "__repr__"}


def offered() -> Iterator[tuple[str, Callable[[], Callable[..., Any]], Callable[[], Arguments]]]:
    """Each function, class, method and attribute of the core: its name, how to get it, and its right arguments.

    Raises:
        KeyError: one has no right arguments here: give it some.
    """
    for name, value in sorted(vars(_core).items()):
        if name in AROUND_FORKS:
            continue
        if isinstance(value, types.BuiltinFunctionType):
            yield name, lambda value=value: value, FUNCTIONS[name]
        elif isinstance(value, type):
            if "__new__" in vars(value):
                yield name, lambda value=value: value, FUNCTIONS[name]
            yield from _members(value)


def _members(kind: type) -> Iterator[tuple[str, Callable[[], Callable[..., Any]], Callable[[], Arguments]]]:
    make = INSTANCES[kind.__name__]
    for name, member in sorted(vars(kind).items()):
        whole = f"{kind.__name__}.{name}"
        if name in _OF_OBJECT or name in ("__new__", "__doc__", "__module__", "__weakref__"):
            continue
        if isinstance(member, types.GetSetDescriptorType):
            yield whole, lambda name=name: functools.partial(getattr, make(), name), dict
        elif callable(member):
            yield whole, lambda name=name: getattr(make(), name), METHODS[whole] if _takes(member) else dict


def _takes(method: Any) -> bool:
    """Whether a method takes an argument."""
    text = getattr(method, "__text_signature__", None) or "($self)"
    return text.replace("/", "").strip("() ,") != "$self"
