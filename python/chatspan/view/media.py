"""The media of an encoding as what a person looks at: which tokens they take, and a small picture of each."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chatspan.encoding import Encoding
from chatspan.kinds import Kind
from chatspan.rows.steps.media_data import data_of, sampling_rate_of

# Pixels of a picture's longer side.
_PIXELS = 128
_QUALITY = 80


@dataclass(frozen=True)
class MediumView:
    """A medium.

    Attributes:
        message_index, part: whose content's which part it is.
        modality: ``"image"``, ``"video"``, ``"audio"``.
        start_token, end_token: what is shown in its place, half-open; those of different media are apart.
        about: what is known of it beside: ``"640 × 480"``, ``"12.5 s"``; may be empty.
        picture: a data URI of a JPEG of at most 128 pixels a side; ``None`` where there is none.
    """

    message_index: int
    part: int
    modality: str
    start_token: int
    end_token: int
    about: str = ""
    picture: str | None = None

    @property
    def tokens(self) -> int:
        """How many stand for it."""
        return self.end_token - self.start_token

    @property
    def words(self) -> str:
        """It in a word or two, as it stands in place of its tokens: ``"image, 64 tokens"``."""
        return f"{self.modality}, {self.tokens:,} token{'' if self.tokens == 1 else 's'}"


def media_views(
    encoding: Encoding, messages: Sequence[Mapping[str, Any]] | None = None, processor: Any = None
) -> list[MediumView]:
    """The media of an encoding, in the order of their tokens.

    Args:
        messages: that were encoded, of whose parts pictures are made; ``None``: there are none.
        processor: which says how many samples a second of audio has.
    """
    found = []
    before = 0
    for medium in encoding.media:
        start, end = max(before, medium.start_token), medium.end_token
        # At an edge, a token may have characters of a text too, which decide.
        while start < end and encoding.kind[start] != Kind.MEDIA:
            start += 1
        while start < end and encoding.kind[end - 1] != Kind.MEDIA:
            end -= 1
        before = max(before, end)
        if start == end:
            continue
        part = int(medium.path[-1])
        data = None if messages is None else data_of(messages, medium.message_index, part, medium.modality)
        about, picture = ("", None) if data is None else _looked_at(data, medium.modality, processor)
        found.append(MediumView(medium.message_index, part, medium.modality, start, end, about, picture))
    return found


def _looked_at(data: Any, modality: str, processor: Any) -> tuple[str, str | None]:
    """What is known of a medium, and its picture. What cannot be shown is no error: it was encoded."""
    try:
        if modality == "audio":
            return _length_of(data, sampling_rate_of(processor)), None
        image = _image_of(data) if modality == "image" else _image_of(_first_frame(data))
        return f"{image.width} × {image.height}", _picture(image)
    # Loaders of files of all kinds, which may be not installed, have errors without a common base.
    except Exception:
        return "", None


def _image_of(data: Any) -> Any:
    from PIL import Image

    if isinstance(data, str):
        from transformers.image_utils import load_image

        return load_image(data)
    if isinstance(data, Image.Image):
        return data
    pixels = np.asarray(data)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.dtype != np.uint8:
        pixels = (pixels * (255 if pixels.max(initial=0) <= 1 else 1)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels.squeeze())


def _first_frame(data: Any) -> Any:
    if isinstance(data, str):
        from transformers.video_utils import load_video

        frames, _ = load_video(data, num_frames=1)
        return frames[0]
    return data[0]


def _length_of(data: Any, rate: int | None) -> str:
    if rate is None:
        return ""
    if isinstance(data, str):
        from transformers.audio_utils import load_audio

        data = load_audio(data, sampling_rate=rate)
    return f"{np.asarray(data).shape[-1] / rate:,.1f} s"


def _picture(image: Any) -> str:
    small = image.convert("RGB")
    small.thumbnail((_PIXELS, _PIXELS))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
