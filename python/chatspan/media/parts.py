"""The media of a conversation: parts of messages' contents, in the forms that transformers takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chatspan.errors import MessageError, is_a
from chatspan.render.origins import Path
from chatspan.render.request import Messages, unreadable
from chatspan.rows.media_types import MODALITIES, lacks_medium, one_medium

# What stands for a medium that is no text in the messages that the template gets.
_STAND_IN = ""


class MediaPart(NamedTuple):
    """An image, a video or audio of a message.

    Attributes:
        path: of the part in its message, ``("content", 0)``.
        modality: ``"image"``, ``"video"``, ``"audio"``.
    """

    message_index: int
    path: Path
    modality: str


class MediaChat(NamedTuple):
    """A conversation with its media.

    Attributes:
        messages: as the processor gets them.
        plain: as the template sees them, without what is no text.
        parts: the media, in the order of the messages.
    """

    messages: Messages
    plain: Messages
    parts: Sequence[MediaPart]


def media_chat(messages: Any) -> MediaChat:
    """The conversation, and its media.

    Raises:
        MessageError: a part without its medium, or one that cannot be read; with ``message_index``.
    """
    if not is_a(messages, Sequence) or is_a(messages, (str, bytes)):
        return MediaChat(messages, messages, ())
    own, plain = [], []
    parts: list[MediaPart] = []
    for index, message in enumerate(messages):
        try:
            content = message.get("content") if is_a(message, Mapping) else None
            if not is_a(content, (list, tuple)):
                own.append(message)
                plain.append(message)
                continue
            given = [_normal(part) for part in content or ()]
            own.append({**message, "content": given})
            plain.append({**message, "content": [_without_medium(part) for part in given]})
        # What a mapping of a caller's own raises.
        except Exception as error:
            raise unreadable(index, error) from error
        parts += _parts(given, index)
    return MediaChat(own, plain, tuple(parts))


def no_media(messages: Any) -> None:
    """Whoever reads the messages has looked at their parts."""


def refuse_media(messages: Any) -> None:
    """A tokenizer makes no tokens of media.

    Raises:
        MessageError: a message has some; with ``message_index``.
    """
    for index, message in enumerate(messages if type(messages) is list else ()):
        content = message.get("content") if type(message) is dict else None
        for at, part in enumerate(content if type(content) is list else ()):
            kind = _normal(part).get("type") if type(part) is dict else None
            if type(kind) is str and kind in MODALITIES:
                raise MessageError(
                    f"message {index}: part {at} of its content is {one_medium(kind)}, for which a tokenizer "
                    "has no tokens: pass the processor, ChatEncoder(processor), or leave it out",
                    message_index=index,
                )


def _normal(part: Any) -> Any:
    """A part as transformers' processors read it: OpenAI's ``image_url`` is an image with a URL."""
    if is_a(part, Mapping) and part.get("type") == "image_url" and "image_url" in part:
        given = part["image_url"]
        return {"type": "image", "url": given.get("url", "") if is_a(given, Mapping) else given}
    return part


def _without_medium(part: Any) -> Any:
    if not is_a(part, Mapping) or part.get("type") not in MODALITIES:
        return part
    kind = part["type"]
    return {key: value if key != kind or is_a(value, str) else _STAND_IN for key, value in part.items()}


def _parts(content: Sequence[Any], index: int) -> list[MediaPart]:
    found = []
    for at, part in enumerate(content):
        kind = part.get("type") if is_a(part, Mapping) else None
        if not is_a(kind, str) or kind not in MODALITIES:
            continue
        if lacks_medium(part, kind):
            raise MessageError(
                f"message {index}: part {at} of its content is {one_medium(kind)} without its "
                f"data: add it as {kind!r}, or its location as 'url' or 'path'",
                message_index=index,
            )
        found.append(MediaPart(index, ("content", at), kind))
    return found
