"""A student's and a teacher's row → what a person looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chatspan.distillation.collator import SelfDistillationCollator
from chatspan.distillation.composer import ComposerDataCollator
from chatspan.distillation.config import CollatorConfig, DistillationConfig
from chatspan.view.view import View, side_view


def view_of_pair(row: Mapping[str, Any], tokenizer: Any, config: DistillationConfig, title: str) -> list[View]:
    """A row as the collators take it; several views with ``hint_scope="per_site"``.

    Args:
        row: a trace, with a :class:`chatspan.CollatorConfig`; or one with ``teacher_messages``.

    Raises:
        ChatspanError: as the collators.
    """
    collator = (
        ComposerDataCollator(tokenizer, config)
        if isinstance(config, CollatorConfig)
        else SelfDistillationCollator(tokenizer, config)
    )
    return [_view(found.pair, tokenizer, title) for found in collator.examined([row])]


def _view(pair: Any, tokenizer: Any, title: str) -> View:
    assert pair.student.encoding is not None
    if pair.teacher is None:
        # No error site: nothing is compared, and what is looked at is the conversation.
        return View(title, [side_view(pair.student.encoding, tokenizer, "student")])
    hints = sorted({hint.message_index for hint in pair.example.hints.values()})
    return View(
        title,
        [
            side_view(pair.student.encoding, tokenizer, "student", loss=pair.student_loss),
            side_view(pair.teacher.encoding, tokenizer, "teacher", loss=pair.teacher_loss, hint_messages=hints),
        ],
        pair.example.message_map,
        np.stack([pair.student_loss, pair.teacher_loss], axis=1),
        pair.dropped,
    )
