"""What the media of rows are: how many, and how many tokens a processor makes of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chatspan.attribute.media import Medium
from chatspan.encoding import Encoding
from chatspan.rows.media_types import one_medium


class LargestMedium(NamedTuple):
    """The medium with the most tokens, and where it stands."""

    tokens: int
    modality: str
    row: str
    message_index: int


@dataclass
class MediaCounts:
    """Media over rows.

    Attributes:
        rows: how many have some.
        media, tokens: how many there are, and their tokens, by modality.
        lengths: how many rows with media have so many tokens of them.
        largest: the first of those with the most tokens.
    """

    rows: int = 0
    media: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    largest: LargestMedium | None = None

    def add(self, encoding: Encoding, row: str) -> None:
        """Adds those of a row."""
        found = encoding.media
        if not found:
            return
        self.rows += 1
        for medium in found:
            count = tokens_of(medium)
            self.media[medium.modality] += 1
            self.tokens[medium.modality] += count
            self._compare(LargestMedium(count, medium.modality, row, medium.message_index))
        self.lengths[sum(map(tokens_of, found))] += 1

    def merge(self, later: MediaCounts) -> None:
        """Adds those of rows behind these."""
        self.rows += later.rows
        for mine, theirs in ((self.media, later.media), (self.tokens, later.tokens)):
            mine.update(theirs)
        self.lengths.update(later.lengths)
        if later.largest is not None:
            self._compare(later.largest)

    def as_json(self, tokens: int) -> dict[str, Any] | None:
        """For machines; ``None`` where there are none.

        Args:
            tokens: of all rows.
        """
        if self.largest is None:
            return None
        total = sum(self.tokens.values())
        return {
            "rows": self.rows,
            "media": dict(self.media),
            "tokens": dict(self.tokens),
            "tokens_in_all": total,
            "share": total / tokens if tokens else 0.0,
            "largest": self.largest._asdict(),
        }

    def words(self, rows: int, tokens: int) -> str:
        """It in a sentence; empty where there are none.

        Args:
            rows, tokens: all.
        """
        if self.largest is None:
            return ""
        total = sum(self.tokens.values())
        kinds = ", ".join(f"{n:,} {kind}{'s' if n != 1 and kind != 'audio' else ''}" for kind, n in self.media.items())
        largest = self.largest
        return (
            f"{self.rows:,} of {rows:,} rows have media: {kinds}; {total:,} tokens of them, {total / tokens:.1%} of "
            f"all; the largest is {one_medium(largest.modality)} of {largest.tokens:,} tokens, {largest.row} "
            f"message {largest.message_index}."
        )

    def _compare(self, other: LargestMedium) -> None:
        if self.largest is None or other.tokens > self.largest.tokens:
            self.largest = other


def tokens_of(medium: Medium) -> int:
    """How many tokens stand for a medium."""
    return medium.end_token - medium.start_token


def media_cut_by(encoding: Encoding, kept: slice) -> list[Medium]:
    """The media that would lose a token if only these tokens were kept."""
    return [each for each in encoding.media if each.start_token < kept.start or each.end_token > kept.stop]
