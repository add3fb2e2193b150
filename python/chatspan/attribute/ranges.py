"""Ranges of characters, half-open."""

from __future__ import annotations

from collections.abc import Iterable

from chatspan.render.rendered import CharRange


def merged(ranges: Iterable[CharRange]) -> list[CharRange]:
    """Ranges in order, those that touch made one, without empty ones.

    Example:
        >>> merged([(4, 6), (0, 2), (2, 3), (5, 5)])
        [(0, 3), (4, 6)]
    """
    found: list[CharRange] = []
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
