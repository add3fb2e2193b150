"""Loss messages whose turn no inference prompt leads to."""

from __future__ import annotations

from chatspan.attribute.prompts import OffPrompt
from chatspan.distillation.chats.encoded_chat import EncodedChat
from chatspan.distillation.examples.example import Example


def off_prompt_of(example: Example, student: EncodedChat, teacher: EncodedChat) -> dict[int, OffPrompt]:
    """By the student's message, why its turn is not what inference would lead to, on either side."""
    found: dict[int, OffPrompt] = {}
    for index in example.loss_messages:
        for chat, at in ((student, index), (teacher, example.message_map[index])):
            off = chat.off_prompt.get(at)
            if off is not None:
                found.setdefault(index, off)
    return found
