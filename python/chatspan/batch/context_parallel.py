"""A batch → the columns of it that one of several processes works on, as context parallelism has them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from chatspan.attribute.media import media_names
from chatspan.batch.tensors import Batch
from chatspan.errors import OptionError, quoted
from chatspan.options import one_of

ShardOrder = Literal["contiguous", "zigzag"]

_TEACHER = "ctx_teacher_"
_PREFIXES = {"student": "", "teacher": _TEACHER}
# What says which of the batch's columns the shard has; the loss knows a shard by it.
SHARD_COLUMNS = "shard_columns"
# What has an entry for each in-loss token, whatever its shape: never cut.
_OF_TOKENS = ("student_response_", "teacher_response_", "student_logit_", "teacher_logit_", "response_idx_", "dpo_")
_IGNORED = -100


def shard_batch(batch: Mapping[str, Any], rank: int, world: int, *, order: ShardOrder = "contiguous") -> Batch:
    """The columns of a batch that one process of a context-parallel group works on.

    What the columns need of their neighbours is taken from the whole batch first, so that no process has to ask
    another: positions, labels where they are predicted, ids and weights of the in-loss tokens. The sum of
    :func:`chatspan.loss.sdpo_loss` over the shards, each with ``num_items_in_batch=shard["in_loss_weight"]``, is the
    loss of the whole batch, and so are the gradients. Attention over all columns is the model's.

    Args:
        batch: of any collator of this package, whole, on any device, the same in each process.
        rank: which of the processes, from 0.
        world: how many there are.
        order: ``"contiguous"``: the columns in ``world`` parts, one each. ``"zigzag"``: in 2 ``world`` parts, of which
            process r has the r-th and the r-th from the end, so that causal attention is the same work for each, as in
            torch's ``context_parallel``, Megatron and ring attention; of packed rows each sequence by itself.

    Returns:
        the batch, with ``[B, T / world, …]`` of what was ``[B, T, …]`` on either side, and with

        - ``position_ids``, of the whole row, also where the collator leaves them out
        - ``shift_labels`` (and ``shift_loss_weight``), where there are ``labels`` (and ``loss_weight``)
        - ``student_logit_idx``, ``teacher_logit_idx`` ``[B, R]``: columns of the shard; ``response_idx_mask``: the real
          ones whose student's logits are here; ``teacher_logit_mask``: those whose teacher's are, of all real ones. The
          two are equal in the aligned layouts; in the others ``teacher_logit_idx`` is -1 where they are elsewhere
        - ``student_response_input_ids``, ``teacher_response_input_ids``, ``student_response_sdpo_loss_weight``
          ``[B, R]`` in place of ``student_response_idx``, ``teacher_response_idx``
        - ``in_loss_tokens``, ``in_loss_weight`` ``[1]`` of the whole batch
        - int64 ``[T / world]`` ``shard_columns``, ``ctx_teacher_shard_columns``: which columns these are

        ``cu_seq_lens_…`` and ``max_length_…`` stay those of the whole row; ``dpo_…`` stay whole.

    Raises:
        OptionError: a rank, a world or an order that cannot be; a batch that was not made by a collator, that is a
            shard, or whose columns do not divide, with the option of the collator that makes them.

    Example:
        >>> batch = {"input_ids": torch.tensor([[5, 6, 7, 8]]), "labels": torch.tensor([[-100, 6, -100, 8]])}
        >>> shard = shard_batch(batch, 1, 2)
        >>> shard["input_ids"], shard["shift_labels"], shard["position_ids"]
        (tensor([[7, 8]]), tensor([[   8, -100]]), tensor([[2, 3]]))
        >>> shard_batch(batch, 0, 2, order="zigzag")["shard_columns"]
        tensor([0, 3])
    """
    _require_options(rank, world, order)
    whole = _completed(_checked(batch))
    columns = {}
    for side, prefix in _PREFIXES.items():
        if f"{prefix}input_ids" in whole:
            columns[side] = _columns_of(whole, prefix, rank, world, order)
    shard = {key: _cut(key, value, whole, columns) for key, value in whole.items()}
    for side, at in columns.items():
        shard[f"{_PREFIXES[side]}{SHARD_COLUMNS}"] = at
    if "response_idx_mask" in whole:
        shard |= _local_indices(whole, columns)
    return shard


def _require_options(rank: Any, world: Any, order: Any) -> None:
    if type(world) is not int or world < 1:
        raise OptionError(f"world={quoted(world)}: expected the number of processes that share the batch, at least 1")
    if type(rank) is not int or not 0 <= rank < world:
        raise OptionError(
            f"rank={quoted(rank)}: expected the index of one of the {world} processes, from 0 to {world - 1}"
        )
    if not one_of(order, ("contiguous", "zigzag")):
        raise OptionError(f"order={quoted(order)}: use one of 'contiguous', 'zigzag'")


def _checked(batch: Any) -> dict[str, Any]:
    """A batch that may be cut: its tensors have the shapes that collators give them."""
    if not isinstance(batch, Mapping):
        raise OptionError(f"batch is {type(batch).__name__}: pass the dict that a collator makes")
    found: dict[str, Any] = {str(key): value for key, value in batch.items()}
    _require_collated(found)
    return found


def _require_collated(batch: dict[str, Any]) -> None:
    if SHARD_COLUMNS in batch:
        raise OptionError(f"the batch has {SHARD_COLUMNS!r}: it is a shard; pass the whole batch")
    media = media_names(batch)
    if media:
        raise OptionError(
            f"the batch has {media[0]!r}, tensors of media, whose tokens a model needs whole: pass rows of text"
        )
    ids = _tensor(batch, "input_ids", None)
    for key in ("attention_mask", "position_ids", "labels", "loss_weight", "sdpo_loss_weight"):
        if key in batch:
            _tensor(batch, key, ids)
    if f"{_TEACHER}input_ids" in batch and len(_tensor(batch, f"{_TEACHER}input_ids", None)) != len(ids):
        raise OptionError(f"the student has {len(ids)} rows and the teacher {len(batch[f'{_TEACHER}input_ids'])}")
    if "response_idx_mask" in batch:
        mask = _tensor(batch, "response_idx_mask", None)
        if mask.dtype is not torch.bool or len(mask) != len(ids):
            raise OptionError(f"batch['response_idx_mask'] is {mask.dtype} {list(mask.shape)}: expected bool [B, R]")
        for side, prefix in _PREFIXES.items():
            width = _tensor(batch, f"{prefix}input_ids", None).shape[1]
            for kind in ("logit", "response"):
                at = _tensor(batch, f"{side}_{kind}_idx", mask)
                if at.dtype is not torch.int64 or ((at < 0) | (at >= width))[mask].any():
                    raise OptionError(f"batch['{side}_{kind}_idx'] is not int64 from 0 to {width - 1}, its columns")


def _tensor(batch: Mapping[str, Any], key: str, like: Tensor | None) -> Tensor:
    """``batch[key]``, of two dimensions, as those of another tensor."""
    if key not in batch:
        raise OptionError(f"the batch has no {key!r}: pass the whole batch that a collator makes")
    value = batch[key]
    if not isinstance(value, Tensor) or value.is_meta or value.dim() != 2:
        what = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise OptionError(f"batch[{key!r}] is {what}: pass a tensor of two dimensions, as a collator makes it")
    if like is not None and (value.shape != like.shape or value.device != like.device):
        raise OptionError(
            f"batch[{key!r}] is {list(value.shape)} on {value.device}, and not {list(like.shape)} on {like.device}"
        )
    return value


def _completed(batch: dict[str, Any]) -> dict[str, Any]:
    """With what each column needs of others."""
    if "position_ids" not in batch:
        mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
        batch["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    for key, nothing in (("labels", _IGNORED), ("loss_weight", 0)):
        if key in batch and f"shift_{key}" not in batch:
            last = torch.full_like(batch[key][:, :1], nothing)
            batch[f"shift_{key}"] = torch.cat([batch[key][:, 1:], last], dim=1)
    if "response_idx_mask" not in batch:
        return batch
    mask = batch["response_idx_mask"]
    for side, prefix in _PREFIXES.items():
        at = torch.where(mask, batch.pop(f"{side}_response_idx"), 0)
        batch[f"{side}_response_input_ids"] = batch[f"{prefix}input_ids"].gather(1, at)
        if side == "student":
            weights = batch["sdpo_loss_weight"].gather(1, at) if "sdpo_loss_weight" in batch else mask.float()
            weights = torch.where(mask, weights, 0)
    batch["student_response_sdpo_loss_weight"] = weights
    batch.setdefault("in_loss_tokens", mask.sum().reshape(1))
    batch.setdefault("in_loss_weight", weights.sum(dtype=torch.float64).reshape(1).float())
    return batch


def _columns_of(batch: Mapping[str, Any], prefix: str, rank: int, world: int, order: ShardOrder) -> Tensor:
    """int64: which columns of a side the shard has, in order."""
    ids = batch[f"{prefix}input_ids"]
    bounds, option = [0, ids.shape[1]], "pad_to_multiple_of"
    if order == "zigzag" and f"{prefix}cu_seq_lens_q" in batch:
        bounds, option = _boundaries(batch, f"{prefix}cu_seq_lens_q", ids.shape[1]), "pad_sequences_to_multiple_of"
    parts = world if order == "contiguous" else 2 * world
    mine = (rank,) if order == "contiguous" else (rank, parts - 1 - rank)
    columns = []
    for number, (start, end) in enumerate(pairwise(bounds)):
        if (end - start) % parts:
            what = f"sequence {number} of {prefix}input_ids" if len(bounds) > 2 else f"{prefix}input_ids"
            raise OptionError(
                f"{what} has {end - start} columns, not {parts} equal parts: pass the collator {option}={parts}"
            )
        size = (end - start) // parts
        columns += [torch.arange(start + part * size, start + (part + 1) * size) for part in mine]
    return torch.cat(columns).to(ids.device)


def _boundaries(batch: Mapping[str, Any], key: str, width: int) -> list[int]:
    value = batch[key]
    bounds = value.tolist() if isinstance(value, Tensor) and not value.is_meta and value.dim() == 1 else []
    rising = all(type(each) is int for each in bounds) and all(start < end for start, end in pairwise(bounds))
    if not rising or not bounds or (bounds[0], bounds[-1]) != (0, width):
        raise OptionError(f"batch[{key!r}] does not increase from 0 to {width}, the number of columns")
    return bounds


def _cut(key: str, value: Any, batch: Mapping[str, Any], columns: Mapping[str, Tensor]) -> Any:
    side = "teacher" if key.startswith(_TEACHER) else "student"
    if side not in columns or not isinstance(value, Tensor) or key.startswith(_OF_TOKENS) or key == "old_log_probs":
        return value
    shape = batch[f"{_PREFIXES[side]}input_ids"].shape
    return value.index_select(1, columns[side].to(value.device)) if value.shape[:2] == shape else value


def _local_indices(batch: Mapping[str, Any], columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Where in the shard the in-loss tokens are predicted."""
    real, local = batch["response_idx_mask"], {}
    for side, prefix in _PREFIXES.items():
        at = batch["input_ids"].new_full((batch[f"{prefix}input_ids"].shape[1],), -1)
        at[columns[side]] = torch.arange(len(columns[side]), device=at.device)
        local[side] = torch.where(real, at[torch.where(real, batch[f"{side}_logit_idx"], 0)], -1)
    here = local["student"] >= 0
    return {
        "student_logit_idx": local["student"].clamp(min=0),
        # -1 where the teacher's logits are in another process, so that nobody takes another column's for them.
        "teacher_logit_idx": torch.where(here | (local["teacher"] >= 0), local["teacher"], 0),
        "response_idx_mask": here,
        "teacher_logit_mask": local["teacher"] >= 0,
    }
