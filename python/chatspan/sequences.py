"""Sequences side by side, and those that are no lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def common_front(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many items both begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (mine, other) in pairs if mine != other), min(len(first), len(second)))


def as_lists(value: Any) -> Any:
    """Arrays as lists, also those inside: tables and batches have arrays of messages where templates want lists."""
    if isinstance(value, Mapping):
        return {key: as_lists(item) for key, item in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    return [as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value
