"""Timing that bears a busy machine: what is compared runs alternately, and ratios are taken within a round."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Milliseconds = NDArray[np.float64]

# Short calls are repeated until they took this long, so that the clock and a single interruption weigh little.
_SAMPLE_SECONDS = 0.03


def alternate(calls: Sequence[Callable[[], object]], rounds: int) -> Milliseconds:
    """Milliseconds of each call in each round, ``[rounds, calls]``; every other round runs backwards."""
    # Once and before, not disabled during: what a call's own garbage costs belongs to it.
    gc.collect()
    times = np.zeros((rounds, len(calls)))
    for row in range(rounds):
        order = range(len(calls)) if row % 2 == 0 else reversed(range(len(calls)))
        for column in order:
            times[row, column] = _sample(calls[column])
    return times


def _sample(call: Callable[[], object]) -> float:
    count, start = 0, time.perf_counter()
    while True:
        call()
        count += 1
        seconds = time.perf_counter() - start
        if seconds >= _SAMPLE_SECONDS:
            return seconds * 1e3 / count


def ratios(times: Milliseconds, column: int) -> Milliseconds:
    """How many times longer a column's call took than the first column's, in each round."""
    return times[:, column] / times[:, 0]


def growth(sizes: Sequence[int], milliseconds: Sequence[float]) -> float:
    """The exponent with which time grows: the slope of a line through the logarithms; 1 is linear, 2 quadratic."""
    return float(np.polyfit(np.log(sizes), np.log(milliseconds), 1)[0])
