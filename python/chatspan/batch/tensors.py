"""Arrays → torch tensors: the last step of the collators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from chatspan.shown import batch as shown

Batch = dict[str, Any]


def tensors_of(batch: Mapping[str, Any], decode_one: Callable[[int], str] | None = None) -> Batch:
    """Tensors that share the memory of the arrays; all else as it is.

    Args:
        decode_one: the text of an id, with which a notebook shows the batch.
    """
    found = shown.Batch(
        (key, torch.from_numpy(value) if isinstance(value, np.ndarray) else value) for key, value in batch.items()
    )
    found.decode_one = decode_one
    return found
