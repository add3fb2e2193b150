"""The gradients of the loss from hidden states under DDP and FSDP2, beside those of one process."""

from __future__ import annotations

from typing import Any

import torch
from chatspan.loss import hidden_states_and_head, linear_sdpo_loss, sdpo_loss
from transformers import Gemma2Config, Gemma2ForCausalLM

SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
IDS = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])
BATCH = {
    "student_logit_idx": torch.tensor([[1, 3], [0, 4]]),
    "teacher_logit_idx": torch.tensor([[2, 3], [1, 2]]),
    "response_idx_mask": torch.tensor([[True, True], [True, False]]),
}


def model_of(seed: int, *, tied: bool) -> Any:
    torch.manual_seed(seed)
    config = Gemma2Config(
        **SIZES, num_key_value_heads=2, head_dim=8, vocab_size=38, tie_word_embeddings=tied, use_cache=False
    )
    return Gemma2ForCausalLM(config).double()


def wrapped(model: Any, wrapper: str) -> Any:
    if wrapper.startswith("ddp"):
        return torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=wrapper == "ddp_unused")
    from torch.distributed.fsdp import fully_shard

    for layer in model.model.layers:
        fully_shard(layer)
    return fully_shard(model)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {}
    for name, each in model.named_parameters():
        grad = each.grad
        found[name.removeprefix("module.")] = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
    return found


def differences(rank: int, world: int, wrapper: str) -> dict[str, tuple[float, float]]:
    """By how much each gradient of a process with one row differs from that of both rows in one, and its largest."""
    found = {}
    teacher = model_of(1, tied=True)
    row = slice(rank, rank + 1)
    for tied in (True, False):
        alone = model_of(0, tied=tied)
        sdpo_loss(alone(input_ids=IDS).logits, teacher(input_ids=IDS).logits, BATCH, reduction="sum").backward()
        model = wrapped(model_of(0, tied=tied), wrapper)
        # More than one step, as wrappers change between the first and those after it.
        for _ in range(2):
            model.zero_grad()
            hidden, head = hidden_states_and_head(model, input_ids=IDS[row])
            with torch.no_grad():
                teacher_hidden, teacher_head = hidden_states_and_head(teacher, input_ids=IDS[row])
            batch = {key: value[row] for key, value in BATCH.items()}
            loss = linear_sdpo_loss(hidden, teacher_hidden, batch, head, teacher_head, reduction="sum")
            # Wrappers take the mean over processes.
            (world * loss).backward()
        own = gradients(model)
        for name, each in alone.named_parameters():
            found[f"{name}, tied {tied}"] = (own[name] - each.grad).abs().max().item(), each.grad.abs().max().item()
    return found
