"""What was found out about templates is remembered, and forgotten where there is too much of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

Found = TypeVar("Found")

_MOST = 256


class _Place(Generic[Found]):
    """A place for what is found."""

    __slots__ = ("found",)
    found: Found | None

    def __init__(self) -> None:
        self.found = None


class Remembered(Generic[Found]):
    """What was found out, by what it depends on: of the last ones that were asked for, as a keyword may be another
    one in each row.

    Threads that ask for the same at once may each find it. A copy in another process finds it anew.

    Example:
        >>> squares = Remembered()
        >>> squares.find(3, lambda: 9)
        9
        >>> squares.find(3, lambda: 1 / 0)
        9
        >>> print(squares.known(4))
        None
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._place: Callable[[Hashable], _Place[Found]] = functools.lru_cache(maxsize=most)(_new_place)

    def __reduce__(self) -> Any:
        return (Remembered, (self._most,))

    def known(self, key: Hashable) -> Found | None:
        """What is remembered; nothing where it was not found yet, or forgotten."""
        return self._place(key).found

    def find(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What is remembered, or is found now."""
        place = self._place(key)
        if place.found is None:
            place.found = find()
        return place.found


def _new_place(key: Hashable) -> _Place[Any]:
    return _Place()
