"""From the losses of tokens to one: by what each is multiplied in the sum."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from chatspan.errors import LossError
from chatspan.loss.in_loss import InLoss
from chatspan.options import as_fraction

Reduction = Literal["token_mean", "row_mean", "sum", "none"]


def coefficients_of(in_loss: InLoss, reduction: Reduction, num_items_in_batch: int | float | Tensor | None) -> Tensor:
    """``[N]``: the loss is the sum of the tokens' losses, each times its coefficient; of ``"none"``, each of these.

    Where nothing is in the loss, or its denominator is 0, all are 0.

    Raises:
        LossError: a mean over what one process does not know.
    """
    if in_loss.is_shard and (reduction == "row_mean" or (reduction == "token_mean" and num_items_in_batch is None)):
        raise LossError(
            f"reduction={reduction!r} of a shard is a mean over its own columns: use 'token_mean' with "
            "num_items_in_batch=shard['in_loss_weight'], or 'sum'"
        )
    weights = in_loss.weights
    if reduction in ("none", "sum"):
        return weights
    if reduction == "row_mean":
        totals = weights.new_zeros(in_loss.group_count).index_add(0, in_loss.groups, weights)
        rows = (totals > 0).sum().clamp(min=1)
        return weights / _at_least_one_where_zero(totals)[in_loss.groups] / rows
    if num_items_in_batch is None:
        return weights / _at_least_one_where_zero(weights.sum())
    if isinstance(num_items_in_batch, Tensor):
        return weights / _at_least_one_where_zero(num_items_in_batch.to(weights.device))
    divisor: float = as_fraction(num_items_in_batch)
    return weights / divisor


def each_in_place(weighted: Tensor, in_loss: InLoss) -> Tensor:
    """``[B, R]``: the losses where they are in the batch, 0 elsewhere."""
    return weighted.new_zeros(in_loss.shape).index_put((in_loss.places.rows, in_loss.entries), weighted)


def _at_least_one_where_zero(totals: Tensor) -> Tensor:
    """A divisor for sums that are 0 themselves where it was 0."""
    return torch.where(totals > 0, totals, 1)
