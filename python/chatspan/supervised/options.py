"""How rows are encoded for supervised fine-tuning, and what of them is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatspan.attribute.turns import EndOfTurn
from chatspan.encode.escapes import SpecialTokens
from chatspan.encode.truncation import Truncation
from chatspan.options import LossOn, OffPromptPolicy, require_choices, require_counts, require_loss_on

SupervisedLossOn = Literal["generation"] | LossOn
EmptyRows = Literal["error", "drop"]


@dataclass(frozen=True, kw_only=True)
class SupervisedOptions:
    """How rows are encoded and what is trained; see :class:`chatspan.ChatCollator`."""

    loss_on: SupervisedLossOn = "turn"
    end_of_turn: EndOfTurn = "token"
    max_length: int | None = None
    truncation: Truncation = "error"
    empty_rows: EmptyRows = "error"
    special_tokens: SpecialTokens = "as_rendered"
    column: str | None = None
    off_prompt: OffPromptPolicy = "keep"

    def __post_init__(self) -> None:
        require_loss_on(self.loss_on, ("turn", "content", "generation"))
        require_choices(self, end_of_turn=EndOfTurn, truncation=Truncation, empty_rows=EmptyRows)
        require_choices(self, special_tokens=SpecialTokens, off_prompt=OffPromptPolicy)
        require_counts(self, "max_length")
