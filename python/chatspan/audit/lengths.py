"""What a cut to a length would lose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatspan.audit.media import media_cut_by
from chatspan.encoding import Encoding


@dataclass
class Cuts:
    """What would be lost of rows that are too long, if the tokens on one side were cut off.

    Attributes:
        rows: that are too long.
        tokens, trained: lost.
        messages: that lose all of their tokens.
        last_turns: rows whose last assistant turn loses its end.
        untrained: rows that keep no trained token.
        media: rows of which a medium would lose tokens, so that they cannot be cut.
    """

    rows: int = 0
    tokens: int = 0
    trained: int = 0
    messages: int = 0
    last_turns: int = 0
    untrained: int = 0
    media: int = 0

    def add(self, other: Cuts) -> None:
        """Adds those of other rows."""
        for name, value in other.__dict__.items():
            setattr(self, name, getattr(self, name) + value)


def cuts_of(encoding: Encoding, mask: NDArray[np.bool_], max_length: int) -> dict[str, Cuts]:
    """What a row that is too long would lose, cut off on the left and on the right."""
    return {side: _cut(encoding, mask, kept) for side, kept in kept_tokens(len(encoding), max_length).items()}


def kept_tokens(count: int, max_length: int) -> dict[str, slice]:
    """What is kept of so many tokens, cut off on the left and on the right."""
    return {"left": slice(count - max_length, count), "right": slice(0, max_length)}


def _cut(encoding: Encoding, mask: NDArray[np.bool_], kept: slice) -> Cuts:
    before, after = (set(part.tolist()) - {-1} for part in (encoding.message_index, encoding.message_index[kept]))
    trained = np.flatnonzero(mask)
    last = int(trained[-1]) if len(trained) else None
    return Cuts(
        rows=1,
        tokens=len(encoding) - (kept.stop - kept.start),
        trained=int(mask.sum() - mask[kept].sum()),
        messages=len(before - after),
        last_turns=int(last is not None and not kept.start <= last < kept.stop),
        untrained=int(bool(mask.any()) and not mask[kept].any()),
        media=int(bool(media_cut_by(encoding, kept))),
    )
