"""Messages → rows as sampled: each assistant's turn behind the prompt that inference would have shown for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np

from chatspan._core import attribute
from chatspan.attribute.attributed import AttributedRender
from chatspan.attribute.prompts import OffPrompt, cause_of
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encode.token_ids import TokenIds, sampled_pieces, without_token_ids
from chatspan.errors import ChatspanError, MessageError, first_difference
from chatspan.render.rendered import CharRange, Render
from chatspan.render.request import Messages, RenderRequest, has_messages, has_role, listed
from chatspan.rollout.chats import chat_of, require_tokenizer
from chatspan.rollout.rewrites import Cause, Rewrite, rewrite_at, rewritten_error
from chatspan.rollout.sampled_row import SampledRow
from chatspan.rollout.side_arrays import spliced
from chatspan.rows.steps.held import taken
from chatspan.tokenize.tokens import Tokens

SampledEnd = Literal["token", "none", "next_header"]


class Turn(NamedTuple):
    """An assistant's turn, in the render of the conversation that ends with it.

    Attributes:
        prompt: what inference would have shown; ``None`` where the template refuses it.
        begun: how many characters of the render were shown before the turn.
        parts: the turn's own characters.
    """

    message_index: int
    prompt: Render | None
    attributed: AttributedRender
    begun: int
    parts: Sequence[CharRange]
    off_prompt: OffPrompt | None

    @property
    def text(self) -> str:
        """The render up to the end of the turn."""
        return self.attributed.render.text[: self.parts[-1][1]]

    @property
    def shown(self) -> str:
        """The render up to the beginning of the turn."""
        return self.attributed.render.text[: self.begun]


@dataclass
class _Row:
    """Turns each of whose prompts begins with all that stands before."""

    turns: list[Turn]
    cause: Rewrite | None
    parts: dict[int, Sequence[CharRange]] = field(default_factory=dict)

    def add(self, turn: Turn, end_of_turn: SampledEnd) -> None:
        if self.turns and end_of_turn == "next_header":
            before = self.turns[-1].message_index
            end = turn.attributed.turn(before, "next_header")[-1][1]
            known = self.parts[before]
            self.parts[before] = [*known[:-1], (known[-1][0], end)]
        self.turns.append(turn)
        self.parts[turn.message_index] = turn.parts


def sampled_rows(
    pipeline: EncodingPipeline,
    request: RenderRequest,
    *,
    is_split: bool = True,
    end_of_turn: SampledEnd = "token",
    token_ids_check: bool = True,
    per_token: Sequence[str] = (),
) -> list[SampledRow]:
    """The rows of a conversation; see :meth:`chatspan.ChatEncoder.sampled_rows`.

    Args:
        is_split: whether a row ends where the template rewrites what was shown; an error if not.
        per_token: keys of messages that have a value for each of their ``token_ids``.
    """
    require_tokenizer(pipeline)
    messages, token_ids = without_token_ids(listed(request.messages))
    messages, given = _without(messages, per_token)
    if unknown := [index for index in given if index not in token_ids]:
        spliced({unknown[0]: given[unknown[0]]}, {}, 0)
    request = request._replace(messages=messages)
    turns = turns_of(pipeline, request, datetime.now(), end_of_turn)
    if not turns:
        raise MessageError("the conversation has no assistant message: nothing of it was sampled")
    rows: list[_Row] = []
    for turn in turns:
        if rows and turn.shown.startswith(rows[-1].turns[-1].text):
            rows[-1].add(turn, end_of_turn)
        else:
            cause = _rewrite(rows[-1].turns[-1], turn) if rows else None
            rows.append(_Row([], cause))
            rows[-1].add(turn, end_of_turn)
        if not is_split:
            _require_one_row(rows, turn)
    return [_sampled_row(pipeline, request, row, token_ids, token_ids_check, given) for row in rows]


def _without(messages: Messages, keys: Sequence[str]) -> tuple[Messages, dict[int, dict[str, Any]]]:
    """The messages as the template gets them, and what they have for each of their tokens."""
    if not keys or not has_messages(messages) or not all(isinstance(message, Mapping) for message in messages):
        return messages, {}
    return taken([dict(message) for message in messages], keys)


def turns_of(pipeline: EncodingPipeline, request: RenderRequest, now: datetime, end_of_turn: SampledEnd) -> list[Turn]:
    """The assistants' turns of a conversation, each with its prompt.

    Raises:
        MessageError, TemplateError, TurnBoundaryError: with ``message_index``.
    """
    messages = request.messages
    # What is wrong with all of them is said by one render.
    next(iter(pipeline.render([request], now=now)))
    indices = [index for index, message in enumerate(messages) if has_role(message, "assistant")]
    asked = [request._replace(messages=messages[:index], add_generation_prompt=True) for index in indices]
    prompts = pipeline.try_render(asked, now)
    wholes = pipeline.render([request._replace(messages=messages[: index + 1]) for index in indices], now=now)
    found = []
    for index, prompt in zip(indices, prompts, strict=True):
        try:
            attributed = next(wholes).attributed
        except ChatspanError as error:
            raise error.at(message_index=index) from error.__cause__
        # What opens the next message stands in the next prompt.
        parts = attributed.turn(index, "none" if end_of_turn == "next_header" else end_of_turn)
        text = attributed.render.text
        if prompt is not None and text.startswith(prompt.text) and len(prompt.text) <= parts[0][1]:
            # Where the template writes the opening into the turn, what was shown is not the model's.
            begun = len(prompt.text)
            off = None
            parts = [(begun, parts[0][1]), *parts[1:]]
        else:
            begun, off = parts[0][0], attributed.off_prompt.get(index)
        found.append(Turn(index, prompt, attributed, begun, parts, off))
    return found


def _rewrite(before: Turn, turn: Turn) -> Rewrite:
    """Why a turn's prompt does not begin with the turn before and its prompt."""
    shown, written = before.text, turn.shown
    at = first_difference(shown, written)
    texts = (before.attributed.render.text, turn.attributed.render.text)
    return rewrite_at(_cause(before, turn, at), before.message_index, at, *texts)


