"""A teacher's logits that change between the two passes, where torch does not notice it."""

from __future__ import annotations

import torch
from torch import Tensor

from chatspan.errors import LossError


class Seal:
    """Notices whether logits are the same in both passes, where torch does not: it counts no changes of tensors that
    were made in inference mode, which may be changed in place all the same.

    Kept are two sums of each token's logits, taken as whole numbers, so that no order of summing makes a difference: of
    all, and of each third, which tells of those that only changed places. 64 bits are two numbers, or sums would wrap.
    """

    def __init__(self, logits: Tensor | None, count: int) -> None:
        self._sums: Tensor | None = None
        if logits is not None and logits.is_inference():
            self._sums = torch.zeros(2, count, dtype=torch.int64, device=logits.device)

    def pressed(self, rows: Tensor, chunk: slice) -> Tensor:
        """The same rows."""
        if self._sums is not None:
            bits = rows.view(torch.int16 if rows.element_size() == 2 else torch.int32)
            self._sums[0, chunk] = bits.sum(-1, dtype=torch.int64)
            self._sums[1, chunk] = bits[:, ::3].sum(-1, dtype=torch.int64)
        return rows

    def require_same(self, before: Seal) -> None:
        """As in the forward pass."""
        if self._sums is not None and before._sums is not None and not torch.equal(self._sums, before._sums):
            raise LossError(
                "the teacher's logits were changed in place after the loss was computed: call backward before, or "
                "change a clone"
            )
