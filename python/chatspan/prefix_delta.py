"""The reference: template and tokenize every prefix of the messages, take the differences of lengths.

See :mod:`chatspan.distillation.chats.prefix_delta`, where it stands.
"""

from chatspan.distillation.chats.prefix_delta import encode_chat, find_content, text_ids

__all__ = ["encode_chat", "find_content", "text_ids"]
