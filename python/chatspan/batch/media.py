"""What a processor returned of a batch, with what is tied to its columns moved to those of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from chatspan.attribute.media import IDS, ModelInputs
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encoding import Encoding
from chatspan.errors import LayoutError, TokenizerError
from chatspan.kinds import Kind
from chatspan.options import PaddingSide

# A value for each token of a row, by the end of its name.
_OF_TOKENS = ("token_type_ids", "cross_attention_mask")


def require_form(encoder: EncodingPipeline, *, packing: bool) -> None:
    """What batches of a processor need.

    Raises:
        LayoutError: rows are to be packed.
        TokenizerError: there is no token to pad with, which the processor does.
    """
    if encoder.processor is None:
        return
    if packing:
        raise LayoutError(
            "packing=True with a processor: models find the positions of images by rows, which packed ones do not "
            "tell; give packing=False"
        )
    if encoder.tokenizer.pad_token is None:
        raise TokenizerError(
            "the processor's tokenizer has no pad token, with which the processor fills rows: set "
            "processor.tokenizer.pad_token, such as to its eos_token"
        )


def media_tensors(rows: Sequence[Encoding], width: int, padding_side: PaddingSide) -> dict[str, Any]:
    """The tensors that a model takes beside the ids, as the processor gave them for these rows in one call.

    Args:
        width: how many columns the batch has.

    Raises:
        LayoutError: the processor takes the rows one by one alone; or what is tied to tokens cannot be laid out, since
            ids were put in place of the processor's.
    """
    made = rows[0]._model_inputs
    if any(row._model_inputs.of_call is not made.of_call for row in rows):
        raise LayoutError(
            "the processor takes these rows one by one, and not in one call: give batches of one row, or look at what "
            "processor.apply_chat_template([messages, …], padding=True) raises"
        )
    found = {}
    for name, value in made.of_call.items():
        if name in IDS:
            continue
        is_tied = name.endswith(_OF_TOKENS) and tuple(value.shape[:2]) == tuple(np.shape(made.of_call["input_ids"]))
        found[name] = _laid_out(name, value, rows, width, padding_side) if is_tied else value
    return found


def _laid_out(
    name: str, value: torch.Tensor, rows: Sequence[Encoding], width: int, padding_side: PaddingSide
) -> torch.Tensor:
    found = value.new_zeros((len(rows), width, *value.shape[2:]))
    for at, row in enumerate(rows):
        own = _of_tokens(name, value[at][_seen(row._model_inputs)], row)
        start = width - len(own) if padding_side == "left" else 0
        found[at, start : start + len(own)] = own
    return found


def _seen(made: ModelInputs) -> torch.Tensor:
    """bool: which columns of the processor's row have a token."""
    mask = made.of_call.get("attention_mask")
    if mask is None:
        return torch.ones(len(made.of_call["input_ids"][made.place]), dtype=torch.bool)
    return torch.as_tensor(mask[made.place]).bool()


def _of_tokens(name: str, own: torch.Tensor, encoding: Encoding) -> torch.Tensor:
    """A value for each token of an encoding, of which the processor gave one for each of its own."""
    count = len(encoding) + encoding.truncated
    if len(own) == count:
        # What was cut off is no medium, so that its side does not matter to where these are.
        return own[len(own) - len(encoding) :] if _is_cut_on_left(encoding) else own[: len(encoding)]
    if not name.endswith("token_type_ids"):
        raise LayoutError(
            f"{name} has a value for each of the processor's tokens, and token_ids stand in place of some"
        )
    # Those of media are as many as they were; of text they are 0, and so are all that a tokenizer itself gives.
    of_media = torch.from_numpy(encoding.kind == Kind.MEDIA)
    if not own.any():
        return own.new_zeros(len(encoding))
    if int(of_media.sum()) != int((own != 0).sum()):
        raise LayoutError(f"{name} is not 0 for other tokens than those of media, and token_ids stand in place of some")
    found = own.new_zeros(len(encoding))
    found[of_media] = own[own != 0]
    return found


def _is_cut_on_left(encoding: Encoding) -> bool:
    return bool(encoding.truncated) and len(encoding) > 0 and int(encoding.offsets[:, 0].min()) > 0
