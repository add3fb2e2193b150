"""Objects that nobody gives on purpose: of types that lie, raise, change, or cannot be shown, and odd plain values."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import itertools
import pathlib
import re
import threading
import types
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any
from unittest import mock

import markupsafe
import numpy as np
import pyarrow as pa
import torch

from attack.tries import ODD

# Raised by what an odd object does; not all are an ``Exception`` that one expects.
_ERRORS = (RuntimeError, KeyError, StopIteration, RecursionError, AttributeError, TypeError, ValueError, OverflowError)


def _raising(error: type[Exception]) -> Callable[..., Any]:
    def method(*_: Any, **__: Any) -> Any:
        raise error(ODD)

    return method


def raising(base: type, error: type[Exception], *methods: str) -> type:
    """A type that raises in some of its methods."""
    return type(f"Odd{base.__name__.capitalize()}", (base,), {name: _raising(error) for name in methods})


class Lying:
    """Says that it is a text."""

    __class__ = property(lambda self: str)  # type: ignore[assignment]


class Endless:
    """Has every attribute, which are objects of its own kind."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Endless()


class Changing(Mapping[str, Any]):
    """Another mapping each time it is looked at."""

    def __init__(self) -> None:
        self._count = 0

    def _keys(self) -> list[str]:
        self._count += 1
        return ["role", "content", *map(str, range(self._count % 4))]

    def __getitem__(self, key: str) -> Any:
        self._count += 1
        return "user" if key == "role" else f"{key} {self._count}"

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())


class Miscounting(Sequence[Any]):
    """Holds another number of items than it says."""

    def __init__(self, items: int, said: int) -> None:
        self._items, self._said = items, said

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._items))]
        if not 0 <= index < self._items:
            raise IndexError(index)
        return {"role": "user", "content": f"item {index}"}

    def __len__(self) -> int:
        return self._said


class Named(enum.Enum):
    USER = "user"


class Text(str):
    """A text of a type of one's own, which is written another way."""

    def __str__(self) -> str:
        return "written another way"

    def __len__(self) -> int:
        return 10**6


class NamedText(str, enum.Enum):
    USER = "user"


