"""Means over seeds, and differences of two arms on the same seeds, with Student's t intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

_LEVEL = 0.95
_PARTS = 2000


class Interval(NamedTuple):
    """A mean, and the ends of its 95 % interval.

    Attributes:
        above, below: how many of the values are over 0 and under it.
    """

    mean: float
    low: float
    high: float
    above: int
    below: int


def interval(values: list[float]) -> Interval:
    """mean ± t s / √n, with s the standard deviation (n - 1) and t of n - 1 degrees of freedom; NaN ends for one value.

    Example:
        >>> [round(value, 4) for value in interval([0.1, 0.2, 0.3])[:3]]
        [0.2, -0.0484, 0.4484]
    """
    count = len(values)
    mean = sum(values) / count
    above, below = sum(value > 0 for value in values), sum(value < 0 for value in values)
    if count < 2:
        return Interval(mean, math.nan, math.nan, above, below)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    half = t_quantile(count - 1) * deviation / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, above, below)


def paired(of: Mapping[int, float], against: Mapping[int, float]) -> Interval:
    """The interval of the differences, seed by seed, on the seeds that both have."""
    return interval([of[seed] - against[seed] for seed in sorted(of.keys() & against.keys())])


def t_quantile(degrees: int, level: float = _LEVEL) -> float:
    """The t that so much of Student's distribution is within, on both sides.

    Example:
        >>> round(t_quantile(9), 3), round(t_quantile(1), 2)
        (2.262, 12.71)
    """
    low, high = 0.0, 1000.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return low


def _within(t: float, degrees: int) -> float:
    """The mass between -t and t: by Simpson's rule over the angle with the tangent t / √degrees."""
    angle = math.atan(t / math.sqrt(degrees))
    width = angle / _PARTS
    heights = [math.cos(part * width) ** (degrees - 1) for part in range(_PARTS + 1)]
    area = width / 3 * (heights[0] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]) + heights[-1])
    whole = math.sqrt(math.pi) * math.gamma(degrees / 2) / math.gamma((degrees + 1) / 2)
    return 2 * area / whole
