"""Conversations by the ids that they were shown as: what a loop that hands over ids alone goes on from."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Generic, TypeVar

import numpy as np

from chatspan.errors import OptionError, RolloutError, quoted
from chatspan.tokenize.sampled_ids import whole_ids

History = TypeVar("History")

MAX_TOKENS = 16_000_000


class Histories(Generic[History]):
    """What is known of prompts, found by all of their ids; may be used by several threads.

    Only what was remembered is found, for exactly its ids: nothing is made out of ids that are like them.

    Args:
        max_tokens: how many ids may be remembered in all. What was not asked for the longest is forgotten first; the
            last one stays, however long it is.

    Raises:
        OptionError: no count of tokens.

    Example:
        >>> from chatspan.rollout.histories import Histories
        >>> histories = Histories(max_tokens=5)
        >>> histories.remember([1, 2, 3], "the first")
        >>> histories.find([1, 2, 3]), histories.find([1, 2])
        ('the first', None)
        >>> histories.remember([4, 5, 6], "the second")
        >>> histories.find([1, 2, 3])
    """

    def __init__(self, max_tokens: int = MAX_TOKENS) -> None:
        if type(max_tokens) is not int or max_tokens < 1:
            raise OptionError(f"max_tokens={quoted(max_tokens)}: expected the number of ids to remember, at least 1")
        self.max_tokens = max_tokens
        self._known: OrderedDict[bytes, History] = OrderedDict()
        self._tokens = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, ids: Any, history: History) -> None:
        """Keeps what is known of these ids, in place of what was known before.

        Raises:
            RolloutError: they are no ids, or none.
        """
        key = _key(ids)
        with self._lock:
            if self._known.pop(key, None) is None:
                self._tokens += _length(key)
            self._known[key] = history
            while self._tokens > self.max_tokens and len(self._known) > 1:
                oldest, _ = self._known.popitem(last=False)
                self._tokens -= _length(oldest)

    def find(self, ids: Any) -> History | None:
        """What is known of these ids; ``None`` if nothing is, or if they are no ids."""
        try:
            key = _key(ids)
        except RolloutError:
            return None
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)


def _key(ids: Any) -> bytes:
    # A dict compares the bytes themselves behind their hash.
    return np.asarray(whole_ids(None, ids), dtype=np.int64).tobytes()


def _length(key: bytes) -> int:
    return len(key) // 8
