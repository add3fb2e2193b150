"""Sequences of different lengths → one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chatspan.config import PaddingSide

Ints = NDArray[np.int64]


def padded(sequences: Sequence[Ints], value: int, side: PaddingSide, width: int | None = None) -> Ints:
    """int64 ``[B, width]``; as wide as the longest, if no width is given."""
    width = max(map(len, sequences)) if width is None else width
    array = np.full((len(sequences), width), value, dtype=np.int64)
    for row, sequence in zip(array, sequences, strict=True):
        start = width - len(sequence) if side == "left" else 0
        row[start : start + len(sequence)] = sequence
    return array


def padded_ids(
    sequences: Sequence[Ints], pad_id: int, side: PaddingSide, width: int | None = None
) -> tuple[Ints, Ints]:
    """int64 ``[B, width]`` each: ids, and 1 where there is a token."""
    seen = [np.ones(len(sequence), dtype=np.int64) for sequence in sequences]
    return padded(sequences, pad_id, side, width), padded(seen, 0, side, width)


def position_ids_of(attention_mask: Ints) -> Ints:
    """The positions of the visible tokens, without gaps; a hole repeats the one before it."""
    positions: Ints = np.maximum(attention_mask.cumsum(axis=-1) - 1, 0)
    return positions
