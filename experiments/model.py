"""The small model, how each arm descends, and the first training that all arms of a seed begin with."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import chatspan
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from experiments.settings import Settings
from experiments.task import World

Batch = Mapping[str, Any]
# Called with the number of steps done and the model.
Watch = Callable[[int, Any], None]
_MODEL_KEYS = ("input_ids", "attention_mask", "position_ids")
_WARM_UP = 20


def make_model(vocabulary: int, settings: Settings, seed: int) -> Any:
    """A Qwen2 with random weights."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=settings.hidden_size,
        intermediate_size=3 * settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        rope_theta=settings.rope_theta,
    )
    return Qwen2ForCausalLM(config)


def first_training(world: World, tokenizer: Any, settings: Settings, seed: int) -> Any:
    """A model that follows hints, and without one says what habit says."""
    model = make_model(len(tokenizer), settings, seed)
    collate = chatspan.ChatCollator(tokenizer)
    draw = random.Random(f"first training {seed}")

    def loss_of_step() -> torch.Tensor:
        rows = [{"messages": messages} for messages in world.first_conversations(settings.rows, draw)]
        loss: torch.Tensor = model(**collate(rows), use_cache=False).loss
        return loss

    descend(model, loss_of_step, settings.first_steps, settings.first_rate)
    return model


def descend(
    model: Any,
    loss_of_step: Callable[[], torch.Tensor],
    steps: int,
    rate: float,
    watch: Watch = lambda step, model: None,
) -> None:
    """AdamW, with a rate that rises for a few steps and then falls to zero: the same for all."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / _WARM_UP) * (1 - step / steps)
        optimizer.zero_grad()
        loss_of_step().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        watch(step + 1, model)
    model.eval()


def logits_of(model: Any, batch: Batch, prefix: str = "") -> torch.Tensor:
    """``[B, T, V]``: of a batch's student, or with ``prefix="ctx_teacher_"`` of its teacher."""
    inputs = {key: batch[f"{prefix}{key}"] for key in _MODEL_KEYS if f"{prefix}{key}" in batch}
    logits: torch.Tensor = model(**inputs, use_cache=False).logits
    return logits
