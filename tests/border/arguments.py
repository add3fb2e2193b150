"""Arguments of a call, and the places in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

DEEPEST = 4

Path = tuple[Any, ...]


def places(value: Any, at: Path = ()) -> Iterator[Path]:
    """The places in arguments: each argument, each item of a list, tuple and dict in it."""
    if at:
        yield at
    if len(at) > DEEPEST:
        return
    if type(value) is dict:
        for key in value:
            yield from places(value[key], (*at, key))
    elif type(value) in (list, tuple):
        for index in range(min(2, len(value))):
            yield from places(value[index], (*at, index))


def at_place(value: Any, at: Path) -> Any:
    return at_place(value[at[0]], at[1:]) if at else value


def put(value: Any, at: Path, new: Any) -> Any:
    """The arguments with another object at a place; tuples are made anew."""
    if not at:
        return new
    key, rest = at[0], at[1:]
    if type(value) is tuple:
        return tuple(put(part, rest, new) if index == key else part for index, part in enumerate(value))
    value[key] = put(value[key], rest, new)
    return value


def own(value: Any) -> Any:
    """Lists and dicts that can be written to."""
    if type(value) is dict:
        return {key: own(part) for key, part in value.items()}
    if type(value) is list:
        return [own(part) for part in value]
    if type(value) is tuple:
        return tuple(own(part) for part in value)
    return value.copy() if type(value) is np.ndarray else value
