"""What a render is cut into: segments of one message and one kind, and each message's region."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chatspan.kinds import Kind

CharRange = tuple[int, int]


class Segment(NamedTuple):
    """Characters of one message (-1: none's) and one kind."""

    start_char: int
    end_char: int
    message_index: int
    kind: Kind


class Region(NamedTuple):
    """What the template wrote while it rendered one message.

    Attributes:
        header_end_char: behind the header; ``None`` if it cannot be told.
        end_of_turn: what ends the message, without blanks behind it; ``None`` if it cannot be told.
        whole: whether all of the message stands in this one range.
    """

    start_char: int
    end_char: int
    header_end_char: int | None
    end_of_turn: CharRange | None
    whole: bool


def opening_token(text: str, start: int, control_tokens: Sequence[str]) -> CharRange | None:
    """The control token that the text goes on with at ``start``, blanks aside."""
    at = start + re.match(r"\s*", text[start:]).end()  # type: ignore[union-attr]
    token = max((token for token in control_tokens if token and text.startswith(token, at)), key=len, default="")
    return (at, at + len(token)) if token else None


def roles_of(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The role of each message, ``""`` where it has none."""
    return [str(message.get("role", "")) for message in messages]
