"""Flags in messages that say whether, or how much, a message is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.errors import RowError, quoted
from chatspan.options import LARGEST_WEIGHT
from chatspan.rows.messages import name_text
from chatspan.rows.notes import Note

# OpenAI; Axolotl; Axolotl; ms-swift; SpecForge.
FLAGS = ("weight", "train", "training", "loss", "loss_mask")


def weights_of(
    messages: Sequence[Mapping[str, Any]], notes: list[Note], keys: frozenset[str] | None = None
) -> tuple[list[dict[str, Any]], dict[int, float]]:
    """The messages without their flags, and the weight of each message that has one.

    Args:
        notes: what is odd is added here.
        keys: of all messages, where they are known.

    Raises:
        RowError: a flag that is neither a number from 0 on nor a truth value, or two that disagree; with
            ``message_index``.
    """
    found: dict[int, float] = {}
    if (frozenset().union(*messages) if keys is None else keys).isdisjoint(FLAGS):
        return list(messages), found  # type: ignore[arg-type]
    without: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        flags = {flag: message[flag] for flag in FLAGS if flag in message}
        if not flags:
            without.append(message)  # type: ignore[arg-type]
            continue
        given = {flag: _weight(flag, value, index) for flag, value in flags.items() if value is not None}
        if len(set(given.values())) > 1:
            both = " and ".join(f"{flag}: {quoted(flags[flag])}" for flag in given)
            raise RowError(f"message {index} has flags that disagree, {both}: keep one", message_index=index)
        without.append({key: value for key, value in message.items() if key not in flags})
        if given:
            found[index] = next(iter(given.values()))
    _tell(messages, found, notes)
    return without, found


def _weight(flag: str, value: Any, index: int) -> float:
    if type(value) in (bool, int, float) and 0 <= value <= LARGEST_WEIGHT:
        return float(value)
    raise RowError(
        f"message {index} has {flag!r}: {quoted(value)}; expected true, false, or a number from 0 on",
        message_index=index,
    )


def _tell(messages: Sequence[Mapping[str, Any]], weights: Mapping[int, float], notes: list[Note]) -> None:
    for index, weight in weights.items():
        role = name_text(messages[index].get("role"))
        if role != "assistant" and weight > 0:
            what = f"a {role} message is flagged to be trained, which takes effect only if its role is selected"
            notes.append(Note("flag_on_other_role", what, f"message {index}", index))
