"""What a processor returned of a batch, with what is tied to its columns moved to those of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from chatspan.attribute.media import IDS, ModelInputs
from chatspan.encoding import Encoding
from chatspan.errors import LayoutError
from chatspan.kinds import Kind

# A value for each token of a row, by the end of its name.
_OF_TOKENS = ("token_type_ids", "cross_attention_mask")


class MediaRow(NamedTuple):
    """A row's tokens, and where they stand.

    Attributes:
        made: what the processor returned.
        length: how many tokens the row has by it.
        kept: which of them stay.
        of_media: bool ``[T]``, which of those that stay are media's.
        columns: int64 ``[T]``, where these stand in the batch.
    """

    made: ModelInputs
    length: int
    kept: slice
    of_media: NDArray[np.bool_]
    columns: NDArray[np.int64]


def media_row(encoding: Encoding, columns: NDArray[np.int64]) -> MediaRow:
    """The row of an encoding."""
    count = len(encoding) + encoding.truncated
    # What was cut off is no medium, so that its side does not matter to where these are.
    kept = slice(encoding.truncated, count) if _is_cut_on_left(encoding) else slice(0, len(encoding))
    return MediaRow(encoding._model_inputs, count, kept, encoding.kind == Kind.MEDIA, columns)


def media_tensors(rows: Sequence[MediaRow], shape: tuple[int, int]) -> dict[str, Any]:
    """The tensors that a model takes beside the ids, as the processor gave them for these rows in one call.

    Args:
        shape: of the batch's ids; with one row for several that are packed.

    Raises:
        LayoutError: the processor takes the rows one by one alone; or what is tied to tokens cannot be laid out, since
            ids were put in place of the processor's.
    """
    made = rows[0].made
    if any(row.made.of_call is not made.of_call for row in rows):
        raise LayoutError(
            "the processor takes these rows one by one, but not in one call: use batches of one row, or see what "
            "processor.apply_chat_template([messages, …], padding=True) raises"
        )
    return {
        name: _laid_out(name, value, rows, shape) if is_tied(made, name) else value
        for name, value in made.of_call.items()
        if name not in IDS
    }


def is_tied(made: ModelInputs, name: str) -> bool:
    """Whether what a processor returned by a name has a value for each token of the rows."""
    value = made.of_call[name]
    return name.endswith(_OF_TOKENS) and tuple(value.shape[:2]) == tuple(np.shape(made.of_call["input_ids"]))


def _laid_out(name: str, value: torch.Tensor, rows: Sequence[MediaRow], shape: tuple[int, int]) -> torch.Tensor:
    found = value.new_zeros((*shape, *value.shape[2:]))
    for at, row in enumerate(rows):
        found[at if len(rows) == shape[0] else 0, torch.from_numpy(row.columns)] = _of_tokens(name, value, row)
    return found


def _seen(made: ModelInputs) -> torch.Tensor:
    """bool: which columns of the processor's row have a token."""
    mask = made.of_call.get("attention_mask")
    if mask is None:
        return torch.ones(len(made.of_call["input_ids"][made.place]), dtype=torch.bool)
    return torch.as_tensor(mask[made.place]).bool()


def _of_tokens(name: str, value: torch.Tensor, row: MediaRow) -> torch.Tensor:
    """A value for each token of a row, of which the processor gave one for each of its own."""
    own = value[row.made.place][_seen(row.made)]
    if len(own) == row.length:
        return own[row.kept]
    if not name.endswith("token_type_ids"):
        raise LayoutError(f"{name} has a value for each of the processor's tokens, and token_ids replace some of them")
    # Those of media are as many as they were; of text they are 0, and so are all that a tokenizer itself gives.
    of_media = torch.from_numpy(row.of_media)
    if not own.any():
        return own.new_zeros(len(of_media))
    if int(of_media.sum()) != int((own != 0).sum()):
        raise LayoutError(f"{name} is not 0 for other tokens than those of media, and token_ids replace some of them")
    found = own.new_zeros(len(of_media))
    found[of_media] = own[own != 0]
    return found


def _is_cut_on_left(encoding: Encoding) -> bool:
    return bool(encoding.truncated) and len(encoding) > 0 and int(encoding.offsets[:, 0].min()) > 0
