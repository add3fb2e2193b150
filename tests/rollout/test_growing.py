"""Ids that grow: whatever is added to whichever of several that begin alike, each says what a list would."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from chatspan.rollout.growing import GrowingIds
from hypothesis import given
from hypothesis import strategies as st

IDS = st.lists(st.integers(0, 2**31 - 1), max_size=700)
# Which of those so far, how many of its ids are taken, and what is added behind them.
STEPS = st.lists(st.tuples(st.integers(0), st.integers(0), IDS), max_size=30)


@given(steps=STEPS)
def test_each_is_what_a_list_would_be(steps: list[tuple[int, int, list[int]]]) -> None:
    found, expected = [GrowingIds()], [list[int]()]
    for which, length, more in steps:
        at = which % len(found)
        length %= len(expected[at]) + 1
        found.append(found[at].first(length).extended(np.array(more, dtype=np.int64)))
        expected.append(expected[at][:length] + more)
    assert [each.copy().tolist() for each in found] == expected
    assert [len(each) for each in found] == [len(each) for each in expected]
    assert pickle.loads(pickle.dumps(found[-1])).copy().tolist() == expected[-1]


def test_what_was_taken_out_is_nobodys_else() -> None:
    ids = GrowingIds().extended(np.arange(10))
    taken = ids.copy(2, 5)
    taken[:] = -1
    assert ids.copy().tolist() == list(range(10))


def test_copies_grow_in_threads_without_writing_over_each_other() -> None:
    begun = GrowingIds().extended(np.arange(100))

    def grown(number: int) -> list[int]:
        ids = copy.copy(begun)
        for _ in range(200):
            ids = ids.extended(np.full(3, number))
        return ids.copy().tolist()

    with ThreadPoolExecutor(8) as threads:
        for number, each in enumerate(threads.map(grown, range(32))):
            assert each == [*range(100), *[number] * 600]
