"""Rows as sampled, given to a collator in place of rows of messages, or inside of rows that say more of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatspan.errors import RowError
from chatspan.rollout.rollout import Rollout
from chatspan.rollout.sampled_row import SampledRow
from chatspan.rows.messages import shown
from chatspan.rows.steps.columns import CONVERSATIONS

# The column of a row as sampled.
SAMPLED = "sampled"


@dataclass(frozen=True)
class GivenRow:
    """A row as sampled, and what its caller says of it.

    Attributes:
        said: the other columns: ``loss_messages``, ``trace_id`` …
    """

    row: SampledRow
    said: Mapping[str, Any]

    @property
    def loss_messages(self) -> list[int] | None:
        """The messages that may be in a loss; ``None``: all that were sampled.

        Raises:
            RowError: they are none of the row's turns.
        """
        given = self.said.get("loss_messages")
        if given is None:
            return None
        if not isinstance(given, (list, tuple)) or not all(type(index) is int for index in given):
            raise RowError(f"its 'loss_messages' must be a list of message indices, got {shown(given)}")
        for index in given:
            if index not in self.row.turns:
                raise RowError(
                    f"its 'loss_messages' names message {index}, which was not sampled in this row; the "
                    f"sampled messages: {', '.join(map(str, sorted(self.row.turns)))}",
                    message_index=index,
                )
        return list(given)


def given_row(value: Any) -> GivenRow | None:
    """What a row of a batch gives as sampled; ``None``: it is a row of messages.

    Args:
        value: a :class:`chatspan.SampledRow`, or a mapping that has one as ``"sampled"``.

    Raises:
        RowError: a whole rollout where one row is expected, or messages beside the row's own.
    """
    if isinstance(value, SampledRow):
        return GivenRow(value, {})
    if not isinstance(value, Mapping):
        return None
    sampled = value.get(SAMPLED)
    if isinstance(sampled, Rollout) or _are_sampled(sampled):
        raise RowError(
            f"its {SAMPLED!r} is {type(sampled).__name__}: make one row for each of rollout.rows(), of which there "
            "are several if the template rewrites what was shown"
        )
    if not isinstance(sampled, SampledRow):
        return None
    said = {str(key): each for key, each in value.items() if key != SAMPLED}
    for name in CONVERSATIONS:
        if said.get(name) is not None:
            raise RowError(f"it has {name!r} beside {SAMPLED!r}, whose messages are in row.chat: leave {name} out")
    return GivenRow(sampled, said)


def each_sampled(rows: Sequence[Any]) -> list[Any]:
    """Rows, with those of rollouts and of lists of rows as sampled in their places."""
    found: list[Any] = []
    for row in rows:
        if isinstance(row, Rollout):
            found += row.rows()
        elif _are_sampled(row):
            found += row
        else:
            found.append(row)
    return found


def _are_sampled(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(each, SampledRow) for each in value)
