"""What is counted over rows; parts of a data set are counted apart and added."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.audit.findings import Groups
from chatspan.audit.lengths import Cuts
from chatspan.audit.media import MediaCounts
from chatspan.audit.splits import Splits
from chatspan.audit.turn_ends import TurnEnd
from chatspan.audit.turns import TurnForms
from chatspan.encoding import Encoding
from chatspan.kinds import Kind
from chatspan.rows.same_text import message_key, text_key

KIND_COUNT = len(Kind)
NO_MESSAGE = "(none)"

Counts = NDArray[np.int64]


class Totals:
    """What is counted over rows.

    Attributes:
        rows, failed: rows that were read, and of those the ones that raised.
        tokens, trained: int64 ``[len(Kind)]`` by role.
        messages: by role.
        lengths, trained_lengths: how many rows have so many tokens, and so many in the loss.
        cuts: by the side that is cut off.
        media: images, videos and audio.
        ends: of assistants' turns.
        turns: how they stand, where that was asked for.
        splits: rows as sampled, where that was asked for.
        digests: of each row that was encoded, in order, with its place.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.failed = 0
        self.groups = Groups()
        self.tokens: dict[str, Counts] = {}
        self.trained: dict[str, Counts] = {}
        self.messages: Counter[str] = Counter()
        self.lengths: Counter[int] = Counter()
        self.trained_lengths: Counter[int] = Counter()
        self.cuts: dict[str, Cuts] = {"left": Cuts(), "right": Cuts()}
        self.media = MediaCounts()
        self.ends: Counter[TurnEnd] = Counter()
        self.turns = TurnForms()
        self.splits = Splits()
        self.digests: list[tuple[bytes, str]] = []

    def add_tokens(self, encoding: Encoding, mask: NDArray[np.bool_]) -> None:
        """Counts the tokens of a row, by role and kind."""
        names = list(dict.fromkeys((*encoding.roles, NO_MESSAGE)))
        number = np.array([names.index(role) for role in (*encoding.roles, NO_MESSAGE)])
        # The last place is that of -1, which belongs to no message.
        cell = number[encoding.message_index] * KIND_COUNT + encoding.kind
        size = len(names) * KIND_COUNT
        for counts, cells in ((self.tokens, cell), (self.trained, cell[mask])):
            table = np.bincount(cells, minlength=size).reshape(len(names), KIND_COUNT)
            for name, line in zip(names, table, strict=True):
                counts[name] = counts[name] + line if name in counts else line
        self.messages.update(encoding.roles)
        self.lengths[len(encoding)] += 1
        self.trained_lengths[int(mask.sum())] += 1

    def merge(self, later: Totals) -> None:
        """Adds those of rows behind these; not their digests."""
        self.rows += later.rows
        self.failed += later.failed
        self.groups.merge(later.groups)
        for mine, theirs in ((self.tokens, later.tokens), (self.trained, later.trained)):
            for name, line in theirs.items():
                mine[name] = mine[name] + line if name in mine else line
        for mine_counter, their_counter in (
            (self.messages, later.messages),
            (self.lengths, later.lengths),
            (self.trained_lengths, later.trained_lengths),
            (self.ends, later.ends),
        ):
            mine_counter.update(their_counter)  # type: ignore[arg-type]
        self.media.merge(later.media)
        self.turns.merge(later.turns)
        self.splits.merge(later.splits)
        for side, cuts in later.cuts.items():
            self.cuts[side].add(cuts)


def digest_of(messages: Sequence[Mapping[str, Any]], kwargs: Mapping[str, Any], trained: Any = None) -> bytes:
    """16 bytes that are the same for rows whose messages and arguments of the template are written alike.

    Args:
        trained: what the row says of what is trained.
    """
    text = "\n".join([*map(message_key, messages), message_key(kwargs), text_key(trained)])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
