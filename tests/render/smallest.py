"""Makes a case that shows something smaller, as long as it shows it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

# Pieces of that many items at most are taken out at every place; of lists of that many at most, any two items.
EVERYWHERE, PAIRS = 8, 60


class Word(str):
    """A text that stays whole."""

    __slots__ = ()


def smallest(value: Any, shows: Callable[[Any], bool], tries: int) -> Any:
    """A value that shows it still, and that no single step makes smaller; or what the tries were enough for.

    Tuples keep their length.

    >>> smallest(([3, 40, 5, 7], {"a": "xyz", "b": None}), lambda it: 40 in it[0] and "y" in it[1].get("a", ""), 200)
    ([40], {'a': 'y'})
    """
    improved = True
    while improved:
        improved, place = False, 0
        # After a step, those in front of it are not tried at once again: they most likely fail as before.
        while True:
            found = None
            for index, candidate in enumerate(smaller(value)):
                if index < place:
                    continue
                if tries == 0:
                    return value
                tries -= 1
                if shows(candidate):
                    found, place = candidate, index
                    break
            if found is None:
                break
            value, improved = found, True
    return value


def smaller(value: Any) -> Iterator[Any]:
    """The value with one thing less, much less first."""
    if type(value) in (list, str):
        yield from _shorter(value)
    elif isinstance(value, dict):
        for key in value:
            yield {name: inner for name, inner in value.items() if name != key}
    elif type(value) is int and value:
        yield from sorted({0, value // 2, value - 1 if value > 0 else -value} - {value}, key=abs)
    elif isinstance(value, (bool, float)) and value:
        yield type(value)()
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            for candidate in smaller(item):
                yield value[:index] + type(value)([candidate]) + value[index + 1 :]
    elif isinstance(value, dict):
        for key, item in value.items():
            for candidate in smaller(item):
                yield {**value, key: candidate}
    if isinstance(value, list) and len(value) <= PAIRS:
        # What opens and what closes.
        for first, last in itertools.combinations(range(len(value)), 2):
            yield value[:first] + value[first + 1 : last] + value[last + 1 :]


def _shorter(value: Any) -> Iterator[Any]:
    size = len(value)
    while size:
        for start in range(0, len(value) - size + 1, size if size > EVERYWHERE else 1):
            yield value[:start] + value[start + size :]
        size = size // 2 if size > EVERYWHERE else size - 1
