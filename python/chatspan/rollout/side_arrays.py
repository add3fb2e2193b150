"""Arrays that have a value for each token: log-probs, advantages, routed experts; laid along a row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.errors import OptionError, RolloutError, one_line, quoted
from chatspan.rows.steps.flags import FLAGS
from chatspan.tokenize.tokens import GivenTokens

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
        array = np.asarray(_numbers(values))
    except Exception as error:
        raise OptionError(
            f"{name}: {type(values).__name__} is not an array of numbers ({one_line(error)}); pass one value, or "
            "one row of values of one shape, per token"
        ) from None
    if array.dtype == object or array.dtype.kind not in "bifu":
        raise OptionError(
            f"{name}: {array.dtype} is not an array of numbers; pass one value, or one row of values, per token"
        )
    if array.ndim == 0 or len(array) not in lengths:
        received = "one number" if array.ndim == 0 else f"{len(array)} values"
        raise OptionError(f"{name} has {received} for {what}; pass one per token")
    return array.astype(_kept(array.dtype), copy=False)


def _numbers(values: Any) -> Any:
    """A tensor in a form that numpy reads."""
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    try:
        return tensor.numpy()
    # Floats that numpy has no name for, such as bfloat16.
    except TypeError:
        return tensor.float().numpy()


def _kept(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that a side array has in a batch: its own, if torch has it everywhere; floats of Python are float32."""
    if dtype.kind == "f":
        return np.dtype(np.float16 if dtype.itemsize == 2 else np.float32)
    if dtype.kind == "u" and dtype.itemsize > 1:
        return np.dtype(np.int32 if dtype.itemsize == 2 else np.int64)
    found: np.dtype[Any] = dtype.newbyteorder("=")
    return found


def common_dtype(dtypes: Iterable[np.dtype[Any]]) -> np.dtype[Any]:
    """A type for values of these types; whole numbers beside floats are float32."""
    return _kept(np.result_type(*dtypes))


# Names that messages, rows and batches have a use for.
_TAKEN = frozenset(
    [
        *("role", "content", "tool_calls", "function_call", "tool_call", "reasoning_content", "tool_call_id", "name"),
        *("token_ids", "tool_error", "error_meta", "is_error", *FLAGS),
        *("input_ids", "labels", "attention_mask", "position_ids", "message_index", "kind", "use_cache", "seq_idx"),
        *("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"),
        *("prompt_ids", "completion_ids", "env_mask", "loss_weight", "response_mask", "row_index"),
        *("dropped_tokens", "dropped_messages", "dropped_sites", "dropped_rows", "response_idx_mask"),
    ]
)
# Names of a batch that begin so are the teacher's, the loss's, or of pairs of answers.
_TAKEN_PREFIXES = ("ctx_teacher_", "sdpo_", "dpo_", "student_", "teacher_")


def require_names(names: Any) -> tuple[str, ...]:
    """Names of side arrays.

    Raises:
        OptionError: they are none, or are those of something else.
    """
    if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise OptionError(f'per_token={quoted(names)}: expected names of side arrays, such as ("logprobs",)')
    taken = sorted(name for name in names if name in _TAKEN or name.startswith(_TAKEN_PREFIXES))
    if taken:
        raise OptionError(f"per_token has {taken[0]!r}, which messages or batches already use: rename it")
    return tuple(dict.fromkeys(names))


def laid_out(name: str, parts: Sequence[tuple[int, int, NDArray[Any]]], length: int) -> NDArray[Any]:
    """An array of a whole row, zero where no part gives anything.

    Args:
        parts: where each begins and ends in the row, and its values; at least one. A later one wins.

    Raises:
        OptionError: their values have other shapes.
    """
    shapes = {part.shape[1:] for _, _, part in parts}
    if len(shapes) > 1:
        shown = " and ".join(sorted(str(list(shape)) for shape in shapes))
        raise OptionError(f"{name} has values of the shapes {shown} per token: use one shape for all turns")
    dtype = common_dtype(part.dtype for _, _, part in parts)
    row = np.zeros((length, *parts[0][2].shape[1:]), dtype=dtype)
    for start, end, part in parts:
        row[start:end] = part
    return row


def cut_side_arrays(arrays: SideArrays, first: int, last: int) -> dict[str, NDArray[Any]]:
    """The values of the tokens ``[first, last)``."""
    return {name: array[first:last] for name, array in arrays.items()}


def spliced(given: Mapping[int, Mapping[str, Any]], tokens: GivenTokens, length: int) -> dict[str, NDArray[Any]]:
    """What messages have for each of their ``token_ids``, in a row of tokens; zero elsewhere.

    Args:
        given: by message, and by name.
        tokens: where the ``token_ids`` of each message stand.

    Returns:
        arrays ``[length, …]``, of the names that any message has.

    Raises:
        RolloutError: not one value a token, or not one shape; with ``message_index``.
    """
    parts: dict[str, list[tuple[int, int, NDArray[Any]]]] = {}
    for index, values in given.items():
        for name, value in values.items():
            try:
                part = _part(name, value, tokens.get(index))
                known = parts.setdefault(name, [])
                require_one_shape(name, [*(array for _, _, array in known[:1]), part[2]], "earlier messages")
            except OptionError as error:
                raise RolloutError(f"message {index} (assistant): {error.message}", message_index=index) from None
            known.append(part)
    return {name: laid_out(name, each, length) for name, each in parts.items()}


def require_one_shape(name: str, arrays: Sequence[NDArray[Any]], others: str) -> None:
    """The last of some arrays has values of the shape that the others have.

    Args:
        others: what the error calls these.

    Raises:
        OptionError: it has not.
    """
    for array in arrays[:-1]:
        if array.shape[1:] != arrays[-1].shape[1:]:
            raise OptionError(
                f"{name} has values of the shape {list(arrays[-1].shape[1:])} per token, but {others} "
                f"{list(array.shape[1:])}: pass one shape for all"
            )


def _part(name: str, value: Any, tokens: tuple[int, int] | None) -> tuple[int, int, NDArray[Any]]:
    if tokens is None:
        raise OptionError(f"it has {name!r}, but no 'token_ids' that these values belong to: pass both, or neither")
    start, end = tokens
    return start, end, side_array(name, value, [end - start], f"the {end - start} token_ids")
