"""Where the media of a conversation stand: which characters and tokens a processor made of which part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from chatspan._core import Offsets, token_spans
from chatspan.render.origins import Path
from chatspan.render.rendered import CharRange


class MediaPlace(NamedTuple):
    """Characters of a text that a processor made of a part of a message.

    Attributes:
        range: half-open.
        modality: ``"image"``, ``"video"``, ``"audio"``.
        path: of the part in its message, ``("content", 0)``.
    """

    range: CharRange
    message_index: int
    path: Path
    modality: str


@dataclass(frozen=True)
class Medium:
    """An image, a video or audio of a conversation, and the tokens that stand for it.

    Attributes:
        message_index, path: its part: of message 0, ``("content", 0)``.
        modality: ``"image"``, ``"video"``, ``"audio"``.
        start_char, end_char: half-open, in ``Encoding.text``.
        start_token, end_token: the tokens that touch them, half-open.
    """

    message_index: int
    path: Path
    modality: str
    start_char: int
    end_char: int
    start_token: int
    end_token: int


class ModelInputs(NamedTuple):
    """What a processor returned beside ids: tensors of a model's inputs, such as ``pixel_values``.

    Attributes:
        of_call: by name, of all chats of the call, ids and mask among them.
        place: which of the chats this one is.
    """

    of_call: Mapping[str, Any]
    place: int


NO_INPUTS = ModelInputs({}, 0)
# Of what a processor returns, those that are made here.
IDS = ("input_ids", "attention_mask")
# What is in the names of tensors of media, by transformers' conventions.
_IN_NAMES = ("pixel_values", "grid_thw", "input_features", "cross_attention_mask")


def media_names(names: Iterable[str]) -> list[str]:
    """Those of a batch's names that are of tensors of media.

    Example:
        >>> media_names(["input_ids", "ctx_teacher_pixel_values", "image_grid_thw"])
        ['ctx_teacher_pixel_values', 'image_grid_thw']
    """
    return [name for name in names if any(part in name for part in _IN_NAMES)]


def media_of(places: Sequence[MediaPlace], table: Offsets) -> list[Medium]:
    """The media of a text, with their tokens."""
    if not places:
        return []
    tokens = token_spans(table, [place.range for place in places], straddle="touch").tolist()
    return [
        Medium(place.message_index, place.path, place.modality, *place.range, start, end)
        for place, (start, end) in zip(places, tokens, strict=True)
    ]


def without_media(ranges: Sequence[CharRange], places: Sequence[MediaPlace]) -> list[CharRange]:
    """Ranges without the characters of media, in the same order.

    Example:
        >>> without_media([(0, 9)], [MediaPlace((2, 5), 0, ("content", 0), "image")])
        [(0, 2), (5, 9)]
    """
    found = []
    for start, end in ranges:
        for (first, last), *_ in places:
            if last <= start or first >= end:
                continue
            if first > start:
                found.append((start, first))
            start = max(start, last)
        if start < end:
            found.append((start, end))
    return found
