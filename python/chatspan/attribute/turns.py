"""Turns: what an assistant has to produce itself, from behind its header to its end of turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from chatspan.attribute.segments import Region
from chatspan.errors import OptionError, TurnBoundaryError
from chatspan.render.rendered import CharRange

EndOfTurn = Literal["token", "all", "none", "next_header"]


def turn_range(
    text: str,
    message_index: int,
    region: Region,
    end_of_turn: EndOfTurn,
    control_tokens: Sequence[str],
    open_end: bool = False,
) -> CharRange:
    """The characters of an assistant's turn.

    Args:
        text: the render.
        region: the message's part of it.
        open_end: whether the message is to be continued.

    Raises:
        OptionError: there is no such ``end_of_turn``.
        TurnBoundaryError: its header or its end cannot be told; with what was seen.
    """
    if end_of_turn not in get_args(EndOfTurn):
        raise OptionError(f"end_of_turn={end_of_turn!r}: say {', '.join(map(repr, get_args(EndOfTurn)))}")

    def refuse(what: str) -> TurnBoundaryError:
        shown = text[region.start_char : region.end_char]
        shown = shown if len(shown) <= 120 else f"{shown[:60]}…{shown[-60:]}"
        return TurnBoundaryError(
            f"message {message_index} (assistant), rendered as {shown!r}: {what}; "
            'what="content" does not need to know it',
            message_index=message_index,
            start_char=region.start_char,
        )

    if not region.whole:
        raise refuse("the template writes it in several places")
    if region.header_end_char is None:
        raise refuse("it does not begin with the header that the template opens other assistants' messages with")
    start = region.header_end_char
    if open_end:
        return (start, region.end_char)
    if end_of_turn == "all":
        return (start, region.end_char)
    if end_of_turn == "next_header":
        if region.end_char == len(text):
            return (start, region.end_char)
        opening = opening_token(text, region.end_char, control_tokens)
        if opening is None:
            raise refuse(f"what follows, {text[region.end_char :][:20]!r}, does not begin with a control token")
        return (start, opening[1])
    if region.end_of_turn is None:
        if end_of_turn == "none":
            return (start, region.end_char)
        raise refuse(
            'nothing was found that ends it; end_of_turn="next_header" takes the control token that opens the next '
            'message, end_of_turn="none" trains no end'
        )
    return (start, region.end_of_turn[end_of_turn == "token"])


def opening_token(text: str, start: int, control_tokens: Sequence[str]) -> CharRange | None:
    """The control token that the text goes on with at ``start``, blanks aside."""
    at = start + re.match(r"\s*", text[start:]).end()  # type: ignore[union-attr]
    token = max((token for token in control_tokens if token and text.startswith(token, at)), key=len, default="")
    return (at, at + len(token)) if token else None
