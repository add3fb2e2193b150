"""Turns: what an assistant has to produce itself, from behind its header to its end of turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from chatspan.attribution import CharRange, opening_token
from chatspan.errors import OptionError, TurnBoundaryError

if TYPE_CHECKING:
    from chatspan.encoding import Encoding

EndOfTurn = Literal["token", "all", "none", "next_header"]
POLICIES = ("token", "all", "none", "next_header")


def turn_range(encoding: Encoding, message_index: int, end_of_turn: EndOfTurn) -> CharRange:
    """The characters of an assistant's turn.

    Raises:
        TurnBoundaryError: its header or its end cannot be told; with what was seen.
    """
    if end_of_turn not in POLICIES:
        raise OptionError(f"end_of_turn={end_of_turn!r}: say {', '.join(map(repr, POLICIES))}")
    region = encoding._regions[message_index]
    text = encoding.text

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
    if encoding._open_end and message_index == len(encoding.roles) - 1:
        return (start, region.end_char)
    if end_of_turn == "all":
        return (start, region.end_char)
    if end_of_turn == "next_header":
        if region.end_char == len(text):
            return (start, region.end_char)
        opening = opening_token(text, region.end_char, encoding._control_tokens)
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
