"""Images, videos and audio of a row: marks in texts become parts, and what a tokenizer cannot encode is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatspan.errors import RowError
from chatspan.rows.media_types import COLUMNS, MODALITIES, PART_TYPES, lacks_medium, one_medium
from chatspan.rows.notes import Note
from chatspan.rows.steps.plain import is_empty

_MARKS = re.compile("<(image|video|audio)>")


def media_of(row: Mapping[str, Any], whose: str = "") -> dict[str, list[Any]]:
    """What the columns for media hold, by type of part; without empty ones.

    Args:
        whose: what the names of the columns begin with.
    """
    found: dict[str, list[Any]] = {}
    for column, kind in COLUMNS.items():
        value: Any = row.get(f"{whose}{column}")
        if is_empty(value):
            continue
        is_list = isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1
        found.setdefault(kind, []).extend(list(value) if is_list else [value])
    return found


def with_parts(messages: list[dict[str, Any]], media: Mapping[str, Sequence[Any]], notes: list[Note]) -> list[Any]:
    """Messages in which each ``<image>`` of a text is a part with its image, where there are as many as images.

    The marks of LLaVA and LLaMA-Factory, which also know ``<video>`` and ``<audio>``.
    """
    if not media:
        return messages
    texts = [message["content"] for message in messages if isinstance(message.get("content"), str)]
    counts = {kind: sum(text.count(f"<{kind}>") for text in texts) for kind in media}
    matching = {kind: iter(media[kind]) for kind, count in counts.items() if count and count == len(media[kind])}
    for kind, count in counts.items():
        if count and kind not in matching:
            what = f"marks <{kind}> stay text: their number is not that of the {kind}s"
            notes.append(Note("media_marks_kept", what))
    if not matching:
        return messages
    notes.append(Note("media_marks_read", f"marks {', '.join(f'<{kind}>' for kind in matching)} are read as parts"))
    return [
        {**message, "content": list(_parts(message["content"], matching))}
        if isinstance(message.get("content"), str) and any(f"<{kind}>" in message["content"] for kind in matching)
        else message
        for message in messages
    ]


def _parts(text: str, media: Mapping[str, Iterator[Any]]) -> Iterator[dict[str, Any]]:
    at = 0
    for mark in _MARKS.finditer(text):
        kind = mark[1]
        if kind not in media:
            continue
        if mark.start() > at:
            yield {"type": "text", "text": text[at : mark.start()]}
        yield {"type": kind, kind: next(media[kind])}
        at = mark.end()
    if at < len(text):
        yield {"type": "text", "text": text[at:]}


def with_media(messages: list[dict[str, Any]], media: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Messages whose parts without their medium have those of the row's columns, in their order.

    Where no message has parts for the images, they stand in front of the first user's text, as TRL has it
    (``prepare_multimodal_messages``).

    Raises:
        RowError: there are more parts than media, or media without a part.
    """
    left = {kind: list(values) for kind, values in media.items()}
    images = left.get("image", [])
    if images and not any(_lacks(part, "image") for message in messages for part in _content(message)):
        messages = _in_front(messages, len(images))
    found = []
    for index, message in enumerate(messages):
        parts = []
        for part in _content(message):
            kind = next((kind for kind in MODALITIES if _lacks(part, kind)), None)
            if kind is not None:
                if not left.get(kind):
                    raise RowError(
                        f"message {index} has {one_medium(kind)} without its data, and the row has no more "
                        f"in its columns: add it to the part, or add a column {kind}s with one for each",
                        message_index=index,
                    )
                part = {**part, kind: left[kind].pop(0)}
            parts.append(part)
        found.append({**message, "content": parts} if parts else message)
    for kind, values in left.items():
        if values:
            raise RowError(
                f"it has {len(media[kind])} {kind}{'s' if len(media[kind]) > 1 else ''}, {len(values)} more than "
                f"parts of its messages: add a part {{'type': {kind!r}}} for each"
            )
    return found


def _content(message: Mapping[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if type(content) is list else []


def _lacks(part: Any, kind: str) -> bool:
    """Whether a part is of this kind and has no medium."""
    is_of = isinstance(part, Mapping) and part.get("type") == kind
    return is_of and lacks_medium(part, kind)


def _in_front(messages: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    at = next((at for at, each in enumerate(messages) if each.get("role") == "user"), None)
    if at is None or not isinstance(messages[at].get("content"), str):
        return messages
    parts = [*({"type": "image"} for _ in range(count)), {"type": "text", "text": messages[at]["content"]}]
    return [*messages[:at], {**messages[at], "content": parts}, *messages[at + 1 :]]


def refuse_media(messages: Sequence[Mapping[str, Any]], media: Mapping[str, Sequence[Any]]) -> None:
    """Refuses rows with images, videos or audio: a tokenizer makes no tokens of them.

    Raises:
        RowError: with the ``message_index`` of a part.
    """
    for index, message in enumerate(messages):
        content = message.get("content")
        if type(content) is not list:
            continue
        for at, part in enumerate(content):
            given = part.get("type") if isinstance(part, Mapping) else None
            kind = PART_TYPES.get(given) if isinstance(given, str) else None
            if kind is not None:
                raise RowError(
                    _refused(f"part {at} of message {index}'s content is {one_medium(kind)}"), message_index=index
                )
    for kind, values in media.items():
        if values:
            raise RowError(_refused(f"it has {len(values)} {kind}{'s' if len(values) > 1 else ''}"))


def _refused(what: str) -> str:
    return (
        f"{what}, for which a tokenizer has no tokens: pass the model's processor (AutoProcessor) to "
        "ChatEncoder, ChatCollator or chatspan --processor, or remove it to train on the text alone"
    )
