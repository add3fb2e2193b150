"""GRPO (arXiv 2402.03300): samples of the same question, each weighed by how much better than the others it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import chatspan
import numpy as np
import torch

from experiments.model import descend, logits_of
from experiments.sampling import sample
from experiments.start import Start

_CLIP = 0.2


def grpo(start: Start) -> Any:
    """The reward is 1 for the right code, else 0; one step for each batch of samples, and no reference model."""
    settings, model = start.settings, start.fresh_model()
    collate = chatspan.ChatCollator(start.tokenizer, per_token=("logprobs", "advantages"))
    order = start.order(range(len(start.recordings)))

    def loss_of_step() -> torch.Tensor:
        asked = [start.recordings[next(order)] for _ in range(settings.rows // settings.group)]
        asked = [recording for recording in asked for _ in range(settings.group)]
        rows = sample(model, start.encoder, [recording.prompt for recording in asked])
        rewards = [
            float(row_says(row, start.encoder) == recording.answer) for row, recording in zip(rows, asked, strict=True)
        ]
        advantages = advantages_of(rewards, settings.group)
        return policy_loss(model, collate([with_advantage(*each) for each in zip(rows, advantages, strict=True)]))

    descend(model, loss_of_step, settings.steps, settings.rates["grpo"], start.watch)
    return model


def row_says(row: chatspan.SampledRow, encoder: chatspan.ChatEncoder) -> str | None:
    """The text in front of the stop token; ``None`` where none was sampled."""
    ids = row.input_ids[row.sampled].tolist()
    return encoder.decode(ids[:-1]) if ids[-1] == encoder.tokenizer.eos_token_id else None


def advantages_of(rewards: Sequence[float], group: int) -> list[float]:
    """Each reward less the mean of its group, over the group's standard deviation."""
    grouped = torch.tensor(rewards, dtype=torch.float32).view(-1, group)
    centred = grouped - grouped.mean(1, keepdim=True)
    found: list[float] = (centred / (grouped.std(1, keepdim=True) + 1e-4)).flatten().tolist()
    return found


def with_advantage(row: chatspan.SampledRow, advantage: float) -> chatspan.SampledRow:
    """The row with a side array that has it at each sampled token."""
    values = np.where(row.sampled, advantage, 0).astype(np.float32)
    return replace(row, per_token={**row.per_token, "advantages": values})


def policy_loss(model: Any, batch: Any) -> torch.Tensor:
    """The clipped surrogate, a mean over sampled tokens."""
    labels = batch["labels"][:, 1:]
    sampled = labels != -100
    now = logits_of(model, batch)[:, :-1].log_softmax(-1).gather(2, labels.clamp(min=0).unsqueeze(2)).squeeze(2)
    ratio = (now - batch["logprobs"][:, 1:]).exp()
    advantages = batch["advantages"][:, 1:]
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - _CLIP, 1 + _CLIP) * advantages)
    return -surrogate[sampled].mean()
