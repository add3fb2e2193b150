"""A request → what its template gets, the sampled ids that messages carry, and their media."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatspan.encode.token_ids import TokenIds, without_token_ids
from chatspan.errors import MessageError
from chatspan.media.parts import MediaChat, media_chat
from chatspan.render.request import RenderRequest, listed
from chatspan.rows.steps.seen import seen_messages


def split_request(
    request: RenderRequest, media: Callable[[Any], MediaChat | None]
) -> tuple[RenderRequest, TokenIds | MessageError, MediaChat | None]:
    """The request as the template gets it, and the sampled ids; the error where it cannot be read; and its media.

    Args:
        media: gives the media of messages, or refuses them.
    """
    try:
        messages = listed(request.messages)
        if media is not media_chat and _are_texts_alone(messages):
            return request._replace(messages=messages), {}, None
        messages, token_ids = without_token_ids(messages)
        chat = media(messages)
    except MessageError as error:
        return request._replace(messages=()), error, None
    return request._replace(messages=messages if chat is None else chat.plain), token_ids, chat


def _are_texts_alone(messages: Any) -> bool:
    """Whether messages have neither ids nor media: one look at all of them in the core."""
    seen = seen_messages(messages) if type(messages) is list else None
    return seen is not None and not seen.have_parts and "token_ids" not in seen.keys
