"""Side arrays of single rows → arrays of a batch, zero where a row has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.batch.sides import Form, sequence_widths
from chatspan.errors import OptionError, RowError
from chatspan.options import PaddingSide
from chatspan.rollout.side_arrays import common_dtype, require_one_shape

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PlacedArrays:
    """The side arrays of a row.

    Attributes:
        arrays: ``[T, …]`` each, of the row's own tokens.
        columns: int64 ``[T]``, where these stand in the batch.
        has_sampled: whether any of the tokens was sampled, so that there should be arrays.
        place: what errors say of the row, as :meth:`chatspan.ChatspanError.at` takes it.
    """

    arrays: Mapping[str, NDArray[Any]]
    columns: Ints
    has_sampled: bool
    place: Mapping[str, Any]


def batch_arrays(
    names: Sequence[str], rows: Sequence[PlacedArrays], width: int, *, packed: bool = False
) -> dict[str, NDArray[Any]]:
    """The side arrays of a batch.

    Args:
        packed: whether all rows are one, in whose columns they stand.

    Returns:
        ``[B, width, …]`` each, zero in columns without a token and in rows of which nothing was sampled.

    Raises:
        RowError: a row has sampled tokens and not the array, or values of another shape than a row before; with its
            place.
        OptionError: no row has the array.
    """
    found = {}
    for name in names:
        arrays = row_arrays(name, rows)
        batch = np.zeros((1 if packed else len(rows), width, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
        for at, (row, array) in enumerate(zip(rows, arrays, strict=True)):
            batch[0 if packed else at, row.columns] = array
        found[name] = batch
    return found


def row_starts(lengths: Sequence[int], width: int, side: PaddingSide, *, packed: bool) -> list[int]:
    """The column of the batch at which each row begins.

    Args:
        lengths: of the rows; of packed ones with what they are filled up with.
    """
    if packed:
        return [0, *np.cumsum(lengths[:-1]).tolist()]
    return [width - length if side == "left" else 0 for length in lengths]


def starts_of(lengths: Iterable[int], width: int, form: Form) -> list[int]:
    """The column of the batch at which each row of these lengths begins."""
    widths = sequence_widths(lengths, form.pad_sequences_to_multiple_of).tolist()
    return row_starts(widths, width, form.padding_side, packed=form.packing)


def row_arrays(name: str, rows: Sequence[PlacedArrays]) -> list[NDArray[Any]]:
    """One side array of each row, ``[T, …]``, all of one shape a token and one type; zero in rows that have none.

    Raises:
        RowError, OptionError: as :func:`batch_arrays`.
    """
    given = [_given(name, row) for row in rows]
    arrays = [array for array in given if array is not None]
    if not arrays:
        raise OptionError(
            f"per_token names {name!r}, and no row of the batch has it: add it beside the token_ids of assistant "
            "messages or in a row as sampled, or leave the name out"
        )
    for row, array in zip(rows, given, strict=True):
        if array is not None:
            _require_shape(name, arrays[0], array, row)
    shape, dtype = arrays[0].shape[1:], common_dtype(array.dtype for array in arrays)
    return [
        np.zeros((len(row.columns), *shape), dtype=dtype) if array is None else array.astype(dtype, copy=False)
        for row, array in zip(rows, given, strict=True)
    ]


def gathered(batch: NDArray[Any], columns: Ints, mask: NDArray[np.bool_]) -> NDArray[Any]:
    """The values at some columns of each row, ``[B, R, …]``, zero where the mask is false."""
    found = batch[np.arange(len(batch))[:, None], columns]
    found[~mask] = 0
    return found


def _given(name: str, row: PlacedArrays) -> NDArray[Any] | None:
    array = row.arrays.get(name)
    if array is None and row.has_sampled:
        known = f"it has {', '.join(map(repr, sorted(row.arrays)))}" if row.arrays else "it has no such values"
        raise RowError(f"per_token names {name!r}, and {known} for its sampled tokens: add them", **row.place)
    return array


def _require_shape(name: str, first: NDArray[Any], array: NDArray[Any], row: PlacedArrays) -> None:
    try:
        require_one_shape(name, [first, array], "rows before")
    except OptionError as error:
        raise RowError(error.message, **row.place) from None
