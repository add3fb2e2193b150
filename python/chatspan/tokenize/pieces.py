"""A render tokenized in pieces: some as plain text, some as ids that are given, the rest as always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from chatspan.tokenize.backends import Backend
from chatspan.tokenize.token_offsets import CharRange, token_offsets
from chatspan.tokenize.tokens import Tokens, tokens_of

# ids, and the characters of each
Lists = tuple[list[int], list[CharRange]]


@dataclass(frozen=True)
class Piece:
    """Characters of the render that are not tokenized as always.

    Attributes:
        tokens: the ids and the characters of the render that they stand for; ``None``: encode the text as plain text
            in which there are no control tokens.
        message_index: the message whose turn the ids were sampled for.
    """

    start_char: int
    end_char: int
    tokens: Lists | None = None
    message_index: int | None = None


def encode_pieces(
    tokenizer: Any, backend: Backend, text: str, pieces: Sequence[Piece], cuts: Sequence[int] = ()
) -> Tokens:
    """The ids and offsets of a text, some pieces of which are not tokenized as always.

    The pieces do not overlap. As transformers does with marked control tokens (``encode_marked_chat``), each piece but
    the first is encoded behind a newline that is taken off again, so that none is taken for a text's beginning.

    Args:
        cuts: characters, rising, at which the text is cut, too: what is on either side is tokenized apart.
    """
    ids: list[int] = []
    offsets: list[CharRange] = []
    given: dict[int, tuple[int, int]] = {}

    def add(tokens: Lists) -> None:
        ids.extend(tokens[0])
        offsets.extend(tokens[1])

    position = 0
    for piece in [*sorted(pieces, key=lambda piece: piece.start_char), Piece(len(text), len(text))]:
        inside = [cut for cut in cuts if position < cut < piece.start_char]
        for start, end in pairwise([position, *inside, piece.start_char]):
            add(_as_always(backend, text, start, end))
        if piece.tokens is not None:
            if piece.message_index is not None:
                given[piece.message_index] = (len(ids), len(ids) + len(piece.tokens[0]))
            add(piece.tokens)
        elif piece.end_char > piece.start_char:
            add(_as_plain_text(tokenizer, backend, text, piece.start_char, piece.end_char))
        position = piece.end_char
    return tokens_of(ids, offsets, len(text), backend.name, given)


def _lists(backend: Backend, texts: Sequence[str]) -> list[Lists]:
    return [
        (tokens.input_ids.tolist(), [(start, end) for start, end in tokens.table.to_array().tolist()])
        for tokens in backend.encode_batch(texts)
    ]


def _as_always(backend: Backend, text: str, start: int, end: int) -> Lists:
    if start >= end:
        return [], []
    if start == 0:
        return _lists(backend, [text[:end]])[0]
    [(newline, _), (ids, offsets)] = _lists(backend, ["\n", "\n" + text[start:end]])
    if ids[: len(newline)] == newline:
        behind = zip(ids[len(newline) :], offsets[len(newline) :], strict=True)
        shifted = [(i, (max(first - 1, 0) + start, last - 1 + start)) for i, (first, last) in behind]
        return [i for i, _ in shifted], [span for _, span in shifted]
    [(bare_ids, bare_offsets)] = _lists(backend, [text[start:end]])
    return bare_ids, [(first + start, last + start) for first, last in bare_offsets]


def _as_plain_text(tokenizer: Any, backend: Backend, text: str, start: int, end: int) -> Lists:
    plain = text[start:end]
    newline = _lists(backend, ["\n"])[0][0]
    ids = backend.encode_plain(plain)
    if start > 0:
        behind = backend.encode_plain("\n" + plain)
        if behind[: len(newline)] == newline:
            ids = behind[len(newline) :]
    found = token_offsets(tokenizer, ids, plain)
    found += [(0, len(plain))] * (len(ids) - len(found)) if not found else [found[-1]] * (len(ids) - len(found))
    return ids, [(first + start, last + start) for first, last in found]
