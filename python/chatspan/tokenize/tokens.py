"""The ids of a text, and the characters that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatspan._core import Offsets

if TYPE_CHECKING:
    # Not there in a build without the tokenizer's crates.
    from chatspan._core import LabelledRows

# int32 [T] message indices, uint8 [T] kinds, int64 [K] tokens that straddle
Attribution = tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]
# By message the tokens whose ids were given, half-open
GivenTokens = Mapping[int, tuple[int, int]]
NONE_GIVEN: GivenTokens = {}


class Tokens(NamedTuple):
    """The ``T`` tokens of a text.

    Attributes:
        input_ids: int64 ``[T]``.
        table: the characters of each.
        backend: which tokenizer made them: ``"native"``, ``"hf"``.
        attribution: whose each is, where that was found along with them.
        given: the tokens of messages whose ids were sampled and not made of their text.
    """

    input_ids: NDArray[np.int64]
    table: Offsets
    backend: str
    attribution: Attribution | None = None
    given: GivenTokens = NONE_GIVEN


class LabelledTokens(NamedTuple):
    """Rows of tokens with their labels, in the core.

    Attributes:
        rows: the rows.
        counts: for each how many tokens it has, how many of them are trained, and how many were cut off.
    """

    rows: LabelledRows
    counts: Sequence[tuple[int, int, int]]


def tokens_of(
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    text_length: int,
    backend: str,
) -> Tokens:
    """Tokens from lists, checked.

    Raises:
        OffsetsError: see :class:`Offsets`.
    """
    return Tokens(np.array(ids, dtype=np.int64), Offsets(offsets, text_length=text_length), backend)
