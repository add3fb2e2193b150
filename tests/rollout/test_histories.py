"""Conversations by their ids: what is found, what is forgotten, and what is never taken for another."""

from __future__ import annotations

import threading

import chatspan
import numpy as np
import pytest
from chatspan.rollout.histories import Histories


def test_only_the_same_ids_are_found_whatever_they_are_given_as() -> None:
    histories: Histories[str] = Histories()
    histories.remember([1, 2, 3], "first")
    histories.remember(np.array([1, 2, 300], dtype=np.int32), "second")
    for ids in ([1, 2, 3], (1, 2, 3), np.array([1, 2, 3], dtype=np.int32), np.array([1, 2, 3])):
        assert histories.find(ids) == "first"
    # Bytes of one are never those of another: ids are kept in eight bytes each.
    for ids in ([1, 2], [1, 2, 3, 0], [3, 2, 1], [1, 2, 3 << 8], [], None, "123", [1.5], [-1]):
        assert histories.find(ids) is None
    histories.remember([1, 2, 3], "third")
    assert (histories.find([1, 2, 3]), len(histories)) == ("third", 2)
    with pytest.raises(chatspan.RolloutError, match="token_ids must be the ids"):
        histories.remember([], "none")


def test_what_was_not_asked_for_the_longest_is_forgotten() -> None:
    histories: Histories[str] = Histories(max_tokens=6)
    for first in (10, 20, 30):
        histories.remember([first, first + 1], str(first))
    assert histories.find([10, 11]) == "10"
    histories.remember([40, 41], "40")
    assert [histories.find([first, first + 1]) for first in (10, 20, 30, 40)] == ["10", None, "30", "40"]
    histories.remember(list(range(100)), "long")
    assert (histories.find(range(100)), len(histories)) == ("long", 1)
    for wrong in (0, -1, 1.5, True, None):
        with pytest.raises(chatspan.OptionError, match="expected the number of ids to remember"):
            Histories(max_tokens=wrong)  # type: ignore[arg-type]


def test_threads_may_share_it() -> None:
    histories: Histories[int] = Histories(max_tokens=50)
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for step in range(300):
                histories.remember([number, step], step)
                found = histories.find([number, step])
                assert found in (step, None)
        # Told by the test itself: a thread's own error is lost.
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(histories) == 25
