"""Arrays → torch tensors: the last step of the collators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

Batch = dict[str, Any]


def tensors_of(batch: Mapping[str, Any]) -> Batch:
    """Tensors that share the memory of the arrays; all else as it is."""
    return {key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in batch.items()}
