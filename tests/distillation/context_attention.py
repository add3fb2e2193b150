"""A model whose columns are spread over processes: attention gathers keys and values of all, slow and readable."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from transformers import AttentionInterface, AttentionMaskInterface

# Of the columns of all processes, in the order in which they are gathered; set before each forward pass.
SEEN: dict[str, Tensor] = {}


class _AllGather(torch.autograd.Function):
    """Columns of all processes; each one's gradient is the sum of what all have of it."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        ctx.width = mine.shape[-2]
        parts = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, mine.contiguous())
        return torch.cat(parts, dim=-2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        distributed.all_reduce(grad)
        start = distributed.get_rank() * ctx.width
        return grad[..., start : start + ctx.width, :]


def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, _: Any, **options: Any) -> tuple[Tensor, None]:
    """``[B, heads, T, D]`` each; a column sees those of its row and sequence that are not after it."""
    if distributed.is_initialized():
        key, value = (_AllGather.apply(each) for each in (key, value))
    groups = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    scores = query @ key.transpose(-1, -2) * options["scaling"]
    scores = scores.masked_fill(~SEEN["mask"][:, None], torch.finfo(scores.dtype).min)
    return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None


def see(batch: Any, prefix: str, columns: Tensor | None) -> None:
    """What each column of this process sees of all: of the whole batch, ``[B, T, T']``."""
    width = batch[f"{prefix}input_ids"].shape[1]
    at = torch.arange(width)
    mask = (at[:, None] >= at[None])[None]
    if f"{prefix}attention_mask" in batch:
        mask = mask & (batch[f"{prefix}attention_mask"][:, None] == 1)
    if f"{prefix}cu_seq_lens_q" in batch:
        sequence = torch.bucketize(at, batch[f"{prefix}cu_seq_lens_q"].long(), right=True)
        mask = mask & (sequence[:, None] == sequence[None])
    # A hole or a pad that sees nothing sees itself.
    mask = mask | torch.eye(width, dtype=torch.bool)
    if columns is None:
        SEEN["mask"] = mask
        return
    parts = [torch.empty_like(columns) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, columns)
    SEEN["mask"] = mask[:, columns][:, :, torch.cat(parts)]


def install(model: Any) -> Any:
    """The model with this attention."""
    AttentionInterface.register("context", attention)
    AttentionMaskInterface.register("context", lambda *args, **kwargs: None)
    model.set_attn_implementation("context")
    return model
