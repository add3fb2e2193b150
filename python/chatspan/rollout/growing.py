"""Ids of a row that grows turn by turn: a turn costs its own tokens, not the history's."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_FIRST_CAPACITY = 1024


@dataclass(frozen=True, eq=False)
class GrowingIds:
    """The first ids of a buffer. What is added is written behind them, where no other ids were, and else to a copy.

    Attributes:
        buffer: int64 ``[capacity]``.
        length: how many of it are these.
        ends: how many of the buffer are written; nothing while someone writes. Several rows may begin alike, as copies
            of a rollout do, also in several threads, and only one of them goes on in this buffer.
    """

    buffer: NDArray[np.int64] = field(default_factory=lambda: np.empty(_FIRST_CAPACITY, dtype=np.int64))
    length: int = 0
    ends: set[int] = field(default_factory=lambda: {0}, repr=False)

    def __len__(self) -> int:
        return self.length

    def extended(self, more: NDArray[np.int64]) -> GrowingIds:
        """These, and more behind them; these stay as they are."""
        if not len(more):
            return self
        end = self.length + len(more)
        if end <= len(self.buffer) and self._takes_the_end():
            self.buffer[self.length : end] = more
            self.ends.add(end)
            return GrowingIds(self.buffer, end, self.ends)
        buffer = np.empty(max(2 * end, _FIRST_CAPACITY), dtype=np.int64)
        buffer[: self.length] = self.buffer[: self.length]
        buffer[self.length : end] = more
        return GrowingIds(buffer, end, {end})

    def _takes_the_end(self) -> bool:
        """Whether nothing is written behind these; then nobody else may, either. One step for all threads."""
        try:
            self.ends.remove(self.length)
        except KeyError:
            return False
        return True

    def first(self, length: int) -> GrowingIds:
        """The first of them."""
        return GrowingIds(self.buffer, length, self.ends)

    def copy(self, start: int = 0, end: int | None = None) -> NDArray[np.int64]:
        """int64, some of them, as an array of their own."""
        return np.array(self.buffer[start : self.length if end is None else end])
