"""A conversation of a row, encoded: its keywords are the template's, whatever their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatspan.encoding import Encoding
from chatspan.rows.conversations import Chat

if TYPE_CHECKING:
    from chatspan.encoder import ChatEncoder


def encoded_chat(encoder: ChatEncoder, chat: Chat) -> Encoding:
    """The encoding of a row's conversation.

    Raises:
        ChatspanError: as :meth:`chatspan.ChatEncoder.encode`.
    """
    return encoder.encode(
        chat.messages,
        tools=chat.tools or None,
        documents=chat.documents or None,
        template_kwargs=chat.keywords,
    )