def _cause(before: Turn, turn: Turn, at: int) -> Cause:
    old, new = before.attributed, turn.attributed
    region = new.regions.get(before.message_index)
    stop = old.regions[before.message_index].end_of_turn
    if stop is not None and at >= stop[0]:
        return "another_end"
    starts = (
        (len(new.render.text), len(new.render.text))
        if region is None
        else (region.start_char, region.header_end_char or region.start_char)
    )
    if at < before.begun:
        cause = cause_of(
            old.render, None, new.render, at, starts, before.message_index, old.conventions.markers.open_tag
        )
        return "history_rewritten" if cause == "no_prompt" else cause
    return "reasoning_dropped" if drops_reasoning(old, new, before.message_index) else "turn_rewritten"


def drops_reasoning(old: AttributedRender, new: AttributedRender, index: int) -> bool:
    """Whether a render has less of a message's reasoning than another."""
    return _reasoning(new, index) < _reasoning(old, index)


def _reasoning(attributed: AttributedRender, index: int) -> int:
    """How many characters of a message's reasoning are rendered, its tags in a content included."""
    return sum(
        end - start
        for start, end, message_index, kind in attributed.segment_list()
        if message_index == index and kind.name == "REASONING"
    )


def _require_one_row(rows: Sequence[_Row], turn: Turn) -> None:
    if rows[-1].cause is not None:
        raise rewritten_error(rows[-1].cause)
    if turn.off_prompt is not None:
        off = turn.off_prompt
        cause: Cause = "another_opening" if off.cause == "no_prompt" else off.cause
        raise rewritten_error(Rewrite(cause, turn.message_index, off.start_char, off.prompt, off.row))


def _sampled_row(
    pipeline: EncodingPipeline,
    request: RenderRequest,
    row: _Row,
    token_ids: TokenIds,
    token_ids_check: bool,
    given: Mapping[int, Mapping[str, Any]],
) -> SampledRow:
    last = row.turns[-1]
    attributed, end = last.attributed, last.parts[-1][1]
    own = {index: ids for index, ids in token_ids.items() if index in row.parts}
    pieces = sampled_pieces(pipeline.tokenizer, attributed, own, check=token_ids_check)
    cuts = sorted({edge for parts in row.parts.values() for part in parts for edge in part})
    tokens = pipeline.tokenize_parts(attributed.render.text[:end], pieces, cuts)
    message_index = attribute(tokens.table, attributed.segments)[0]
    turns = {index: tuple(token_range(tokens, part) for part in parts) for index, parts in row.parts.items()}
    # A stop token that was not sampled is no part of the turn.
    turns |= {index: (tokens.given[index],) for index in own}
    first = turns[row.turns[0].message_index][0][0]
    sampled = np.zeros(len(tokens.input_ids), dtype=np.int64)
    for index, ranges in turns.items():
        for start, stop in ranges:
            sampled[start:stop] = 1
            message_index[start:stop] = index
    return SampledRow(
        prompt_ids=tokens.input_ids[:first],
        completion_ids=tokens.input_ids[first:],
        env_mask=sampled[first:],
        message_index=message_index,
        turns=turns,
        per_token=spliced({index: given[index] for index in own if index in given}, tokens.given, len(sampled)),
        cause=row.cause,
        off_prompt={turn.message_index: turn.off_prompt for turn in row.turns if turn.off_prompt is not None},
        chat=chat_of(pipeline, request, last.message_index, {}),
    )


def token_range(tokens: Tokens, part: CharRange) -> tuple[int, int]:
    """The tokens of a part of the text at whose edges it was cut."""
    starts = tokens.table.to_array()[:, 0]
    first, last = np.searchsorted(starts, part)
    return int(first), int(last)
