"""Sampled ids that messages carry, as pieces of the render that are not tokenized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.attribute.attributed import AttributedRender
from chatspan.errors import ChatspanError, OptionError
from chatspan.render.origins import field_runs
from chatspan.render.rendered import Render
from chatspan.render.request import Messages
from chatspan.tokenize.pieces import Piece
from chatspan.tokenize.sampled_ids import sampled_offsets

TokenIds = Mapping[int, Sequence[int]]


def without_token_ids(messages: Messages) -> tuple[Messages, TokenIds]:
    """The messages as the template gets them, and the sampled ids of those that have some."""
    if not isinstance(messages, Sequence):
        return messages, {}
    for message in messages:
        if type(message) is not dict or "token_ids" in message:
            break
    else:
        return messages, {}
    token_ids = {
        index: message["token_ids"]
        for index, message in enumerate(messages)
        if isinstance(message, Mapping) and message.get("token_ids") is not None
    }
    if token_ids:
        messages = [
            {key: value for key, value in message.items() if key != "token_ids"} if index in token_ids else message
            for index, message in enumerate(messages)
        ]
    return messages, token_ids


def sampled_pieces(tokenizer: Any, attributed: AttributedRender, token_ids: TokenIds, *, check: bool) -> list[Piece]:
    """The turns whose ids are given.

    Args:
        check: whether ids that do not decode to their turn are an error.

    Raises:
        RolloutError, TurnBoundaryError, OptionError: ids that do not fit; with ``message_index``.
    """
    pieces = []
    render = attributed.render
    for index, ids in token_ids.items():
        try:
            if index not in attributed.regions:
                raise OptionError(f"message {index} has token_ids, but the template does not render it")
            start, end = attributed.turn(index, "token")
            turn, untrimmed = render.text[start:end], _untrimmed(render, start, end)
            found = sampled_offsets(tokenizer, ids, turn, untrimmed, check=check)
        except ChatspanError as error:
            raise error.at(message_index=index) from None
        offsets = [(first + start, last + start) for first, last in found]
        pieces.append(Piece(start, end, ([int(i) for i in ids], offsets)))
    return pieces


def _untrimmed(render: Render, start: int, end: int) -> list[tuple[str, int, int]]:
    """A turn before the template trimmed its fields: pieces, and where they are in the turn."""
    pieces: list[tuple[str, int, int]] = []
    position = start
    for run_start, run_end, origin, at in field_runs(render.runs):
        if run_start < start or run_end > end or at < 0:
            continue
        pieces.append((render.text[position:run_start], position - start, run_start - start))
        whole, last = str.__str__(origin), at + run_end - run_start
        lead, trail = whole[:at], whole[last:]
        if not lead.strip():
            pieces.append((lead, run_start - start, run_start - start))
        pieces.append((render.text[run_start:run_end], run_start - start, run_end - start))
        if not trail.strip():
            pieces.append((trail, run_end - start, run_end - start))
        position = run_end
    pieces.append((render.text[position:end], position - start, end - start))
    return pieces
