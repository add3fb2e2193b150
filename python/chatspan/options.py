"""Options that several rooms take, and their checks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from difflib import SequenceMatcher
from numbers import Integral, Real
from typing import Any, Literal, get_args

from chatspan.errors import OptionError, quoted
from chatspan.kinds import Kind

BackendOption = Literal["auto", "native", "hf"]
PaddingSide = Literal["right", "left"]
Boundaries = Literal["as_rendered", "as_prompted"]
OffPromptPolicy = Literal["keep", "drop_turn", "error"]
LossOn = Literal["content", "turn"] | Collection[Kind] | Mapping[Any, float]

# What chat templates know. A role outside of this set is a typo far more often than a template's own invention.
ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython", "observation")

# How alike a near miss is to a role: "asistent" is by 0.82, "reservation" and "assist" are not by more.
_NEAR = 0.82
_OWN_WORDS = ("python",)
# No row has as many tokens: their characters are counted with 32 bits.
LONGEST = 2**31 - 1
_MULTIPLES = ("pad_to_multiple_of", "pad_sequences_to_multiple_of")
# Weights are float32.
LARGEST_WEIGHT = 3.4e38


def one_of(value: Any, allowed: Collection[Any]) -> bool:
    """Whether an option has one of these values; what compares in ways of its own, such as an array, is none."""
    return isinstance(value, (str, int, type(None))) and value in allowed


def require_choices(options: Any, **choices: Any) -> None:
    """Options that have one of these values, given as a tuple or a ``Literal``."""
    for name, allowed in choices.items():
        values = allowed if isinstance(allowed, tuple) else get_args(allowed)
        if not one_of(getattr(options, name), values):
            raise OptionError(f"{name}={quoted(getattr(options, name))}: use one of {', '.join(map(repr, values))}")


def require_switch(name: str, value: object) -> None:
    """An option that is on or off."""
    if type(value) is not bool:
        raise OptionError(f"{name}={quoted(value)}: expected True or False")


def require_counts(options: Any, *names: str) -> None:
    """Options that are a number of tokens, or ``None``."""
    for name in names:
        value = getattr(options, name)
        if value is not None and (type(value) is not int or value < 1):
            raise OptionError(f"{name}={quoted(value)}: expected the number of tokens, at least 1, or None")
        if name in _MULTIPLES and value is not None and value > LONGEST:
            raise OptionError(f"{name}={quoted(value)}: expected the number of tokens, at most {LONGEST}, or None")


def require_multiples(options: Any) -> None:
    """What rows, and the sequences of packed rows, are filled up to.

    Raises:
        OptionError: no number of tokens; sequences without ``packing``; a common multiple that no row is as long as.
    """
    require_counts(options, *_MULTIPLES)
    each, whole = options.pad_sequences_to_multiple_of, options.pad_to_multiple_of
    if each is not None and not options.packing:
        raise OptionError(
            f"pad_sequences_to_multiple_of={each} is for packing=True: use pad_to_multiple_of for rows that "
            "are not packed"
        )
    if math.lcm(each or 1, whole or 1) > LONGEST:
        raise OptionError(
            f"pad_sequences_to_multiple_of={each} and pad_to_multiple_of={whole}: their least common multiple is more "
            f"than {LONGEST} tokens"
        )


def near_role(name: str) -> str | None:
    """The usual role that a name is a near miss of; ``None`` if it is a usual role itself, or just another word.

    A near miss has other capitals, blanks around it, its letters in another order, or a letter or two too many, too
    few or wrong. A name with digits or signs (``assistant_2``, ``tool_response``) was given on purpose, and ``python``
    is a word of its own.

    Example:
        >>> from chatspan.options import near_role
        >>> near_role("asistant"), near_role("User"), near_role("assistant"), near_role("environment")
        ('assistant', 'user', None, None)
    """
    if name in ROLES:
        return None
    folded = str.casefold(str.strip(name))
    if folded in ROLES:
        return folded
    if not folded.isalpha() or folded in _OWN_WORDS:
        return None
    for role in ROLES:
        if sorted(role) == sorted(folded):
            return role
    nearest = max(ROLES, key=lambda role: SequenceMatcher(None, role, folded).ratio())
    return nearest if SequenceMatcher(None, nearest, folded).ratio() >= _NEAR else None


def require_weight(weight: Any, what: str) -> float:
    """A weight: a finite number, at least 0, that float32 holds.

    Args:
        what: whose weight it is, as the error calls it.

    Raises:
        OptionError: it is none.
    """
    is_number = isinstance(weight, Real) and not isinstance(weight, bool)
    if not is_number or not 0 <= weight <= LARGEST_WEIGHT or math.isnan(weight):
        raise OptionError(f"{what} is {quoted(weight)}: weights must be numbers, at least 0 and at most 3.4e38")
    return float(weight)


def require_key_parts(key: Any, what: str, *others: type) -> tuple[Any, ...]:
    """The parts of a weight's key that must all fit: the parts of a tuple, or the key itself.

    Args:
        what: what the key is of, as the error calls it.
        others: types that may be parts besides roles, kinds and indices.

    Raises:
        OptionError: there is none, or one of another type.
    """
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (str, Integral, *others)):
            parts = ()
    if not parts:
        also = "".join(f", a {other.__name__}" for other in others)
        raise OptionError(
            f"{what} {quoted(key)}: expected a role, a Kind, a message's index{also}, or a tuple of those"
        )
    return parts


def require_loss_on(loss_on: Any, names: tuple[str, ...]) -> None:
    """What a loss is on: one of these names, kinds, or weights.

    Weights may be of roles that only some rows have, or that only this template knows; not of a near miss.

    Raises:
        OptionError: it is none of these; with the key that is wrong.
    """
    if isinstance(loss_on, Mapping):
        if not loss_on:
            raise OptionError(f"loss_on={quoted(loss_on)}: expected at least one weight")
        for key, weight in loss_on.items():
            given = f"loss_on={quoted(loss_on)}:"
            require_weight(weight, f"{given} the weight of {quoted(key)}")
            for part in require_key_parts(key, f"{given} a weight for"):
                _require_for_each_row(part, f"{given} a weight for {quoted(key)}")
        return
    if isinstance(loss_on, str) and loss_on in names:
        return
    is_kinds = isinstance(loss_on, Collection) and not isinstance(loss_on, (str, bytes)) and len(loss_on) > 0
    if not is_kinds or not all(isinstance(kind, Kind) for kind in loss_on):
        known = ", ".join(f'"{name}"' for name in names)
        raise OptionError(f"loss_on={quoted(loss_on)}: use {known}, a set of Kinds, or weights")


def _require_for_each_row(part: Any, what: str) -> None:
    """A part of a weight's key that can be, before any row was seen."""
    if isinstance(part, str):
        near = near_role(part)
        if near is not None:
            raise OptionError(f"{what}: {part!r} is not a role; did you mean {near!r}?")
        if not part.strip():
            raise OptionError(f"{what}: expected the name of a role")
    elif part < 0:
        raise OptionError(f"{what}: messages are counted from 0")


def as_fraction(number: Any) -> Any:
    """A whole number of more than 64 bits as a fraction, since torch takes none of them; all else as it is."""
    return float(number) if type(number) is int and 2**63 <= abs(number) <= LARGEST_WEIGHT else number
