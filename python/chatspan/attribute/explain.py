"""Tokens by message and kind, as text for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.kinds import Kind

_WIDTH = 72


def stretches(
    text: str,
    offsets: NDArray[Any],
    message_index: NDArray[np.int32],
    kind: NDArray[np.uint8],
    roles: Sequence[str],
) -> Iterator[str]:
    """A line for each stretch of tokens of one message and kind: where they are, what they are, their text."""
    count = len(message_index)
    start = 0
    shown: int | None = None
    while start < count:
        message, of_kind = int(message_index[start]), int(kind[start])
        end = start + 1
        while end < count and (message_index[end], kind[end]) == (message, of_kind):
            end += 1
        if message != shown:
            shown = message
            yield f"message {message} ({roles[message]})" if message >= 0 else "no message"
        quoted = repr(text[offsets[start, 0] : offsets[end - 1, 1]])
        if len(quoted) > _WIDTH:
            quoted = f"{quoted[: _WIDTH // 2]}…{quoted[-_WIDTH // 2 :]}"
        yield f"  {f'{start}–{end - 1}':>13}  {Kind(of_kind).name.lower():<17}  {quoted}"
        start = end
