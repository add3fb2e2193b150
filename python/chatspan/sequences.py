"""Two sequences side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def common_front(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many items both begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (mine, other) in pairs if mine != other), min(len(first), len(second)))
