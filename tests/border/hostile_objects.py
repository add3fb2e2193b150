"""Objects that lie, raise and change what is being read: what a caller's classes and threads may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class LyingList(list[Any]):
    def __init__(self, items: Any, length: Any) -> None:
        super().__init__(items)
        self.length = length

    def __len__(self) -> int:
        return self.length  # type: ignore[no-any-return]


class LyingDict(dict[Any, Any]):
    def __len__(self) -> int:
        return 2**62

    def items(self) -> Any:
        raise KeyError("no items")


class Sequence:
    """A sequence by its methods alone."""

    def __init__(self, length: Any, item: Any = None) -> None:
        self.length, self.item = length, item

    def __len__(self) -> int:
        if isinstance(self.length, Exception):
            raise self.length
        return self.length  # type: ignore[no-any-return]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.item, Exception):
            raise self.item
        if index >= 3:
            raise IndexError
        return self.item


class Endless(list[Any]):
    """Says that it has two items, and gives more and more."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield 0


class Raises:
    """Raises whatever is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def __index__(self) -> int:
        raise ZeroDivisionError

    def __len__(self) -> int:
        raise ZeroDivisionError

    def __iter__(self) -> Any:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        raise ZeroDivisionError

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = None  # type: ignore[assignment]


class IsIndex:
    def __init__(self, index: Any) -> None:
        self.index = index

    def __index__(self) -> int:
        return self.index  # type: ignore[no-any-return]


class Changes:
    """When it is asked for its number or its parts, it changes what it is in, and every array of the call."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.containers: list[Any] = []

    def change(self) -> None:
        for container in self.containers:
            if isinstance(container, dict):
                container.clear()
                container.update((str(i), "x") for i in range(self.size))
            elif isinstance(container, list):
                container[:] = ["x"] * self.size
            elif isinstance(container, np.ndarray) and container.base is None and container.ndim == 1:
                container.resize(self.size, refcheck=False)

    def __index__(self) -> int:
        self.change()
        return 1

    def __iter__(self) -> Any:
        self.change()
        return iter((1, 2))

    def __len__(self) -> int:
        self.change()
        return 2

    def __getitem__(self, index: Any) -> Any:
        self.change()
        return 1

    def __array__(self, *_: Any, **__: Any) -> Any:
        self.change()
        return np.zeros((2, 2), np.int64)

    def model_dump(self) -> Any:
        self.change()
        return "x"

    def __call__(self, *_: Any) -> Any:
        self.change()
        return "x"


class ArraySubclass(np.ndarray):
    """An array whose own methods give itself, or nothing."""

    def astype(self, *_: Any, **__: Any) -> Any:
        return self

    def copy(self, *_: Any, **__: Any) -> Any:
        return None

    def __len__(self) -> int:
        return 2**62


class GivesNoArray:
    def __array__(self, *_: Any, **__: Any) -> Any:
        return "no array"


def cyclic_list() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def cyclic_dict() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = value
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


def misaligned(dtype: Any, shape: tuple[int, ...]) -> Any:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.zeros(size + 1, np.uint8)[1:].view(dtype).reshape(shape)


def strided(dtype: Any, count: int) -> Any:
    """A field of records: the distance of its numbers is no multiple of their size."""
    return np.zeros(count, np.dtype([("a", "i1"), ("b", dtype)]))["b"]


