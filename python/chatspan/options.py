"""Options that several rooms take, and their checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args

from chatspan.errors import OptionError
from chatspan.kinds import Kind

BackendOption = Literal["auto", "native", "hf"]
PaddingSide = Literal["right", "left"]
Boundaries = Literal["as_rendered", "as_prompted"]
OffPromptPolicy = Literal["keep", "drop_turn", "error"]
LossOn = Literal["content", "turn"] | Collection[Kind] | Mapping[Any, float]

# What chat templates know. A role outside of this set is a typo far more often than a template's own invention.
ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython", "observation")


def require_choices(options: Any, **choices: Any) -> None:
    """Options that have one of these values, given as a tuple or a ``Literal``."""
    for name, allowed in choices.items():
        values = allowed if isinstance(allowed, tuple) else get_args(allowed)
        if getattr(options, name) not in values:
            raise OptionError(f"{name}={getattr(options, name)!r}: say one of {', '.join(map(repr, values))}")


def require_counts(options: Any, *names: str) -> None:
    """Options that are a number of tokens, or ``None``."""
    for name in names:
        value = getattr(options, name)
        if value is not None and (type(value) is not int or value < 1):
            raise OptionError(f"{name}={value!r}: say how many tokens, at least 1, or None")


def require_loss_on(loss_on: Any, names: tuple[str, ...]) -> None:
    """What a loss is on: one of these names, kinds, or weights."""
    if isinstance(loss_on, Mapping):
        if not loss_on or not all(isinstance(w, (int, float)) and 0 <= w < float("inf") for w in loss_on.values()):
            raise OptionError(f"loss_on={loss_on!r}: weights must be numbers, at least 0")
        return
    if isinstance(loss_on, str) and loss_on in names:
        return
    is_kinds = isinstance(loss_on, Collection) and not isinstance(loss_on, (str, bytes)) and len(loss_on) > 0
    if not is_kinds or not all(isinstance(kind, Kind) for kind in loss_on):
        known = ", ".join(f'"{name}"' for name in names)
        raise OptionError(f"loss_on={loss_on!r}: say {known}, a set of Kinds, or weights")
