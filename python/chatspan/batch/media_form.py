"""What batches of a processor need; whether rows with media can be packed: by what it makes of two small chats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from chatspan.attribute.media import IDS
from chatspan.batch.media import is_tied
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, LayoutError, TokenizerError, one_line
from chatspan.media.positions import makes_own_positions
from chatspan.render.request import request_of

_REMEDY = "use packing=False"


def require_form(encoder: EncodingPipeline, *, packing: bool) -> None:
    """What batches of a processor need.

    Raises:
        TokenizerError: there is no token to pad with, which the processor does.
        LayoutError: rows are to be packed, and cannot be.
    """
    if encoder.processor is None:
        return
    if encoder.tokenizer.pad_token is None:
        raise TokenizerError(
            "the processor's tokenizer has no pad token, with which the processor fills rows: set "
            "processor.tokenizer.pad_token, such as to its eos_token"
        )
    if packing:
        require_packable(encoder)


def require_packable(encoder: EncodingPipeline) -> None:
    """A packed row has the tensors of its rows, one behind the other, and positions that restart.

    Raises:
        LayoutError: the model would not find the media of each row, or the processor's tensors are of rows.
    """
    name = type(encoder.processor).__name__
    if makes_own_positions(encoder.processor):
        raise LayoutError(
            f"packing=True with {name}: its model derives the positions of media from rows, which packing hides; "
            f"{_REMEDY}"
        )
    reasons = []
    for modality, media in _probes():
        try:
            _require_joined(name, modality, encoder, media)
            return
        except LayoutError:
            raise
        # What it does not take says nothing.
        except ChatspanError as error:
            reasons.append(f"of {modality}s: {one_line(error)}")
    raise LayoutError(
        f"packing=True with {name}: two small chats do not show how it lays out media ({reasons[0]}); {_REMEDY}"
    )


def _probes() -> Iterator[tuple[str, Sequence[Any]]]:
    noise = np.random.default_rng(0)
    yield "image", [_picture(noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(3)]
    yield "audio", [noise.normal(size=8000).astype(np.float32) * 0.1 for _ in range(3)]
    yield "video", [noise.integers(0, 255, (4, 56, 56, 3), dtype=np.uint8) for _ in range(3)]


def _picture(pixels: Any) -> Any:
    """As older transformers take it, where pillow is installed."""
    try:
        from PIL import Image
    except ImportError:
        return pixels
    return Image.fromarray(pixels)


def _require_joined(name: str, modality: str, encoder: EncodingPipeline, media: Sequence[Any]) -> None:
    first, *others = (_chat(modality, [media[0]]), _chat(modality, media[1:]))
    alone = [_encoded(encoder, [chat], together=False)[0] for chat in (first, *others)]
    both = _encoded(encoder, [first, *others], together=True)
    made = both[0]._model_inputs
    for key, value in made.of_call.items():
        if key in IDS:
            continue
        if is_tied(made, key):
            is_joined = value.dim() == 2
        else:
            is_joined = _are_joined([each.model_inputs.get(key) for each in alone], value)
        if not is_joined:
            shape = tuple(getattr(value, "shape", ()))
            raise LayoutError(
                f"packing=True with {name}: its {key} of a batch, {list(shape)} of two rows, is not that of each "
                f"row, one after the other, as a packed row needs it; {_REMEDY}"
            )


def _are_joined(parts: Sequence[Any], value: Any) -> bool:
    if not all(isinstance(each, torch.Tensor) and each.shape[1:] == value.shape[1:] for each in parts):
        return False
    return torch.equal(torch.cat(list(parts)), value)


def _chat(modality: str, media: Sequence[Any]) -> list[dict[str, Any]]:
    parts = [{"type": modality, modality: each} for each in media]
    return [
        {"role": "user", "content": [*parts, {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
    ]


def _encoded(encoder: EncodingPipeline, chats: Sequence[Any], *, together: bool) -> list[Encoding]:
    rendered = list(encoder.render([request_of(chat) for chat in chats]))
    return encoder.encode_rendered(rendered, together=together)
