"""What a row holds of its images, videos and audio → what processors take: files are found, packed data are opened."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chatspan.errors import RowError, one_line
from chatspan.rows.media_types import MODALITIES, PLACES

_BINARY = (bytes, bytearray, memoryview)
# No path is longer; data that are written as text are.
_LONGEST_PATH = 4096


def with_data(messages: Sequence[dict[str, Any]], folder: str | None, processor: Any) -> list[dict[str, Any]]:
    """Messages whose parts hold their media in a form that processors take; those that need no change are the same.

    Args:
        folder: in which files are looked for that are not there from the working directory.
        processor: whose sampling rate decoded audio must have.

    Raises:
        RowError: a medium cannot be read; with ``message_index``.
    """
    return [_with_data(message, index, folder, processor) for index, message in enumerate(messages)]


def found_path(given: str, folder: str | None) -> str:
    """A file's path; one that is not there from the working directory, but in the folder, with the folder in front.

    Example:
        >>> found_path("https://example.org/cat.png", "data"), found_path("no-such-cat.png", None)
        ('https://example.org/cat.png', 'no-such-cat.png')
    """
    if folder is None or not given or len(given) > _LONGEST_PATH or "://" in given or given.startswith("data:"):
        return given
    joined = os.path.join(folder, given)
    return joined if not os.path.exists(given) and os.path.exists(joined) else given


def data_of(messages: Sequence[Mapping[str, Any]], message_index: int, part: int, kind: str) -> Any:
    """What a part of a message's content holds of its medium; ``None``: nothing that can be found."""
    try:
        given = messages[message_index]["content"][part]
        if given.get("type") == "image_url":
            url = given["image_url"]
            return url["url"] if isinstance(url, Mapping) else url
        return next((given[key] for key in (kind, *PLACES) if given.get(key) is not None), None)
    # Of other messages than those that the part was found in.
    except (LookupError, TypeError, AttributeError):
        return None


def source_of(data: Any) -> str | None:
    """The path or the URL that a medium is loaded from; ``None``: the row has the data itself.

    Example:
        >>> source_of("https://example.org/cat.png"), source_of("data:image/png;base64,iVBORw0KGgo=")
        ('https://example.org/cat.png', None)
    """
    if not isinstance(data, str) or len(data) > _LONGEST_PATH:
        return None
    return data if "://" in data or os.path.exists(data) else None


def _with_data(message: dict[str, Any], index: int, folder: str | None, processor: Any) -> dict[str, Any]:
    content = message.get("content")
    if type(content) is not list:
        return message
    parts = [_part(part, index, at, folder, processor) for at, part in enumerate(content)]
    if all(new is old for new, old in zip(parts, content, strict=True)):
        return message
    return {**message, "content": parts}


def _part(part: Any, index: int, at: int, folder: str | None, processor: Any) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "image_url":
        return _with_url(part, folder)
    if not isinstance(kind, str) or kind not in MODALITIES:
        return part
    changed = {}
    for key in (kind, *PLACES):
        value = part.get(key)
        if key == "base64":
            continue
        try:
            found = _medium(value, kind, folder, processor)
        except RowError as error:
            raise RowError(f"part {at} of message {index} is {error.message}", message_index=index) from error.__cause__
        if found is not value:
            changed[key] = found
    return {**part, **changed} if changed else part


def _with_url(part: Any, folder: str | None) -> Any:
    """A part in OpenAI's form."""
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, Mapping) else given
    found = found_path(url, folder) if isinstance(url, str) else url
    if found is url:
        return part
    return {**part, "image_url": {**given, "url": found} if isinstance(given, Mapping) else found}


def _medium(value: Any, kind: str, folder: str | None, processor: Any) -> Any:
    if isinstance(value, str):
        return found_path(value, folder)
    if isinstance(value, _BINARY):
        return _opened(bytes(value), kind)
    if not isinstance(value, Mapping):
        return value
    # What `datasets` keeps of a medium: as it was packed, or as it was decoded.
    if value.get("bytes") is not None:
        return _opened(bytes(value["bytes"]), kind)
    if value.get("path") is not None:
        return found_path(os.fspath(value["path"]), folder)
    if kind == "audio" and value.get("array") is not None:
        return _samples(value, processor)
    raise RowError(f"{kind} data with the keys {', '.join(map(repr, value)) or 'of none'}: pass 'bytes' or 'path'")


def _opened(data: bytes, kind: str) -> Any:
    """An image of the bytes of its file. Processors take no bytes of others."""
    if kind != "image":
        raise RowError(f"{kind} data ({len(data):,} bytes), which processors take only as files: pass a path or a URL")
    try:
        from PIL import Image
    except ImportError:
        raise RowError('an image in bytes, which needs pillow: pip install "chatspan[media]"') from None
    try:
        return Image.open(io.BytesIO(data))
    # What pillow raises of broken data has no common base.
    except Exception as error:
        raise RowError(
            f"image data ({len(data):,} bytes) that cannot be opened: {type(error).__name__}: {one_line(error)}"
        ) from error


def _samples(value: Mapping[str, Any], processor: Any) -> Any:
    """float32: decoded audio, if it has the processor's sampling rate."""
    rate, wanted = value.get("sampling_rate"), sampling_rate_of(processor)
    if rate is not None and wanted is not None and int(rate) != wanted:
        raise RowError(
            f"audio of {int(rate):,} samples a second, and the processor takes {wanted:,}: "
            f"dataset.cast_column(name, Audio(sampling_rate={wanted})), or pass a path"
        )
    return np.asarray(value["array"], dtype=np.float32)


def sampling_rate_of(processor: Any) -> int | None:
    """Samples a second of the audio that a processor takes; ``None``: it says nothing of it."""
    for name in ("feature_extractor", "audio_processor"):
        rate = getattr(getattr(processor, name, None), "sampling_rate", None)
        if isinstance(rate, int):
            return rate
    return None
