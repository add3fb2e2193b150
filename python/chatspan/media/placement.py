"""Where the expansions of placeholders stand in a text: told by what stands between them."""

from __future__ import annotations

from collections.abc import Sequence

from chatspan.render.rendered import CharRange


def between(text: str, ranges: Sequence[CharRange]) -> list[str]:
    """The parts of a text before, between and behind ranges.

    Example:
        >>> between("a<i>b<i>", [(1, 4), (5, 8)])
        ['a', 'b', '']
    """
    edges = [0, *(edge for each in ranges for edge in each), len(text)]
    return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def placements(gaps: Sequence[str], text: str) -> tuple[list[CharRange], bool] | None:
    """The ranges of a text around which its other characters are the gaps, and whether there are no others; ``None``:
    there are none.

    The leftmost placement gives each gap its least start, the rightmost one its greatest: where they agree there is no
    third.

    Example:
        >>> placements(["a", "b", ""], "a__b__")
        ([(1, 3), (4, 6)], True)
        >>> placements(["", "b", ""], "xbybz")
        ([(0, 1), (2, 5)], False)
    """
    first, last = len(gaps[0]), len(text) - len(gaps[-1])
    if not text.startswith(gaps[0]) or not text.endswith(gaps[-1]):
        return None
    if len(gaps) == 1:
        return ([], True) if text == gaps[0] else None
    if first > last:
        return None
    left, at = [], first
    for gap in gaps[1:-1]:
        start = text.find(gap, at, last)
        if start < 0:
            return None
        left.append(start)
        at = start + len(gap)
    right, at = [], last
    for gap in reversed(gaps[1:-1]):
        at = text.rfind(gap, first, at)
        right.append(at)
    starts = [first, *(start + len(gap) for start, gap in zip(left, gaps[1:-1], strict=True))]
    return list(zip(starts, [*left, last], strict=True)), left == right[::-1]


def rebuilt(gaps: Sequence[str], parts: Sequence[str], text: str) -> list[CharRange] | None:
    """The ranges of the parts in a text that is gaps and parts in turn; ``None``: it is not.

    Example:
        >>> rebuilt(["", "b", ""], ["x", "ybz"], "xbybz")
        [(0, 1), (2, 5)]
    """
    if len(parts) != len(gaps) - 1:
        return None
    ranges: list[CharRange] = []
    at = len(gaps[0])
    for part, gap in zip(parts, gaps[1:], strict=True):
        ranges.append((at, at + len(part)))
        at += len(part) + len(gap)
    whole = gaps[0] + "".join(part + gap for part, gap in zip(parts, gaps[1:], strict=True))
    return ranges if whole == text else None
