"""Sampled ids that messages carry, as pieces of the render that are not tokenized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from chatspan.attribute.attributed import AttributedRender
from chatspan.errors import ChatspanError, OptionError, RolloutError, is_a
from chatspan.options import require_switch
from chatspan.render.origins import field_runs
from chatspan.render.rendered import CharRange, Render
from chatspan.render.request import Messages, own_copy, unreadable
from chatspan.tokenize.pieces import Piece
from chatspan.tokenize.sampled_ids import sampled_offsets, whole_ids
from chatspan.tokenize.token_offsets import decode

TokenIds = Mapping[int, Sequence[int]]


def without_token_ids(messages: Messages) -> tuple[Messages, TokenIds]:
    """The messages as the template gets them, and the sampled ids of those that have some.

    Raises:
        MessageError: a message that cannot be read.
    """
    if not is_a(messages, Sequence) or is_a(messages, (str, bytes)):
        return messages, {}
    for message in messages:
        if type(message) is not dict or "token_ids" in message:
            break
    else:
        return messages, {}
    token_ids: dict[int, Any] = {}
    without = []
    for index, message in enumerate(messages):
        try:
            if isinstance(message, Mapping) and message.get("token_ids") is not None:
                message = {**message}
                token_ids[index] = own_copy(message.pop("token_ids"))
        # What a mapping of a caller's own raises.
        except Exception as error:
            raise unreadable(index, error) from error
        without.append(message)
    return (without, token_ids) if token_ids else (messages, {})


def with_token_ids(messages: Messages, token_ids: TokenIds) -> list[dict[str, Any]]:
    """The messages with the ids that were sampled for them."""
    return [
        {**message, "token_ids": list(token_ids[index])} if index in token_ids else dict(message)
        for index, message in enumerate(messages)
    ]


def sampled_pieces(tokenizer: Any, attributed: AttributedRender, token_ids: TokenIds, *, check: bool) -> list[Piece]:
    """The turns whose ids are given: those behind the prompt, so that what the prompt opens the turn with stays.

    A stop token that was not sampled stays the template's, and outside of the turn.

    Args:
        check: whether ids that do not decode to their turn are an error.

    Raises:
        RolloutError, TurnBoundaryError, OptionError: ids that do not fit; with ``message_index``.
    """
    require_switch("token_ids_check", check)
    pieces = []
    for index, ids in token_ids.items():
        try:
            pieces.append(_sampled_piece(tokenizer, attributed, index, ids, check=check))
        except ChatspanError as error:
            raise error.at(message_index=index) from None
    return pieces


def _sampled_piece(
    tokenizer: Any, attributed: AttributedRender, index: int, ids: Sequence[int], *, check: bool
) -> Piece:
    if index not in attributed.regions and index not in attributed.segments.homeless:
        raise OptionError(f"message {index} has token_ids, but the template does not render it")
    whole = whole_ids(tokenizer, ids)
    parts = attributed.turn(index, "token")
    if len(parts) != 1:
        raise RolloutError(
            f"the turn has {len(parts)} parts with results between them, but token_ids are those of one: leave "
            "token_ids out, and the turn is tokenized as text"
        )
    [(start, end)] = parts
    render, region = attributed.render, attributed.regions[index]

    def offsets_in(end: int, *, check: bool) -> list[CharRange]:
        found = sampled_offsets(tokenizer, whole, render.text[start:end], _untrimmed(render, start, end), check=check)
        return [(first + start, last + start) for first, last in found]

    stop = end if region.end_of_turn is None else region.end_of_turn[0]
    # Without the stop token: cut off by a length, or taken off by who sampled.
    for each in (end, stop):
        with suppress(RolloutError):
            offsets = offsets_in(each, check=True)
            if each < end:
                attributed.unsampled_ends |= {index}
            return Piece(start, each, (whole, offsets), index)
    offsets = offsets_in(end, check=check)
    attributed.respelled |= {index}
    own_end = render.text[stop:end].strip()
    if own_end and not decode(tokenizer, whole).rstrip().endswith(own_end):
        attributed.unsampled_ends |= {index}
        end, offsets = stop, offsets_in(stop, check=False)
    return Piece(start, end, (whole, offsets), index)


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
