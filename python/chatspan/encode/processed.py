"""Rendered chats → encodings, by a processor: its own ids, and what a model takes beside them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from chatspan.attribute.attributed import AttributedRender
from chatspan.attribute.media import ModelInputs
from chatspan.encode.escapes import SpecialTokens, without_control_tokens_of_data
from chatspan.encode.token_ids import TokenIds, sampled_pieces
from chatspan.encoding import Encoding
from chatspan.errors import ExpansionError
from chatspan.media.parts import MediaPart
from chatspan.media.placeholders import placeholders
from chatspan.media.recording import Made, ProcessorInputs, inputs_of, joined, made_of
from chatspan.media.rows import ExpandedChat, expanded_chat, tokens_with_pieces
from chatspan.render.request import Messages, RenderRequest
from chatspan.tokenize.backends import Backend
from chatspan.tokenize.pieces import Piece
from chatspan.tokenize.tokens import Tokens


class ProcessorRow(NamedTuple):
    """What is to be given to a processor of a chat.

    Attributes:
        messages: with their media.
        request, source: the keywords of the template, and the template.
        token_ids: of messages that were sampled; ``check``: whether they must be those of their turn.
        options: keywords of the processor's own call.
    """

    messages: Messages
    parts: Sequence[MediaPart]
    request: RenderRequest
    source: str
    token_ids: TokenIds
    check: bool
    options: Mapping[str, Any]


_Chat = tuple[AttributedRender, ProcessorRow]
# By modality the keywords with which a processor is called.
_KEYWORDS = {"image": ("images",), "video": ("videos", "video_metadata"), "audio": ("audio", "audios")}


def processed(
    processor: Any,
    backend: Backend,
    rows: Sequence[tuple[AttributedRender, ProcessorRow, SpecialTokens]],
    encoding_of: Callable[[AttributedRender, Tokens], Encoding],
    *,
    together: bool,
) -> list[Encoding]:
    """The encodings of chats.

    Args:
        together: whether the processor is called once for all, so that the tensors are those of the batch.

    Raises:
        ExpansionError, ControlTokenError, RolloutError: see :mod:`chatspan.media.rows`.
    """
    # Before the processor, which would say less of what is wrong.
    holders = [placeholders(processor, attributed, row.parts) for attributed, row, _ in rows]
    chats = [(attributed, row) for attributed, row, _ in rows]
    calls = [_together(processor, chats, backend)] if together else None
    found = []
    for at, (attributed, row, special_tokens) in enumerate(rows):
        alone = functools.cache(partial(_inputs_of, processor, [(attributed, row)]))
        made, place = (calls[0], at) if calls else (made_of(processor, alone(), backend), 0)
        chat = expanded_chat(processor, attributed, holders[at], alone, made.rows[place])
        tokens = _tokens(processor.tokenizer, backend, chat, row, special_tokens)
        inputs = ModelInputs(made.outputs, place)
        found.append(replace(encoding_of(chat.attributed, tokens), _media=chat.places, _model_inputs=inputs))
    return found


def inputs_without(
    processor: Any, attributed: AttributedRender, row: ProcessorRow, left_out: Collection[int], kept_chars: int = 0
) -> ProcessorInputs:
    """What a processor is called with of a chat without some of its messages: neither their text nor their media.

    Args:
        left_out: the messages.
        kept_chars: so many of the first characters stay, whoever's they are.

    Raises:
        ExpansionError: it loads other media than the parts say.
    """
    given = _inputs_of(processor, [(attributed, row)])
    if not left_out:
        return given
    edges, owners, _ = (array.tolist() for array in attributed.segments.to_arrays())
    ranges = [
        (start, end if owner not in left_out else min(end, kept_chars))
        for start, end, owner in zip(edges[:-1], edges[1:], owners, strict=True)
    ]
    text = "".join(attributed.render.text[start:end] for start, end in ranges if start < end)
    media: dict[str, list[Any]] = {}
    for modality, names in _KEYWORDS.items():
        own = [part for part in row.parts if part.modality == modality]
        for name, loaded in ((name, given.media[name]) for name in names if name in given.media):
            is_by_chat = modality != "audio"
            flat = [each for of_chat in loaded for each in of_chat] if is_by_chat else loaded
            if len(flat) != len(own):
                raise ExpansionError(
                    f"the processor loads {len(flat)} {name} of {len(own)} parts, so none of them can be left out"
                )
            kept = [each for each, part in zip(flat, own, strict=True) if part.message_index not in left_out]
            if kept:
                media[name] = [kept] if is_by_chat else kept
    return ProcessorInputs([text], media, given.options)


def made_together(processor: Any, given: Sequence[ProcessorInputs], backend: Backend) -> Made:
    """What a processor makes in one call of what it is called with of several chats.

    Raises:
        ExpansionError: it raises, or the chats need other options than each other.
    """
    return made_of(processor, joined(given), backend)


def _together(processor: Any, chats: Sequence[_Chat], backend: Backend) -> Made:
    """One call for all; put together of chats with other keywords than each other, or of which some have no media."""
    given = _inputs_of(processor, chats) if all(_is_called_alike(chats[0][1], row) for _, row in chats) else None
    if given is not None and given.is_by_chat:
        return made_of(processor, given, backend)
    apart = joined([_inputs_of(processor, [chat]) for chat in chats])
    try:
        return made_of(processor, apart, backend)
    except ExpansionError:
        # Older ones that take the media of all as one list take no empty list of a chat.
        if given is None:
            raise
        return made_of(processor, given, backend)


def _is_called_alike(one: ProcessorRow, other: ProcessorRow) -> bool:
    try:
        return bool((one.request, one.source, one.options) == (other.request, other.source, other.options))
    # Of values that compare in ways of their own, such as arrays.
    except Exception:
        return False


def _inputs_of(processor: Any, chats: Sequence[_Chat]) -> ProcessorInputs:
    conversations = [(row.messages, attributed.render.text) for attributed, row in chats]
    first = chats[0][1]
    return inputs_of(processor, conversations, first.request, first.source, first.options)


def _tokens(
    tokenizer: Any, backend: Backend, chat: ExpandedChat, row: ProcessorRow, special_tokens: SpecialTokens
) -> Tokens:
    def with_pieces(pieces: Sequence[Piece]) -> Tokens:
        return tokens_with_pieces(tokenizer, backend, chat, pieces)

    pieces = sampled_pieces(tokenizer, chat.attributed, row.token_ids, check=row.check) if row.token_ids else []
    tokens = with_pieces(pieces) if pieces else chat.tokens
    if special_tokens == "as_rendered":
        return tokens
    is_error = special_tokens == "error"
    return without_control_tokens_of_data(chat.attributed, tokens, pieces, with_pieces, error=is_error)