PLAIN: dict[str, Callable[[], Any]] = {
    **{
        repr(value)[:20]: (lambda value=value: value)
        for value in (None, True, -1, 0, 5, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 10**30, -(2**63), 1.5)
    },
    **{repr(value): (lambda value=value: value) for value in (float("nan"), float("inf"), "", "x", "\0", b"x", ())},
    "a lone surrogate": lambda: "\ud800",
    "half a surrogate pair": lambda: "Hi\udfff" * 30,
    "a long text": lambda: "é" * 100_000,
    "an object": object,
    "a class": lambda: dict,
    "a function that raises": lambda: lambda *_: 1 / 0,
    "a function that gives nonsense": lambda: lambda *_: object(),
    "an empty list": list,
    "an empty dict": dict,
    "a set": lambda: {1},
    "a list of None": lambda: [None],
    "a list of lists": lambda: [[1], [2, 3, 4]],
    "pairs of huge numbers": lambda: [(2**62, 2**63), (-(2**70), 5)],
    "pairs backwards": lambda: [(9, 3), (-5, -2)],
    "a range": lambda: range(10**9, 10**9 + 3),
    "a generator": lambda: iter([1, 2]),
    "a list that holds itself": cyclic_list,
    "a dict that holds itself": cyclic_dict,
    "a deep list": deep,
    "a dict of other keys": lambda: {1: 2, None: 3, "a": Raises()},
}
LYING: dict[str, Callable[[], Any]] = {
    **{f"a list of {length}": (lambda length=length: LyingList([1, 2], length)) for length in (0, 2**33, 2**62, 2**63)},
    "a list of no length": lambda: LyingList([1, 2], -1),
    "a list whose length is text": lambda: LyingList([1, 2], "x"),
    "an empty list that says more": lambda: LyingList([], 2**62),
    "a dict of 2**62": lambda: LyingDict(a=1),
    **{f"a sequence of {length}": (lambda length=length: Sequence(length, 1)) for length in (2, 3, 2**33, 2**62)},
    "a sequence without length": lambda: Sequence(TypeError("no length")),
    "a sequence that raises": lambda: Sequence(3, KeyError("no item")),
    "a sequence of texts": lambda: Sequence(3, "x"),
    "a list without end": Endless,
    "what raises": Raises,
    "a list of what raises": lambda: [Raises(), Raises()],
    **{f"the index {index!r:.8}": (lambda index=index: IsIndex(index)) for index in (3, -1, 2**62, 2**70, "x", None)},
    "what gives no array": GivesNoArray,
}
_DTYPES = (np.int64, np.int32, np.uint8, np.bool_, np.uint64, np.float64, object)
ARRAYS: dict[str, Callable[[], Any]] = {
    **{
        f"{np.dtype(dtype).name} {shape}": (lambda dtype=dtype, shape=shape: np.zeros(shape, dtype))
        for dtype in _DTYPES
        for shape in ((), (0,), (3,), (4,), (0, 2), (3, 2), (2, 4), (2, 3, 2))
    },
    **{f"backwards {dtype.__name__}": (lambda dtype=dtype: np.arange(8).astype(dtype)[::-1]) for dtype in _DTYPES},
    **{f"gaps {dtype.__name__}": (lambda dtype=dtype: np.arange(8).astype(dtype)[::2]) for dtype in _DTYPES},
    "columns first": lambda: np.asfortranarray(np.arange(8).reshape(4, 2)),
    "columns first, runs": lambda: np.asfortranarray(np.arange(16).reshape(4, 4)),
    "rows backwards": lambda: np.arange(8).reshape(4, 2)[::-1],
    "misaligned": lambda: misaligned(np.int64, (4,)),
    "misaligned pairs": lambda: misaligned(np.int64, (4, 2)),
    "misaligned int32": lambda: misaligned(np.int32, (4,)),
    "a field of records": lambda: strided("i8", 4),
    "a small field of records": lambda: strided("i4", 4),
    "the other byte order": lambda: np.arange(8).astype(np.dtype(np.int64).newbyteorder()).reshape(4, 2),
    "the other byte order, flat": lambda: np.arange(4).astype(np.dtype(np.int32).newbyteorder()),
    "read-only": lambda: np.frombuffer(bytes(32), np.int64),
    "one number, many times": lambda: np.broadcast_to(np.zeros((1, 2), np.int64), (2**50, 2)),
    "one large number, many times": lambda: np.broadcast_to(np.int64(2**40), (2**55,)),
    "huge uint64": lambda: np.full((3, 2), 2**64 - 1, np.uint64),
    "large": lambda: np.full((4,), 2**62),
    "negative": lambda: np.full((4,), -(2**63)),
    "large pairs": lambda: np.full((4, 2), 2**62),
    "large runs": lambda: np.full((4, 4), 2**62),
    "negative runs": lambda: np.full((4, 4), -5),
    "dates": lambda: np.zeros((3, 2), "M8[s]"),
    "texts": lambda: np.array(["a", "b"]),
    "a subclass": lambda: np.arange(8).reshape(4, 2).view(ArraySubclass),
    "a subclass of the other byte order": lambda: (
        np.arange(8).astype(np.dtype(np.int64).newbyteorder()).reshape(4, 2).view(ArraySubclass)
    ),
}
CHANGING: dict[str, Callable[[], Any]] = {
    f"what changes its containers to {size}": (lambda size=size: Changes(size)) for size in (0, 1, 300)
}
HOSTILE: dict[str, Callable[[], Any]] = {**PLAIN, **LYING, **ARRAYS, **CHANGING}
