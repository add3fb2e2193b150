"""Turns: what an assistant has to produce itself, from behind its prompt to its end of turn."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, get_args

from chatspan._core import Segments
from chatspan.attribute.segments import Region
from chatspan.errors import OptionError, TurnBoundaryError, quoted
from chatspan.kinds import Kind
from chatspan.options import one_of
from chatspan.render.rendered import CharRange, Render

EndOfTurn = Literal["token", "all", "none", "next_header"]


class Attributed(Protocol):
    """A render, and what is known of its messages."""

    render: Render
    unsampled_ends: frozenset[int]

    @property
    def regions(self) -> Mapping[int, Region]:
        """What the template wrote while it rendered a message."""

    @property
    def segments(self) -> Segments:
        """The render cut by message and kind."""

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """The tokens that have a meaning in a render."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The role of each message."""


def turn_ranges(attributed: Attributed, message_index: int, end_of_turn: EndOfTurn) -> list[CharRange]:
    """The characters of an assistant's turn, without what a runtime wrote in it.

    Raises:
        OptionError: there is no such ``end_of_turn``.
        TurnBoundaryError: its header or its end cannot be told; with what was seen.
    """
    if not one_of(end_of_turn, get_args(EndOfTurn)):
        raise OptionError(f"end_of_turn={quoted(end_of_turn)}: use {', '.join(map(repr, get_args(EndOfTurn)))}")
    region = attributed.regions.get(message_index)
    if region is None:
        raise TurnBoundaryError(
            f"message {message_index} (assistant): the template collects the text and writes it at once, so "
            "the turn cannot be located; "
            'what="content" needs no turns',
            message_index=message_index,
        )
    start, end = _turn_range(attributed, message_index, region, end_of_turn)
    if not region.interrupted:
        return [(start, end)]
    return attributed.segments.without_results(start, end)


def _turn_range(attributed: Attributed, message_index: int, region: Region, end_of_turn: EndOfTurn) -> CharRange:
    """From the header to the end of a turn, with what may stand between."""
    text = attributed.render.text

    def refuse(what: str) -> TurnBoundaryError:
        shown = text[region.start_char : region.end_char]
        shown = shown if len(shown) <= 120 else f"{shown[:60]}…{shown[-60:]}"
        return TurnBoundaryError(
            f'message {message_index} (assistant), rendered as {shown!r}: {what}; what="content" needs no turns',
            message_index=message_index,
            start_char=region.start_char,
        )

    if not region.whole:
        raise refuse("the template writes it in several places, or another message's text into it")
    if region.header_end_char is None:
        raise refuse("its opening is unknown: the template refuses the prompt before it")
    start = region.header_end_char
    if end_of_turn == "token" and message_index in attributed.unsampled_ends:
        end_of_turn = "none"
    if attributed.render.open_end and message_index == len(attributed.roles) - 1:
        return (start, region.end_char)
    if end_of_turn == "all":
        return (start, region.end_char)
    if end_of_turn == "next_header" and not (region.interrupted and region.end_of_turn is not None):
        return (start, _next_header(attributed, region, refuse))
    if region.end_of_turn is None:
        if end_of_turn == "none":
            return (start, region.end_char)
        raise refuse(
            'no end of the turn was found; use end_of_turn="next_header" to end it with the control token that opens '
            'the next message, or end_of_turn="none" to train no end'
        )
    return (start, region.end_of_turn[end_of_turn != "none"])


def _next_header(attributed: Attributed, region: Region, refuse: Callable[[str], TurnBoundaryError]) -> int:
    """Behind the control token that opens what follows."""
    text = attributed.render.text
    if region.end_char == len(text):
        return region.end_char
    opening = opening_token(text, region.end_char, attributed.control_tokens)
    if opening is None:
        raise refuse(f"what follows, {text[region.end_char :][:20]!r}, does not begin with a control token")
    edges, _, kinds = attributed.segments.to_arrays()
    at = int(edges.searchsorted(opening[0], side="right")) - 1
    if kinds[at] not in (Kind.SCAFFOLD, Kind.GENERATION_PROMPT, Kind.REASONING, Kind.TOOL_CALL, Kind.END_OF_TURN):
        raise refuse(f"the control token that follows, {text[slice(*opening)]!r}, belongs to another text")
    return opening[1]


def opening_token(text: str, start: int, control_tokens: Sequence[str]) -> CharRange | None:
    """The control token that the text goes on with at ``start``, blanks aside."""
    at = start + re.match(r"\s*", text[start:]).end()  # type: ignore[union-attr]
    token = max((token for token in control_tokens if token and text.startswith(token, at)), key=len, default="")
    return (at, at + len(token)) if token else None
