"""A rendered chat with media → its tokens, and whose each of them is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chatspan._core import Offsets
from chatspan.attribute.attributed import AttributedRender
from chatspan.attribute.media import MediaPlace
from chatspan.errors import ExpansionError
from chatspan.media.expanded import ExpandedRender
from chatspan.media.placeholders import Placeholder
from chatspan.media.proof import proven
from chatspan.media.recording import ProcessorInputs, RecordedRow, text_made_of
from chatspan.tokenize.backends import Backend
from chatspan.tokenize.pieces import Piece, encode_pieces
from chatspan.tokenize.tokens import Tokens

# What tokenized a chat with media.
BACKEND = "processor"


class ExpandedChat(NamedTuple):
    """A chat as its processor tokenized it.

    Attributes:
        attributed: the text that the processor tokenized, and whose each of its characters is.
        places: the media, in the order of the text.
    """

    attributed: ExpandedRender
    tokens: Tokens
    places: Sequence[MediaPlace]


def expanded_chat(
    processor: Any,
    attributed: AttributedRender,
    found: Sequence[Placeholder],
    given: Callable[[], ProcessorInputs],
    row: RecordedRow,
) -> ExpandedChat:
    """What a processor made of a chat.

    Args:
        found: the placeholders of the render.
        given: what the processor is called with of this chat alone.
        row: what its tokenizer was handed, and gave.

    Raises:
        ExpansionError: see :func:`chatspan.media.proof.proven`.
    """
    expansions = proven(processor, attributed, found, row, lambda text: text_made_of(processor, given(), text))
    expanded = ExpandedRender(attributed, row.text, expansions)
    places = [
        MediaPlace(place, *each.part) for each, place in zip(expansions.placeholders, expansions.ranges, strict=True)
    ]
    tokens = Tokens(row.ids, Offsets(row.offsets, text_length=len(row.text)), BACKEND)
    return ExpandedChat(expanded, tokens, places)


def tokens_with_pieces(tokenizer: Any, backend: Backend, chat: ExpandedChat, pieces: Sequence[Piece]) -> Tokens:
    """The tokens of a chat, some pieces of which are not tokenized as always.

    Raises:
        ExpansionError: the tokenizer by itself makes other ids of the text than for the processor.
    """
    own, text = chat.tokens, chat.attributed.render.text
    again = encode_pieces(tokenizer, backend, text, ())
    # Special tokens that the processor had added stand for no characters.
    offsets = own.table.to_array()
    written = offsets[:, 1] > offsets[:, 0]
    inside = np.flatnonzero(written)
    first, last = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
    if not np.array_equal(own.input_ids[first:last], again.input_ids):
        raise ExpansionError(
            "the processor tokenizes its text in its own way, so no part of it can be tokenized differently: "
            'leave token_ids out, and use special_tokens="as_rendered"'
        )
    cut = encode_pieces(tokenizer, backend, text, pieces)
    edge = np.zeros((len(own.input_ids) - last, 2), dtype=np.int64)
    ids = np.concatenate([own.input_ids[:first], cut.input_ids, own.input_ids[last:]])
    table = np.concatenate([offsets[:first], cut.table.to_array(), edge])
    given = {index: (start + first, end + first) for index, (start, end) in cut.given.items()}
    return Tokens(ids, Offsets(table, text_length=len(text)), BACKEND, given=given)
