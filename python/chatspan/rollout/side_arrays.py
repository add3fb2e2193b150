"""Arrays that have a value for each token: log-probs, advantages, routed experts; laid along a row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.errors import OptionError

SideArrays = Mapping[str, NDArray[Any]]


def side_array(name: str, values: Any, lengths: Sequence[int], what: str) -> NDArray[Any]:
    """Values as an array whose first axis is that of tokens.

    Args:
        lengths: how many there may be.
        what: of what there are so many, as the error calls it.

    Raises:
        OptionError: they are no numbers, ragged, or not as many as there are tokens.
    """
    try:
        array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except Exception as error:
        raise OptionError(
            f"{name}: {type(values).__name__} is no array of numbers ({error}); give one value a token"
        ) from None
    if array.dtype == object or array.dtype.kind not in "bifu":
        raise OptionError(
            f"{name}: {array.dtype} is no array of numbers; give one value, or one row of values, a token"
        )
    if array.ndim == 0 or len(array) not in lengths:
        received = "one number" if array.ndim == 0 else f"{len(array)} values"
        raise OptionError(f"{name} has {received} for {what}; give one a token")
    return array.astype(np.float32) if array.dtype == np.float64 else array


# Names that messages, rows and batches have a use for.
_TAKEN = frozenset(
    [
        "role",
        "content",
        "tool_calls",
        "reasoning_content",
        "token_ids",
        "input_ids",
        "labels",
        "attention_mask",
        "position_ids",
        "prompt_ids",
        "completion_ids",
        "env_mask",
        "message_index",
    ]
)


def require_names(names: Any) -> tuple[str, ...]:
    """Names of side arrays.

    Raises:
        OptionError: they are none, or are those of something else.
    """
    if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise OptionError(f'per_token={names!r:.60}: give names of side arrays, such as ("logprobs",)')
    if taken := sorted(_TAKEN.intersection(names)):
        raise OptionError(f"per_token has {taken[0]!r}, which is no side array: give other names")
    return tuple(names)


def laid_out(parts: Sequence[tuple[int, int, NDArray[Any]]], length: int) -> NDArray[Any]:
    """An array of a whole row, zero where no part gives anything.

    Args:
        parts: where each begins and ends in the row, and its values; at least one. A later one wins.

    Raises:
        OptionError: their values have other shapes.
    """
    shapes = {part.shape[1:] for _, _, part in parts}
    if len(shapes) > 1:
        shown = " and ".join(sorted(str(list(shape)) for shape in shapes))
        raise OptionError(f"values of tokens have the shapes {shown}: give one shape for all turns")
    dtype = np.result_type(*(part.dtype for _, _, part in parts))
    row = np.zeros((length, *parts[0][2].shape[1:]), dtype=dtype)
    for start, end, part in parts:
        row[start:end] = part
    return row


def cut_side_arrays(arrays: SideArrays, first: int, last: int) -> dict[str, NDArray[Any]]:
    """The values of the tokens ``[first, last)``."""
    return {name: array[first:last] for name, array in arrays.items()}
