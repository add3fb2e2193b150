"""A render tokenized in pieces: some as plain text, some as ids that are given, the rest as always."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chatspan.backends import Backend
from chatspan.errors import ControlTokenError
from chatspan.origins import Run, field_runs
from chatspan.token_offsets import CharRange, token_offsets
from chatspan.tokens import Tokens, tokens_of

# ids, and the characters of each
Lists = tuple[list[int], list[CharRange]]


@dataclass(frozen=True)
class Piece:
    """Characters of the render that are not tokenized as always.

    Attributes:
        tokens: the ids and the characters of the render that they stand for; ``None``: encode the text as plain text
            in which there are no control tokens.
    """

    start_char: int
    end_char: int
    tokens: Lists | None = None


def encode_pieces(tokenizer: Any, backend: Backend, text: str, pieces: Sequence[Piece]) -> Tokens:
    """The ids and offsets of a text, some pieces of which are not tokenized as always.

    The pieces do not overlap. As transformers does with marked control tokens (``encode_marked_chat``), each piece but
    the first is encoded behind a newline that is taken off again, so that none is taken for a text's beginning.

    Raises:
        ControlTokenError: a tokenizer makes the control token out of plain text.
    """
    ids: list[int] = []
    offsets: list[CharRange] = []

    def add(tokens: Lists) -> None:
        ids.extend(tokens[0])
        offsets.extend(tokens[1])

    position = 0
    for piece in [*sorted(pieces, key=lambda piece: piece.start_char), Piece(len(text), len(text))]:
        add(_as_always(backend, text, position, piece.start_char))
        if piece.tokens is not None:
            add(piece.tokens)
        elif piece.end_char > piece.start_char:
            add(_as_plain_text(tokenizer, backend, text, piece.start_char, piece.end_char))
        position = piece.end_char
    return tokens_of(ids, offsets, len(text), backend.name)


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
    [(newline, _), (ids, offsets), (bare_ids, bare_offsets)] = _lists(
        backend, ["\n", "\n" + text[start:end], text[start:end]]
    )
    if ids[: len(newline)] == newline:
        behind = zip(ids[len(newline) :], offsets[len(newline) :], strict=True)
        shifted = [(i, (max(first - 1, 0) + start, last - 1 + start)) for i, (first, last) in behind]
        return [i for i, _ in shifted], [span for _, span in shifted]
    return bare_ids, [(first + start, last + start) for first, last in bare_offsets]


def _as_plain_text(tokenizer: Any, backend: Backend, text: str, start: int, end: int) -> Lists:
    plain = text[start:end]
    newline = _lists(backend, ["\n"])[0][0]
    ids = backend.encode_plain(plain)
    if start > 0:
        behind = backend.encode_plain("\n" + plain)
        if behind[: len(newline)] == newline:
            ids = behind[len(newline) :]
    if tokenizer.convert_tokens_to_ids(plain) in ids:
        raise ControlTokenError(
            f"{plain!r} cannot be escaped: the tokenizer makes the control token out of plain text", start_char=start
        )
    found = token_offsets(tokenizer, ids, plain)
    found += [(0, len(plain))] * (len(ids) - len(found)) if not found else [found[-1]] * (len(ids) - len(found))
    return ids, [(first + start, last + start) for first, last in found]


def control_tokens(tokenizer: Any, source: str) -> tuple[str, ...]:
    """The tokens that have a meaning in a render: HF's ``_get_control_tokens``.

    The special tokens, and the added tokens that the template's text contains, blanks aside; or those that the
    tokenizer names in ``chat_control_tokens``.
    """
    added = tokenizer.added_tokens_decoder.values()
    named = getattr(tokenizer, "chat_control_tokens", None)
    if named is not None:
        return tuple(token.content for token in added if token.special or token.content in set(named))
    literal = _literal_text(source)
    return tuple(
        token.content for token in added if token.special or (token.content in literal and not token.content.isspace())
    )


@functools.lru_cache(maxsize=256)
def _literal_text(source: str) -> str:
    """The text that a template's source itself writes."""
    import jinja2.nodes

    from chatspan.chat_template import compiled

    tree = compiled(source).tree
    literals = {node.data for node in tree.find_all(jinja2.nodes.TemplateData)}
    literals |= {node.value for node in tree.find_all(jinja2.nodes.Const) if isinstance(node.value, str)}
    return "\0".join(literals)


def find_control_tokens(text: str, ranges: Iterable[CharRange], tokens: tuple[str, ...]) -> list[CharRange]:
    """The control tokens that stand in the given ranges of a text, the longest first where several begin at once."""
    pattern = _pattern(tokens)
    found = []
    for start, end in ranges:
        found += [match.span() for match in pattern.finditer(text, start, end)]
    return found


def control_tokens_of_fields(runs: Sequence[Run], text: str, controls: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """Control tokens that stand whole in the text of one field, and that field's message."""
    found = []
    fields: list[list[Any]] = []
    for start, end, origin, at in field_runs(runs):
        if not isinstance(origin, str):
            continue
        last = fields[-1] if fields else None
        if last is not None and last[1] == start and last[2] is origin and at >= 0 and last[3] == at:
            last[1], last[3] = end, at + end - start
        else:
            fields.append([start, end, origin, at + end - start if at >= 0 else -1])
    for start, end, origin, _ in fields:
        spans = find_control_tokens(text, [(start, end)], controls)
        found += [(first, last, origin._message_index) for first, last in spans]
    return found


@functools.lru_cache(maxsize=64)
def _pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
