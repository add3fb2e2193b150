"""A student's and a teacher's row → what a person looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from chatspan.distillation.chats.encoded_chat import EncodedChat
from chatspan.distillation.collator import SelfDistillationCollator
from chatspan.distillation.composer import ComposerDataCollator
from chatspan.distillation.config import CollatorConfig, DistillationConfig
from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.pairs.pair import Pair
from chatspan.view.media import media_views
from chatspan.view.view import SideView, View, side_view


def view_of_pair(row: Mapping[str, Any], tokenizer: Any, config: DistillationConfig, title: str) -> list[View]:
    """A row as the collators take it; several views with ``hint_scope="per_site"``.

    Args:
        tokenizer: or a processor.
        row: a trace, with a :class:`chatspan.CollatorConfig`; or one with ``teacher_messages``.

    Raises:
        ChatspanError: as the collators.
    """
    collator = (
        ComposerDataCollator(tokenizer, config)
        if isinstance(config, CollatorConfig)
        else SelfDistillationCollator(tokenizer, config)
    )
    return [_view(found.pair, collator, title) for found in collator.examined([row])]


def _view(pair: Pair, collator: SelfDistillationCollator, title: str) -> View:
    tokenizer = collator.tokenizer

    def side(chat: EncodedChat, conversation: Conversation, name: str, **more: Any) -> SideView:
        assert chat.encoding is not None
        media = media_views(chat.encoding, conversation.messages, collator.processor)
        return replace(side_view(chat.encoding, tokenizer, name, **more), media=media)

    example = pair.example
    if pair.teacher is None or example.teacher is None:
        # No error site: nothing is compared, and what is looked at is the conversation.
        return View(title, [side(pair.student, example.student, "student")])
    hints = sorted({hint.message_index for hint in pair.example.hints.values()})
    return View(
        title,
        [
            side(pair.student, example.student, "student", loss=pair.student_loss.tolist()),
            side(pair.teacher, example.teacher, "teacher", loss=pair.teacher_loss.tolist(), hint_messages=hints),
        ],
        pair.example.message_map,
        np.stack([pair.student_loss, pair.teacher_loss], axis=1),
        pair.dropped,
    )
