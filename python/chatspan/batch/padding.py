"""Sequences of different lengths → one array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from chatspan._core import pad_rows
from chatspan.options import PaddingSide

Ints = NDArray[np.int64]


def padded(sequences: Sequence[Ints], value: int, side: PaddingSide, width: int | None = None) -> Ints:
    """int64 ``[B, width]``; as wide as the longest, if no width is given."""
    width = max(map(len, sequences)) if width is None else width
    return pad_rows([(list(sequences), value)], width, side == "left")[0]


def width_of(lengths: Iterable[int], multiple: int | None) -> int:
    """The longest, filled up to a multiple."""
    multiple = multiple or 1
    return -(-max(lengths) // multiple) * multiple


def padded_ids(
    sequences: Sequence[Ints], pad_id: int, side: PaddingSide, width: int | None = None
) -> tuple[Ints, Ints]:
    """int64 ``[B, width]`` each: ids, and 1 where there is a token."""
    width = max(map(len, sequences)) if width is None else width
    ids, mask = pad_rows([(list(sequences), pad_id), (ones_like(sequences), 0)], width, side == "left")
    return ids, mask


def ones_like(sequences: Sequence[Ints]) -> list[Ints]:
    """For each sequence 1 where it has a token."""
    longest = np.ones(max(map(len, sequences)), dtype=np.int64)
    return [longest[: len(sequence)] for sequence in sequences]


def position_ids_of(attention_mask: Ints) -> Ints:
    """The positions of the visible tokens, without gaps; a hole repeats the one before it."""
    positions: Ints = np.maximum(attention_mask.cumsum(axis=-1) - 1, 0)
    return positions
