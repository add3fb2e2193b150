"""What images, videos and audio are called in rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The types of parts that transformers' processors read.
MODALITIES = ("image", "video", "audio")
# The keys of a part that say where its medium is, beside the one of its type.
PLACES = ("url", "path", "base64")
# The columns of TRL, LLaMA-Factory and LLaVA, and the type of part of each.
COLUMNS = {
    "images": "image",
    "image": "image",
    "videos": "video",
    "video": "video",
    "audios": "audio",
    "audio": "audio",
}
# What the columns begin with that are of a teacher's messages, where its media are not the row's.
TEACHERS = "teacher_"
COLUMN_NAMES = frozenset([*COLUMNS, *(f"{TEACHERS}{name}" for name in COLUMNS)])
# Types of parts that are no text, and the kind of each.
PART_TYPES = {"image": "image", "image_url": "image", "input_image": "image", "video": "video", "video_url": "video"}
PART_TYPES |= {"audio": "audio", "audio_url": "audio", "input_audio": "audio"}


def lacks_medium(part: Mapping[str, Any], kind: str) -> bool:
    """Whether a part of this kind has neither its medium nor the place of it."""
    return all(part.get(key) is None for key in (kind, *PLACES))


def one_medium(kind: str) -> str:
    """It in words.

    Example:
        >>> one_medium("image"), one_medium("video")
        ('an image', 'a video')
    """
    return f"{'a' if kind == 'video' else 'an'} {kind}"
