"""What tables make of messages: nulls where other rows have a key, arrays where templates want lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def without_nulls(value: Any) -> Any:
    """A row of a table without the nulls that stand where other rows have a key; a message's ``content`` stays.

    Tables have every key in every row: a message without ``tool_calls`` would come back with ``None``, which templates
    take for something else, as TRL's ``remove_none_values`` knows.
    """
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None or (k == "content" and "role" in value)}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [without_nulls(item) for item in value]
    return value


def as_lists(value: Any) -> Any:
    """Arrays as lists, also those inside: tables and batches have arrays of messages where templates want lists."""
    if isinstance(value, Mapping):
        return {key: as_lists(item) for key, item in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    return [as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value
