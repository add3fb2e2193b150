"""What a :class:`chatspan.ComposerDataCollator` is told once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from chatspan.errors import OptionError

HintGenerator = Callable[[Any, Any], str]
HintPlacement = Literal["before_turn", "append_to_previous"]
Layout = Literal["aligned", "placeholder"]
Straddle = Literal["blanks", "inside", "touch", "error"]
BackendOption = Literal["auto", "native", "hf"]

# What chat templates know. A role outside of this set is a typo far more often than a template's own invention.
ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython", "observation")


@dataclass(frozen=True, kw_only=True)
class CollatorConfig:
    """How traces become student and teacher.

    Attributes:
        hint_generator: ``hint_generator(tool_error, error_meta) -> str``: the hint that the teacher sees before the
            turn; ``""`` (or blanks) for none. ``error_meta`` is ``{}`` where the turn has none.
        hint_role: the role of the hint's message, for ``hint_placement="before_turn"``.
        hint_placement: ``"before_turn"`` gives the hint a message of its own right before the turn;
            ``"append_to_previous"`` puts it at the end of the message before, after a blank line, for templates
            that insist on alternating roles.
        layout: ``"aligned"``: the student's row has a hole (``attention_mask`` 0) where only the teacher has
            tokens; ``"placeholder"``: the student has filler text of the same token length in the hint's place.
        straddle: what becomes of a token that has characters of a content and of the scaffold: ``"blanks"`` takes
            it in if those of the scaffold are blanks (the ``" Yes"`` behind ``Assistant:``), ``"inside"`` leaves it
            out, ``"touch"`` takes it in, ``"error"`` raises :class:`chatspan.StraddleError`.
        sdpo_ignore_index: ``sdpo_loss_mask`` where it is not 1.
        backend: what tokenizes, see :class:`chatspan.ChatEncoder`: ``"auto"``, ``"native"``, ``"hf"``.
        enable_replay_dpo: whether the traces' ``dpo_pairs`` become ``dpo_…`` keys of the batch.

    Example:
        >>> from chatspan import CollatorConfig
        >>> CollatorConfig(hint_generator=lambda error, meta: f"Mind the {error}.").layout
        'aligned'
    """

    hint_generator: HintGenerator
    hint_role: str = "system"
    hint_placement: HintPlacement = "before_turn"
    layout: Layout = "aligned"
    straddle: Straddle = "blanks"
    sdpo_ignore_index: int = 0
    backend: BackendOption = "auto"
    enable_replay_dpo: bool = False

    def __post_init__(self) -> None:
        if not callable(self.hint_generator):
            raise OptionError(f"hint_generator={self.hint_generator!r} is not callable")
        choices = {
            "hint_role": ROLES,
            "hint_placement": get_args(HintPlacement),
            "layout": get_args(Layout),
            "straddle": get_args(Straddle),
            "backend": get_args(BackendOption),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise OptionError(f"{name}={getattr(self, name)!r}: say one of {', '.join(map(repr, allowed))}")
        if type(self.sdpo_ignore_index) is not int or self.sdpo_ignore_index == 1:
            raise OptionError(f"sdpo_ignore_index={self.sdpo_ignore_index!r}: give a whole number other than 1")
