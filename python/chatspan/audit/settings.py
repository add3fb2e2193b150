"""What an audit is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatspan.attribute.turns import EndOfTurn
from chatspan.encoding import What


@dataclass(frozen=True)
class AuditSettings:
    """What an audit is asked for.

    Attributes:
        loss, end_of_turn: what is trained, as :meth:`chatspan.Encoding.mask` takes them.
        max_length: tokens a row that the training takes; ``None``: any.
        column: of the messages, if it is not one of the usual ones.
        stop_ids: the ids at which generation stops.
        off_prompt: what turns are that no prompt of inference leads to: ``"keep"``, a note; ``"error"``, a problem.
        turns: whether to show how turns stand: what prompts them, what opens and what ends them.
    """

    loss: What = "turn"
    end_of_turn: EndOfTurn = "token"
    max_length: int | None = None
    column: str | None = None
    stop_ids: frozenset[int] = frozenset()
    off_prompt: Literal["keep", "error"] = "keep"
    turns: bool = False
