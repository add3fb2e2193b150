"""Rows, padded to one width or packed into one row: ids, masks, positions and where each row begins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chatspan.batch.padding import padded_ids, position_ids_of, width_of
from chatspan.errors import TokenizerError
from chatspan.options import PaddingSide

Arrays = dict[str, NDArray[Any]]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Side:
    """One side's tokens and the columns they stand in.

    Attributes:
        input_ids: int64 ``[T]``.
        columns: int64 ``[T]``, rising.
        width: how many columns there are.
    """

    input_ids: Ints
    columns: Ints
    width: int


class Padding(Protocol):
    """The options of rows that are padded."""

    @property
    def pad_to_multiple_of(self) -> int | None:
        """Rows are filled up to a multiple of it."""

    @property
    def pad_sequences_to_multiple_of(self) -> int | None:
        """Each sequence of a packed row is filled up to a multiple of it."""

    @property
    def padding_side(self) -> PaddingSide:
        """Where they are filled."""


class Form(Padding, Protocol):
    """The options of rows that are padded, or packed."""

    @property
    def packing(self) -> bool:
        """Whether all rows are one."""


def pad_id_of(tokenizer: Any) -> int:
    """The id that rows are filled with: pad, or eos where there is none.

    Raises:
        TokenizerError: there is neither.
    """
    for name in ("pad_token_id", "eos_token_id"):
        token_id = getattr(tokenizer, name, None)
        if token_id is not None:
            return int(token_id)
    raise TokenizerError("the tokenizer has neither a pad nor an eos token to fill rows with: set tokenizer.pad_token")


def ungrouped(rows: Sequence[Any]) -> Sequence[Any]:
    """The rows of groups, which a data set that was packed holds."""
    if not isinstance(rows, Sequence):
        return rows
    return [row for group in rows for row in (group if isinstance(group, (list, tuple)) else [group])]


def side_arrays(prefix: str, sides: Sequence[Side], config: Padding, pad_id: int) -> tuple[Arrays, Ints]:
    """Padded ``input_ids``, ``attention_mask`` and ``position_ids`` of one side, and the column each row begins at."""
    width = width_of((side.width for side in sides), config.pad_to_multiple_of)
    starts = np.array([width - side.width if config.padding_side == "left" else 0 for side in sides], dtype=np.int64)
    if all(side.width == len(side.input_ids) for side in sides):
        input_ids, attention_mask = padded_ids([side.input_ids for side in sides], pad_id, config.padding_side, width)
    else:
        input_ids = np.full((len(sides), width), pad_id, dtype=np.int64)
        attention_mask = np.zeros_like(input_ids)
        for i, side in enumerate(sides):
            input_ids[i, starts[i] + side.columns] = side.input_ids
            attention_mask[i, starts[i] + side.columns] = 1
    arrays: Arrays = {
        f"{prefix}input_ids": input_ids,
        f"{prefix}attention_mask": attention_mask,
        f"{prefix}position_ids": position_ids_of(attention_mask),
    }
    return arrays, starts


def sequence_widths(lengths: Iterable[int], multiple: int | None) -> Ints:
    """int64 ``[N]``: how many columns of a packed row sequences of these lengths take."""
    multiple = multiple or 1
    return -(-np.fromiter(lengths, dtype=np.int64) // multiple) * multiple


def packed_side(prefix: str, sides: Sequence[Side], config: Padding, pad_id: int) -> tuple[Arrays, Ints]:
    """One row of all rows of one side, where each begins and ends, and the column it begins at.

    What a sequence is filled up with is a part of it, behind its tokens, where causal attention does not see it. What
    the whole row is filled up with is a sequence of its own, the last.
    """
    widths = sequence_widths((len(side.input_ids) for side in sides), config.pad_sequences_to_multiple_of)
    starts = np.cumsum(widths) - widths
    multiple = math.lcm(config.pad_sequences_to_multiple_of or 1, config.pad_to_multiple_of or 1)
    rest = -int(widths.sum()) % multiple
    widths = np.append(widths, rest) if rest else widths
    input_ids = np.full((1, int(widths.sum())), pad_id, dtype=np.int64)
    for start, side in zip(starts, sides, strict=True):
        input_ids[0, start : start + len(side.input_ids)] = side.input_ids
    boundaries = np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
    longest = np.array(int(widths.max()), dtype=np.int64)
    arrays: Arrays = {
        f"{prefix}input_ids": input_ids,
        f"{prefix}position_ids": np.concatenate([np.arange(width) for width in widths])[None],
        f"{prefix}cu_seq_lens_q": boundaries,
        f"{prefix}cu_seq_lens_k": boundaries.copy(),
        f"{prefix}max_length_q": longest,
        f"{prefix}max_length_k": longest.copy(),
        f"{prefix}seq_idx": np.repeat(np.arange(len(widths), dtype=np.int32), widths)[None],
    }
    return arrays, starts
