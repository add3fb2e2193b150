"""Supervised fine-tuning on recorded recoveries."""

from __future__ import annotations

from typing import Any

import chatspan
import torch

from experiments.model import descend
from experiments.start import Start


def on_recordings(start: Start) -> Any:
    """On all of them, errors that were repeated included."""
    return _trained(start, "sft")


def on_successes(start: Start) -> Any:
    """On those whose recovery is right."""
    return _trained(start, "sft-filtered")


def _trained(start: Start, arm: str) -> Any:
    model = start.fresh_model()
    collate = chatspan.ChatCollator(start.tokenizer, train_on="last")
    kept = [at for at, recording in enumerate(start.recordings) if recording.succeeds or arm == "sft"]
    order = start.order(kept)

    def loss_of_step() -> torch.Tensor:
        rows = [{"messages": start.recordings[next(order)].messages} for _ in range(start.settings.rows)]
        loss: torch.Tensor = model(**collate(rows), use_cache=False).loss
        return loss

    descend(model, loss_of_step, start.settings.steps, start.settings.rates[arm], start.watch)
    return model
