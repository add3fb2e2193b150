"""What a render is cut into: segments of one message and one kind, and each message's region."""

from __future__ import annotations

from typing import NamedTuple

from chatspan.kinds import Kind
from chatspan.render.rendered import CharRange


class Segment(NamedTuple):
    """Characters of one message (-1: none's) and one kind."""

    start_char: int
    end_char: int
    message_index: int
    kind: Kind


class Region(NamedTuple):
    """What the template wrote while it rendered one message.

    Attributes:
        header_end_char: behind the header, where an assistant's turn starts; ``None`` if it cannot be told.
        end_of_turn: what ends the message, without blanks behind it; ``None`` if it cannot be told.
        whole: whether all of the message stands in this one range, and nothing that another person said.
        found: how the end of the header was found: ``"exact"``, the render has the whole opening there;
            ``"another_opening"``; ``"no_prompt"``, nothing stands before the message. ``None`` of others' messages.
        interrupted: whether a runtime's results stand between the assistant's own words, or behind them.
    """

    start_char: int
    end_char: int
    header_end_char: int | None
    end_of_turn: CharRange | None
    whole: bool
    found: str | None = None
    interrupted: bool = False
