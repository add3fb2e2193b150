"""Values of messages that are the caller's own arrays: carried past the reading of a row as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from chatspan.rows.steps.plain import is_missing


class Held:
    """A value that the steps of the reader do not look into: an array stays one, and of its dtype."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def hold(row: Mapping[str, Any], columns: Collection[str | None], keys: Collection[str]) -> dict[str, Any]:
    """The columns of a row, in whose messages the values of these keys are held.

    Args:
        columns: those that may have messages.
    """
    return {name: _held(value, keys) if name in columns else value for name, value in row.items()}


def taken(
    messages: Sequence[dict[str, Any]], keys: Collection[str]
) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
    """The messages without these keys, and the values that they had there, by message."""
    found: dict[int, dict[str, Any]] = {}
    if not keys or set().union(*messages).isdisjoint(keys):
        return list(messages), found
    without = []
    for index, message in enumerate(messages):
        values = {key: _value(message[key]) for key in keys if key in message}
        if values:
            message = {key: value for key, value in message.items() if key not in values}
        given = {key: value for key, value in values.items() if not is_missing(value)}
        if given:
            found[index] = given
        without.append(message)
    return without, found


def _held(value: Any, keys: Collection[str]) -> Any:
    is_list = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object)
    if not is_list:
        return value
    return [_message(item, keys) for item in value]


def _message(item: Any, keys: Collection[str]) -> Any:
    if not isinstance(item, Mapping) or not any(key in item for key in keys):
        return item
    return {key: Held(value) if key in keys and not is_missing(value) else value for key, value in dict(item).items()}


def _value(value: Any) -> Any:
    return value.value if isinstance(value, Held) else value
