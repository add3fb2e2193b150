"""Control tokens that have characters of the caller's data: encoded as plain text, or an error.

Judged is what the tokenizer made of the render, by the characters that each id stands for. So it does not matter how a
control token came about: written in a value or a key, over the border of two fields, by a template that replaces and
joins, or by the tokenizer's normalizer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from chatspan._core import control_tokens_in
from chatspan.attribute.attributed import AttributedRender
from chatspan.errors import ControlTokenError
from chatspan.render.origins import Path
from chatspan.tokenize.control_tokens import find_control_tokens, touches
from chatspan.tokenize.pieces import Piece
from chatspan.tokenize.token_offsets import CharRange
from chatspan.tokenize.tokens import Tokens

SpecialTokens = Literal["as_rendered", "escape", "error"]

# A piece is cut again where the tokenizer makes a control token out of plain text; a cut or two are enough.
_ROUNDS = 16


class _Hit(NamedTuple):
    """A control token with characters of the data, and the characters that it stands for."""

    start_char: int
    end_char: int
    token: str


def without_control_tokens_of_data(
    attributed: AttributedRender,
    tokens: Tokens,
    pieces: Sequence[Piece],
    tokenize: Callable[[Sequence[Piece]], Tokens],
    *,
    error: bool,
) -> Tokens:
    """The tokens of a render in which no control token has a character of the caller's data.

    Where one would, all of its characters are plain text, the template's own among them; but a control token that the
    template wrote in full stays one, whatever stands beside it.

    Args:
        tokens: those of the render with these pieces; the pieces whose ids are given are left alone.
        tokenize: the tokens with other pieces.
        error: whether the first one is an error.

    Raises:
        ControlTokenError: with its place; also where the tokenizer makes a control token out of any plain text.
    """
    found = _hits(attributed, tokens, pieces)
    if found and error:
        raise _error(attributed, found[0], 'use special_tokens="escape" to encode it as plain text')
    for _ in range(_ROUNDS):
        if not found:
            return tokens
        pieces = _escaped(attributed, pieces, found)
        tokens = tokenize(pieces)
        found = _hits(attributed, tokens, pieces)
    if found:
        raise _not_escaped(attributed, found[0])
    return tokens


def _hits(attributed: AttributedRender, tokens: Tokens, pieces: Sequence[Piece]) -> list[_Hit]:
    controls, data = attributed.conventions.control_ids, attributed.data
    indices = control_tokens_in(tokens.input_ids, tokens.table, controls.mask, data)
    if not indices:
        return []
    text, table = attributed.render.text, tokens.table.to_array()
    given = [piece for piece in pieces if piece.tokens is not None]
    found = []
    for index in indices:
        start, end = table[index].tolist()
        token_id = int(tokens.input_ids[index])
        token = controls.tokens[token_id]
        if any(piece.start_char <= start and end <= piece.end_char for piece in given):
            continue
        if not token.isspace():
            # Some tokens take the blanks beside them along.
            core = text[start:end].strip()
            start += len(text[start:end]) - len(text[start:end].lstrip()) if core else 0
            end = start + len(core) if core else end
        if touches(data, start, max(end, start + 1)) and controls.is_written(token_id, text[start:end]):
            found.append(_Hit(start, end, token))
    return found


def _escaped(attributed: AttributedRender, pieces: Sequence[Piece], hits: Sequence[_Hit]) -> list[Piece]:
    """The pieces, and those in which the hits are plain text. What was plain text already is cut once more."""
    pieces = sorted(pieces, key=lambda piece: piece.start_char)
    starts = [piece.start_char for piece in pieces]
    cuts: dict[int, set[int]] = {}
    added: list[Piece] = []
    for hit in hits:
        around = bisect_right(starts, hit.start_char) - 1
        if around >= 0 and hit.end_char <= pieces[around].end_char:
            cuts.setdefault(around, set()).add(_cut(attributed, pieces[around], hit))
        else:
            added += [Piece(start, end) for start, end in _parts(attributed, hit)]
    for index, piece in enumerate(pieces):
        edges = [piece.start_char, *sorted(cuts.get(index, ())), piece.end_char]
        added += [Piece(start, end) for start, end in pairwise(edges)] if index in cuts else [piece]
    return added


def _cut(attributed: AttributedRender, piece: Piece, hit: _Hit) -> int:
    """The character at which a piece is cut so that its text does not become this token."""
    cut = hit.start_char + 1 if hit.start_char + 1 < piece.end_char else hit.start_char
    if not piece.start_char < cut < piece.end_char:
        raise _not_escaped(attributed, hit)
    return cut


def _parts(attributed: AttributedRender, hit: _Hit) -> list[CharRange]:
    """The characters of a hit without the control tokens that the template's own text has in full."""
    text, data = attributed.render.text, attributed.data
    first, last = (int(data[:, 1].searchsorted(char, side="right")) for char in (hit.start_char, hit.end_char))
    if data[first, 0] <= hit.start_char and hit.end_char <= data[first, 1]:
        return [(hit.start_char, hit.end_char)]
    edges = [int(data[first - 1, 1]) if first else 0, *data[first : last + 1].reshape(-1).tolist(), len(text)]
    own = list(zip(edges[::2], edges[1::2], strict=True))
    parts: list[CharRange] = []
    position = hit.start_char
    for start, end in find_control_tokens(text, own, attributed.control_tokens):
        if start < hit.end_char and end > hit.start_char:
            if position < start:
                parts.append((position, start))
            position = end
    if position < hit.end_char:
        parts.append((position, hit.end_char))
    return parts


def _not_escaped(attributed: AttributedRender, hit: _Hit) -> ControlTokenError:
    advice = "it cannot be escaped: the tokenizer makes the control token from plain text; remove it from the text"
    return _error(attributed, hit, advice)


def _error(attributed: AttributedRender, hit: _Hit, advice: str) -> ControlTokenError:
    start, end, token = hit
    data = attributed.data
    first = max(start, int(data[data[:, 1].searchsorted(start, side="right"), 0]))
    message_index, path = attributed.field_at(first)
    received = attributed.render.text[start:end]
    where = f"message {message_index}" if message_index >= 0 else str(path[0])
    written = "" if received == token else f", which read {received!r}"
    error = ControlTokenError(
        f"{where}: its text holds the control token {token!r} ({_shown(path) or 'the message itself'}, characters "
        f"{start} to {end} of the render{written}); {advice}",
        message_index=message_index if message_index >= 0 else None,
        start_char=start,
    )
    error.path, error.end_char, error.received = path, end, received
    return error


def _shown(path: Path) -> str:
    """``tool_calls[0].function.arguments``"""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")
