"""How rows are encoded for supervised fine-tuning, and what of them is trained."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from chatspan.attribute.turns import EndOfTurn
from chatspan.encode.escapes import SpecialTokens
from chatspan.encode.truncation import Truncation, require_length
from chatspan.errors import OptionError, quoted
from chatspan.options import (
    LossOn,
    OffPromptPolicy,
    near_role,
    one_of,
    require_choices,
    require_counts,
    require_loss_on,
)
from chatspan.rollout.side_arrays import require_names
from chatspan.rows.options import RowOptions

SupervisedLossOn = Literal["generation"] | LossOn
EmptyRows = Literal["error", "drop"]
TrainOn = Literal["all", "last"] | Collection[str]


@dataclass(frozen=True, kw_only=True)
class SupervisedOptions(RowOptions):
    """How rows are read and encoded, and what is trained; see :class:`chatspan.ChatCollator`."""

    loss_on: SupervisedLossOn = "turn"
    train_on: TrainOn = "all"
    loss_weight: bool = False
    end_of_turn: EndOfTurn = "token"
    max_length: int | None = None
    truncation: Truncation = "error"
    empty_rows: EmptyRows = "error"
    special_tokens: SpecialTokens = "as_rendered"
    off_prompt: OffPromptPolicy = "keep"
    per_token: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_loss_on(self.loss_on, ("turn", "content", "generation"))
        require_choices(self, end_of_turn=EndOfTurn, truncation=Truncation, empty_rows=EmptyRows)
        require_choices(self, special_tokens=SpecialTokens, off_prompt=OffPromptPolicy, loss_weight=(True, False))
        require_counts(self, "max_length")
        require_length(self.max_length, self.truncation)
        # A frozen dataclass, of which two are equal if they say the same.
        object.__setattr__(self, "train_on", require_train_on(self.train_on))
        object.__setattr__(self, "per_token", require_names(self.per_token))
        if self.train_on != "all" and self.loss_on == "generation":
            raise OptionError(
                'train_on selects messages, and loss_on="generation" selects by the template\'s own blocks: '
                "leave out one of them"
            )

    @property
    def has_weights(self) -> bool:
        """Whether tokens have weights beside labels."""
        return self.loss_weight or isinstance(self.loss_on, Mapping)


def require_train_on(train_on: Any) -> TrainOn:
    """Which messages are trained.

    Returns:
        It; roles of another class than Python's own lists and sets in a tuple, since it may give items without end.

    Raises:
        OptionError: it is neither of the names nor some roles, or a role that is a typing error.
    """
    if isinstance(train_on, str):
        if not one_of(train_on, ("all", "last")):
            raise OptionError(
                f'train_on={quoted(train_on)}: use "all", "last", or a list of roles such as ["assistant"]'
            )
        return "all" if train_on == "all" else "last"
    is_roles = isinstance(train_on, (Sequence, Set)) and not isinstance(train_on, bytes)
    roles = tuple(islice(train_on, len(train_on))) if is_roles else ()
    if not roles or not all(isinstance(role, str) for role in roles):
        raise OptionError(f'train_on={quoted(train_on)}: use "all", "last", or a list of roles such as ["assistant"]')
    for role in roles:
        if (near := near_role(role)) is not None:
            raise OptionError(
                f"train_on={quoted(train_on)}: the role {quoted(role)} is unknown: did you mean {near!r}?"
            )
    return train_on if type(train_on) in (list, tuple, set, frozenset) else roles
