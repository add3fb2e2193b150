"""Supervised fine-tuning on recoveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import chatspan
import torch

from experiments.model import descend
from experiments.start import Start
from experiments.task import Message


def on_recordings(start: Start) -> Any:
    """On all that was recorded, errors that were repeated included."""
    return _trained(start, [recording.messages for recording in start.recordings], "sft")


def on_successes(start: Start) -> Any:
    """On the recordings whose recovery is right."""
    right = [recording for recording in start.recordings if recording.succeeds]
    return _trained(start, [recording.messages for recording in right], "sft-filtered")


def on_hints(start: Start) -> Any:
    """On all recordings, with what the hint says in place of what was recorded."""
    conversations = [
        [*recording.prompt, {"role": "assistant", "content": recording.answer}] for recording in start.recordings
    ]
    return _trained(start, conversations, "sft-filtered")


def _trained(start: Start, conversations: Sequence[list[Message]], rate_of: str) -> Any:
    model = start.fresh_model()
    collate = chatspan.ChatCollator(start.tokenizer, train_on="last")
    order = start.order(range(len(conversations)))

    def loss_of_step() -> torch.Tensor:
        rows = [{"messages": conversations[next(order)]} for _ in range(start.settings.rows)]
        loss: torch.Tensor = model(**collate(rows), use_cache=False).loss
        return loss

    descend(model, loss_of_step, start.settings.steps, start.settings.rates[rate_of], start.watch)
    return model