class Equal:
    """Is equal to everything, and has no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


class Dumped:
    def __init__(self, value: Any) -> None:
        self._value = value

    def model_dump(self, **_: Any) -> Any:
        return self._value


@dataclasses.dataclass
class Message:
    role: Any = "user"
    content: Any = "from a dataclass"


Pair = collections.namedtuple("Pair", ["role", "content"])


def a_tool(x: int) -> int:
    """Doubles.

    Args:
        x: A number.
    """
    return 2 * x


def cyclic() -> Any:
    found: list[Any] = []
    found.append({"a": found})
    return found


def nested(depth: int) -> Any:
    found: Any = "deep"
    for level in range(depth):
        found = [found] if level % 2 else {"a": found}
    return found


def dead() -> Any:
    return weakref.proxy(Endless())


def subject(base: type, *arguments: Any) -> Callable[[Random], Any]:
    """An object of a type that raises in some of what it can do."""
    methods = [
        *("__repr__", "__str__", "__eq__", "__hash__", "__bool__", "__len__", "__iter__", "__getitem__", "__format__"),
        *("__contains__", "keys", "items", "values", "get", "__add__", "__getattr__", "__index__", "__int__"),
        *("__float__", "__deepcopy__", "__reduce_ex__", "__html__", "model_dump", "encode", "strip", "__mul__"),
    ]

    def made(chance: Random) -> Any:
        raises = chance.sample(methods, chance.choice([1, 1, 2, 4]))
        return raising(base, chance.choice(_ERRORS), *raises)(*arguments)

    return made


_MAKERS: list[Callable[[Random], Any]] = [
    # --- odd types
    *(subject(object), subject(object), subject(str, "user"), subject(str, "a text"), subject(dict, {"role": "user"})),
    *(subject(dict, {"a": 1}), subject(list, [1, "a"]), subject(int, 3), subject(float, 0.5), subject(tuple, ("a",))),
    lambda chance: raising(object, chance.choice(_ERRORS), "__getattribute__")(),
    *(lambda chance, made=made: made() for made in (Lying, Endless, Changing, Equal, Message, cyclic, dead)),
    lambda chance: Miscounting(chance.randrange(4), chance.choice([0, 1, 3, 2**31, 2**62])),
    lambda chance: type("Negative", (list,), {"__len__": lambda self: -1})(["a"]),
    lambda chance: Text(chance.choice(["user", "content"])),
    lambda chance: chance.choice([Named.USER, NamedText.USER, Named]),
    lambda chance: Dumped(chance.choice([{"role": "user", "content": "dumped"}, 5, None, cyclic()])),
    lambda chance: Pair("user", "from a namedtuple"),
    lambda chance: mock.MagicMock(name="mock"),
    lambda chance: types.SimpleNamespace(role="user", content="from a namespace"),
    lambda chance: markupsafe.Markup("<b>marked</b>"),
    # --- containers
    lambda chance: collections.UserDict({"role": "user", "content": "from a UserDict"}),
    lambda chance: chance.choice([collections.UserString("user"), collections.UserList(["a"])]),
    lambda chance: collections.defaultdict(list, {"role": "user", "content": "from a defaultdict"}),
    lambda chance: collections.OrderedDict(b=1, a=2),
    lambda chance: types.MappingProxyType({"role": "assistant", "content": "from a proxy"}),
    lambda chance: collections.ChainMap({"role": "user"}, {"content": "from a ChainMap"}),
    lambda chance: chance.choice([collections.deque(["a"]), frozenset(["a"]), {"a"}, {"a": 1}.items(), range(3)]),
    lambda chance: chance.choice([(each for each in "ab"), iter(["a"]), map(str, [1]), itertools.chain("ab")]),
    lambda chance: nested(chance.choice([3, 80, 400, 1500, 20_000])),
    lambda chance: ["wide"] * 20_000,
    # --- plain values
    lambda chance: chance.choice([None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 2**64, 10**400, 10**6000]),
    lambda chance: chance.choice([0.0, -0.0, 1e300, 1e-300, float("nan"), float("inf"), 1j, decimal.Decimal("0.1")]),
    lambda chance: chance.choice([b"x", b"\xff", bytearray(b"x"), memoryview(b"x"), array.array("i", [1]), ()]),
    lambda chance: chance.choice(["", " ", "\0", "\ud800", "a\udfff", "\ufeff", "é" * 1000, "<|im_end|>", "e\u0301"]),
    lambda chance: chance.choice(["{{ 1 }}", "null", "[]", "{", "x" * 300_000, "user", "assistant", "tool"]),
    lambda chance: chance.choice([fractions.Fraction(1, 3), pathlib.Path("a"), uuid.UUID(int=0), re.compile("a")]),
    lambda chance: chance.choice([datetime.date(2026, 1, 1), datetime.timedelta(1), ..., NotImplemented, slice(1)]),
    # --- code
    lambda chance: chance.choice([len, a_tool, lambda x: x, functools.partial(a_tool, 1), str.upper, int, type, re]),
    lambda chance: chance.choice([threading.Lock(), ValueError("an error"), ValueError, object(), property(), super]),
    # --- other libraries' values
    lambda chance: chance.choice([np.str_("user"), np.int64(3), np.float32(0.5), np.bool_(True), np.datetime64("NaT")]),
    lambda chance: chance.choice([np.array(["a", 1], dtype=object), np.array([]), np.zeros((2, 2)), np.array("user")]),
    lambda chance: chance.choice([torch.tensor(3), torch.tensor([1, 2]), torch.tensor([]), torch.zeros(2, 2)]),
    lambda chance: chance.choice([pa.scalar("user"), pa.array(["a"]), pa.scalar(None), pa.scalar({"a": 1})]),
]


def odd_object(chance: Random) -> Any:
    """An object; equal ones for equal chances."""
    return chance.choice(_MAKERS)(chance)


def is_own(error: BaseException) -> bool:
    """Whether it is what an odd object raised, as it raised it; a dead proxy's is Python's."""
    own = error.args == (ODD,) and type(error) in _ERRORS
    return own or isinstance(error, ReferenceError) or str(error) == "__len__() should return >= 0"


def shown(value: Any, depth: int = 3) -> str:
    """What it is, also where it cannot be shown."""
    try:
        if depth and type(value) is dict:
            return "{" + ", ".join(f"{shown(k, 0)}: {shown(v, depth - 1)}" for k, v in value.items()) + "}"
        if depth and type(value) in (list, tuple):
            return f"[{', '.join(shown(each, depth - 1) for each in value[:5])}{', …' * (len(value) > 5)}]"
        text = repr(value)
        return text if len(text) < 80 else f"{text[:60]}… ({type(value).__name__})"
    except BaseException:
        return f"<{type(value).__name__}, which cannot be shown>"
