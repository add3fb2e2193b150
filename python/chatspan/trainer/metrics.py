"""What a trainer logs of its batches beside the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Of a batch, for each of its rows.
_SUMS = ("dropped_sites", "dropped_tokens", "dropped_rows")


class StepMetrics:
    """Sums since the last time, kept on the device until they are asked for."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, batch: Mapping[str, Any]) -> None:
        """Counts a batch."""
        mask = batch.get("response_idx_mask")
        device = batch["input_ids"].device
        tokens = torch.zeros((), device=device) if mask is None else mask.sum()
        self._count("in_loss_tokens", tokens)
        self._count("batches_without_loss", tokens == 0)
        for name in _SUMS:
            if name in batch:
                self._count(name, batch[name].sum())

    def add_mass(self, mass: Tensor) -> None:
        """What of a teacher's distributions is known, ``[B, R]``, 0 where nothing is in the loss."""
        self._count("teacher_mass", mass.sum())

    def taken(self, accelerator: Any) -> dict[str, float]:
        """The sums of all processes, which begin anew."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        sums = accelerator.reduce(torch.stack([self._sums[name] for name in names]), reduction="sum")
        self._sums = {}
        found = {name: float(value) for name, value in zip(names, sums.tolist(), strict=True)}
        if "teacher_mass" in found:
            found["teacher_mass"] /= max(found["in_loss_tokens"], 1.0)
        return found

    def _count(self, name: str, value: Tensor) -> None:
        before = self._sums.get(name)
        value = value.detach().float()
        self._sums[name] = value if before is None else before + value
