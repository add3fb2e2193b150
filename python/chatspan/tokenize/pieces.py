"""A render tokenized in pieces: some as plain text, some as ids that are given, the rest as always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan._core import Offsets
from chatspan.tokenize.backends import Backend
from chatspan.tokenize.token_offsets import CharRange, token_offsets
from chatspan.tokenize.tokens import Tokens

# ids, and the characters of each
Lists = tuple[list[int], list[CharRange]]
# Characters of all texts of a call.
_SHORT = 16_384
# int64 [N], int64 [N, 2]
Arrays = tuple[NDArray[np.int64], NDArray[np.int64]]


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
    parts = [_NONE]
    given: dict[int, tuple[int, int]] = {}
    length = position = 0

    def add(part: Arrays) -> None:
        nonlocal length
        parts.append(part)
        length += len(part[0])

    for piece in [*sorted(pieces, key=lambda piece: piece.start_char), Piece(len(text), len(text))]:
        inside = [cut for cut in cuts if position < cut < piece.start_char]
        for start, end in pairwise([position, *inside, piece.start_char]):
            if start < end:
                add(_as_always(backend, text, start, end))
        if piece.tokens is not None:
            add(_arrays(*piece.tokens))
            if piece.message_index is not None:
                given[piece.message_index] = (length - len(piece.tokens[0]), length)
        elif piece.end_char > piece.start_char:
            add(_as_plain_text(tokenizer, backend, text, piece.start_char, piece.end_char))
        position = piece.end_char
    ids = np.concatenate([ids for ids, _ in parts])
    offsets = np.concatenate([offsets for _, offsets in parts])
    return Tokens(ids, Offsets(offsets, text_length=len(text)), backend.name, given=given)


def _arrays(ids: Sequence[int], offsets: Sequence[CharRange]) -> Arrays:
    return np.array(ids, dtype=np.int64), np.array(offsets, dtype=np.int64).reshape(-1, 2)


_NONE: Arrays = _arrays([], [])


def _encoded(backend: Backend, texts: Sequence[str]) -> list[Arrays]:
    # Waking threads takes longer than such texts do.
    is_short = sum(map(len, texts)) < _SHORT
    found = [backend.encode_batch([text])[0] for text in texts] if is_short else backend.encode_batch(texts)
    return [(tokens.input_ids, tokens.table.to_array().astype(np.int64)) for tokens in found]


def _as_always(backend: Backend, text: str, start: int, end: int) -> Arrays:
    if start == 0:
        return _encoded(backend, [text[:end]])[0]
    own = text[start:end]
    # One call for all that is needed: a newline in front of another one mostly becomes one token with it.
    [(newline, _), (ids, offsets), *bare] = _encoded(backend, ["\n", "\n" + own, *([own] if own[0] == "\n" else [])])
    length = len(newline)
    if np.array_equal(ids[:length], newline):
        # A token may begin in the newline, where it has no character of its own.
        return ids[length:], np.maximum(offsets[length:] - 1, 0) + start
    [(bare_ids, bare_offsets)] = bare or _encoded(backend, [own])
    return bare_ids, bare_offsets + start


def _as_plain_text(tokenizer: Any, backend: Backend, text: str, start: int, end: int) -> Arrays:
    plain = text[start:end]
    ids = backend.encode_plain(plain)
    if start > 0:
        [(newline, _)] = _encoded(backend, ["\n"])
        behind = backend.encode_plain("\n" + plain)
        if behind[: len(newline)] == newline.tolist():
            ids = behind[len(newline) :]
    found = token_offsets(tokenizer, ids, plain)
    found += [(0, len(plain))] * (len(ids) - len(found)) if not found else [found[-1]] * (len(ids) - len(found))
    found_ids, offsets = _arrays(ids, found)
    return found_ids, offsets + start
