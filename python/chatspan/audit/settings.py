"""What an audit is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chatspan.attribute.turns import EndOfTurn
from chatspan.encoding import What
from chatspan.rows.options import RowOptions
from chatspan.supervised.options import SupervisedOptions, TrainOn


@dataclass(frozen=True)
class AuditSettings:
    """What an audit is asked for.

    Attributes:
        loss, end_of_turn: what is trained, as :meth:`chatspan.Encoding.mask` takes them.
        max_length: tokens a row that the training takes; ``None``: any.
        rows: how rows are read.
        train_on: which messages are trained, as :class:`chatspan.ChatCollator` takes it.
        stop_ids: the ids at which generation stops.
        off_prompt: what turns are that no inference prompt leads to: ``"keep"``, a note; ``"error"``, a problem.
        turns: whether to show how turns stand: what prompts them, what opens and what ends them.
        stability: whether to show what the template does with rollouts, and into how many rows as sampled rows split.
    """

    loss: What = "turn"
    end_of_turn: EndOfTurn = "token"
    max_length: int | None = None
    stop_ids: frozenset[int] = frozenset()
    off_prompt: Literal["keep", "error"] = "keep"
    turns: bool = False
    rows: RowOptions = field(default_factory=RowOptions)
    train_on: TrainOn = "all"
    stability: bool = False

    def supervised(self) -> SupervisedOptions:
        """What is trained of a row, as a collator with these settings does."""
        return SupervisedOptions(
            loss_on=self.loss, end_of_turn=self.end_of_turn, train_on=self.train_on, loss_weight=True
        )
