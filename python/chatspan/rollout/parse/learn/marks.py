"""Marks: the template's own text between the words of a message, found again in a completion."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

CharRange = tuple[int, int]
_DIGITS = re.compile(r"(\d+)")
_BLANKS = re.compile(r"(\s+)")
# Longer than any tag.
_LONGEST = 100
# A whole tag: a cut inside of one would make two marks of it.
TAG = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]")


@dataclass(frozen=True)
class Mark:
    """Text of the template.

    Attributes:
        text: as it was rendered first.
        counted: whether numbers in it differ from call to call.
    """

    text: str
    counted: bool = False

    @functools.cached_property
    def core(self) -> str:
        """The text without blanks at its ends."""
        return self.text.strip()

    @functools.cached_property
    def bare(self) -> Mark:
        """The mark without blanks behind it."""
        return Mark(self.text.rstrip(), self.counted)

    def blanks_behind(self, text: str, at: int) -> int:
        """Behind the blanks that the mark ends with, as far as the text has them at ``at``."""
        blanks = self.text[len(self.text.rstrip()) :]
        size = next(size for size in range(len(blanks), -1, -1) if text.startswith(blanks[:size], at))
        return at + size

    @functools.cached_property
    def _exact(self) -> re.Pattern[str]:
        return re.compile(self._with_numbers(self.text))

    @functools.cached_property
    def _loose(self) -> re.Pattern[str]:
        """With other blanks, or none, wherever the text has blanks, and behind it."""
        return re.compile(r"\s*".join([*map(self._with_numbers, self.text.split()), ""]))

    def _with_numbers(self, text: str) -> str:
        if not self.counted:
            return re.escape(text)
        return "".join(r"\d+" if part.isdigit() else re.escape(part) for part in _DIGITS.split(text))

    def end_at(self, text: str, start: int, *, loose: bool) -> int:
        """Where the mark ends that begins at ``start``; -1 if there is none."""
        if not loose and not self.counted:
            return start + len(self.text) if text.startswith(self.text, start) else -1
        if loose:
            start = _blanks_end(text, start)
        found = (self._loose if loose else self._exact).match(text, start)
        return -1 if found is None else found.end()

    def places(self, text: str, start: int, *, loose: bool) -> Iterator[CharRange]:
        """Where the mark stands, from ``start`` on."""
        if not self.core:
            loose = False
        if not loose and not self.counted:
            at = text.find(self.text, start)
            while at >= 0:
                yield at, at + len(self.text)
                at = text.find(self.text, at + 1)
            return
        for found in (self._loose if loose else self._exact).finditer(text, start):
            # Blanks in front are looked for from behind, which is linear in a text of blanks.
            first = len(text[start : found.start()].rstrip()) + start if loose else found.start()
            yield first, found.end()


def marks_of(texts: Iterable[str]) -> tuple[Mark, ...]:
    """The marks that these texts of one place are: one where they are equal, or differ in nothing but numbers."""
    found: list[Mark] = []
    known = list(dict.fromkeys(texts))
    for _, same in groupby(sorted(known, key=_without_numbers), key=_without_numbers):
        alike = sorted(same, key=known.index)
        found.append(Mark(alike[0], len(alike) > 1))
    return tuple(sorted(found, key=lambda mark: known.index(mark.text)))


def _without_numbers(text: str) -> str:
    return _DIGITS.sub("0", text)


def shared_start(texts: Sequence[str]) -> str:
    """What all texts begin with; nothing of no text."""
    # All others stand between these two.
    first, last = min(texts, default=""), max(texts, default="")
    low, high = 0, min(len(first), len(last))
    while low < high:
        middle = (low + high + 1) // 2
        if first.startswith(last[:middle]):
            low = middle
        else:
            high = middle - 1
    return first[:low]


def common_start(one: str, other: str, tokens: Sequence[str]) -> int:
    """How far two texts are equal, without a part of a tag or of a control token."""
    same = len(shared_start([one, other]))
    found = same
    for text in (one, other):
        near = max(0, same - _LONGEST)
        spans = [(each.start() + near, each.end() + near) for each in TAG.finditer(text[near : same + _LONGEST])]
        spans += [
            (at, at + len(token))
            for token in tokens
            for at in range(max(0, same - len(token) + 1), same)
            if token and text.startswith(token, at)
        ]
        found = min([found, *(start for start, end in spans if start < same < end)])
    return found


def _blanks_end(text: str, start: int) -> int:
    """Where the blanks end that begin at ``start``."""
    found = _BLANKS.match(text, start)
    return start if found is None else found.end()


def squeezed(text: str) -> str:
    """The text without blanks."""
    return _BLANKS.sub("", text)
