"""What ends assistants' turns: whether it is trained, and whether generation stops there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatspan.audit.checks.prompts import assistants
from chatspan.encoding import Encoding
from chatspan.kinds import Kind


class TurnEnd(NamedTuple):
    """How a turn ends.

    Attributes:
        text: what ends it, without blanks behind; ``None`` where nothing does.
        trained: whether its last token is in the loss.
        stops: whether that token is one at which generation stops.
    """

    text: str | None
    trained: bool
    stops: bool


def turn_ends(
    encoding: Encoding,
    mask: NDArray[np.bool_],
    stop_ids: Collection[int],
    messages: Collection[int] | None = None,
) -> Iterator[tuple[int, TurnEnd]]:
    """The end of each assistant message that has tokens, and the message's index.

    Args:
        messages: those that may be in the loss; ``None`` for all.
    """
    for index in assistants(encoding):
        if messages is not None and index not in messages:
            continue
        end = encoding.end_of_turn(index)
        if end is None:
            yield index, _open_end(encoding, mask, stop_ids, index)
            continue
        token = int(np.searchsorted(encoding.offsets[:, 0], end[1], side="left")) - 1
        stops = int(encoding.input_ids[token]) in stop_ids
        yield index, TurnEnd(encoding.text[end[0] : end[1]].strip(), bool(mask[token]), stops)


def _open_end(encoding: Encoding, mask: NDArray[np.bool_], stop_ids: Collection[int], index: int) -> TurnEnd:
    """A turn that nothing ends: what opens the next message may be trained in its place."""
    mine = np.flatnonzero(encoding.message_index == index)
    behind = int(mine[-1]) + 1
    if behind < len(encoding) and mask[behind] and encoding.kind[behind] in (Kind.SCAFFOLD, Kind.GENERATION_PROMPT):
        start, end = encoding.offsets[behind].tolist()
        return TurnEnd(encoding.text[start:end], True, int(encoding.input_ids[behind]) in stop_ids)
    return TurnEnd(None, False, False)
