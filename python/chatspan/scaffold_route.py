"""The fast route: render once, tokenize once, project. For every HF fast tokenizer with a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from chatspan import prefix_delta
from chatspan._core import Offsets, token_spans
from chatspan.chats import EncodedChat, Route, TokenRange
from chatspan.config import Straddle
from chatspan.contents import CharRange, PlacedSlot, place_contents
from chatspan.errors import AmbiguousContentError, ChatspanError, ContentError, StraddleError
from chatspan.rendering import render
from chatspan.traces import Conversation


def is_fast(tokenizer: Any) -> bool:
    """Whether a tokenizer gives offsets, as HF's fast ones do."""
    return bool(getattr(tokenizer, "is_fast", False)) and callable(getattr(tokenizer, "apply_chat_template", None))


def encode_chats(tokenizer: Any, conversations: Sequence[Conversation], straddle: Straddle) -> list[EncodedChat]:
    """Encodes conversations in one call of the tokenizer; those of uncertain contents go by prefix delta.

    Raises:
        TemplateError, TokenizerError, ContentError, TextError, StraddleError: with the place.
    """
    encoded: dict[int, EncodedChat] = {}
    placed: dict[int, tuple[str, list[PlacedSlot], Route]] = {}
    for index, conversation in enumerate(conversations):
        text = render(tokenizer, conversation)
        try:
            placed[index] = (text, *place_contents(tokenizer, conversation, text))
        except ContentError as error:
            encoded[index] = _by_prefix_delta(tokenizer, conversation, error)
    if placed:
        batch = tokenizer(
            [text for text, _, _ in placed.values()],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        for row, index in enumerate(placed):
            ids, offsets = batch["input_ids"][row], batch["offset_mapping"][row]
            encoded[index] = _project(conversations[index], *placed[index], ids, offsets, straddle)
    return [encoded[index] for index in range(len(conversations))]


def _by_prefix_delta(tokenizer: Any, conversation: Conversation, uncertain: ContentError) -> EncodedChat:
    try:
        return prefix_delta.encode_chat(tokenizer, conversation)
    except ChatspanError as error:
        uncertain.args = (f"{uncertain.message}; prefix delta cannot tell either: {error.message}",)
        raise uncertain from error


def _project(
    conversation: Conversation,
    text: str,
    placed: Sequence[PlacedSlot],
    route: Route,
    ids: Sequence[int],
    offset_mapping: Sequence[tuple[int, int]],
    straddle: Straddle,
) -> EncodedChat:
    offsets = Offsets(offset_mapping, text_length=len(text))
    spans = _assistant_spans(conversation, placed)
    owners = [message_index for message_index, of_message in spans.items() for _ in of_message]
    chars = [span for of_message in spans.values() for span in of_message]
    try:
        tokens = _tokens(text, offsets, chars, straddle)
    except StraddleError as error:
        owner = next(i for i, (start_char, _) in zip(owners, chars, strict=True) if start_char == error.start_char)
        raise error.at(**conversation.place(owner)) from None
    content_tokens: list[list[TokenRange]] = [[] for _ in conversation.messages]
    for owner, (start_char, end_char), (start, end) in zip(owners, chars, tokens, strict=True):
        if start >= end:
            raise StraddleError(
                f"no token lies in the content {text[start_char:end_char]!r:.60}, so nothing of it would be "
                'trained; straddle="touch" takes in the tokens that it shares with the scaffold',
                **conversation.place(owner),
            )
        content_tokens[owner].append((start, end))
    return EncodedChat(
        input_ids=np.array(ids, dtype=np.int64),
        content_tokens=content_tokens,
        end_of_turn=_end_of_turn(conversation, text, placed, offsets),
        content_order=[place.slot.message_index for place in placed],
        route=route,
    )


def _tokens(text: str, offsets: Offsets, chars: Sequence[CharRange], straddle: Straddle) -> list[TokenRange]:
    """The tokens of each range of characters."""

    def project(ranges: Sequence[CharRange], policy: Literal["touch", "inside", "error"]) -> list[TokenRange]:
        spans = np.array(ranges, dtype=np.int64).reshape(-1, 2)
        return [(start, end) for start, end in token_spans(offsets, spans, straddle=policy).tolist()]

    if straddle != "blanks":
        return project(chars, straddle)
    # In are the tokens that touch the content and are inside of it and the blanks around it.
    touched = project(chars, "touch")
    inside = project([_with_blanks_around(text, span) for span in chars], "inside")
    both = zip(touched, inside, strict=True)
    return [(max(t_start, i_start), min(t_end, i_end)) for (t_start, t_end), (i_start, i_end) in both]


def _with_blanks_around(text: str, span: CharRange) -> CharRange:
    start, end = span
    while start > 0 and text[start - 1].isspace():
        start -= 1
    while end < len(text) and text[end].isspace():
        end += 1
    return (start, end)


def _assistant_spans(conversation: Conversation, placed: Sequence[PlacedSlot]) -> dict[int, list[CharRange]]:
    """The characters of each assistant's content, parts that adjoin made one."""
    spans: dict[int, list[CharRange]] = {}
    seen = set()
    for place in placed:
        index = place.slot.message_index
        if conversation.messages[index]["role"] != "assistant":
            continue
        if place.slot in seen:
            raise AmbiguousContentError(
                f"the template writes the content {place.slot.text!r:.60} more than once", **conversation.place(index)
            )
        seen.add(place.slot)
        of_message = spans.setdefault(index, [])
        if of_message and of_message[-1][1] == place.span[0]:
            of_message[-1] = (of_message[-1][0], place.span[1])
        else:
            of_message.append(place.span)
    return spans


def _end_of_turn(conversation: Conversation, text: str, placed: Sequence[PlacedSlot], offsets: Offsets) -> TokenRange:
    """The tokens behind the last content, to the last one that is not blank (all, if all are)."""
    if not placed or placed[-1].slot.message_index != len(conversation.messages) - 1:
        return (len(offsets), len(offsets))
    start_char = placed[-1].span[1]
    tail = text[start_char:]
    end_char = start_char + len(tail.rstrip() or tail)
    start, end = token_spans(offsets, [(start_char, end_char)])[0].tolist()
    return (start, end)
