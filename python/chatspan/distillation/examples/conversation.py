"""Messages to render, and the trace that they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatspan.rollout.sampled_row import SampledRow
from chatspan.rows.messages import Message


@dataclass(frozen=True)
class Conversation:
    """Messages to render, and where they come from.

    Attributes:
        trace_id: what errors call it.
        messages: as ``apply_chat_template`` takes them.
        turn_indices: for each message its turn's index in the trace; ``None`` for a hint's own message.
        template_kwargs: further arguments of ``apply_chat_template``.
        plain: the same conversation without hints, where it has some.
        sampled: the tokens that it stands for, of a student's that was sampled; it is not rendered then.
        is_checked: whether ``token_ids`` of its messages have to say what the template writes; those of a row as
            sampled are proven already.
        side_arrays: by message, what it has for each of its ``token_ids``, by name.
    """

    trace_id: str
    messages: Sequence[Message]
    turn_indices: Sequence[int | None]
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    plain: Conversation | None = None
    sampled: SampledRow | None = None
    is_checked: bool = True
    side_arrays: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def message_of_turn(self, turn_index: int) -> int:
        """The index of the message that a turn became."""
        return self.turn_indices.index(turn_index)

    def place(self, message_index: int | None) -> dict[str, Any]:
        """Where a message stands, as :meth:`chatspan.ChatspanError.at` takes it."""
        turn_index = None if message_index is None else self.turn_indices[message_index]
        return {"trace_id": self.trace_id, "message_index": message_index, "turn_index": turn_index}
