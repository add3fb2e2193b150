"""Control tokens: which a render has, and which of them stand in the text of fields."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from chatspan.render.origins import Run, field_runs
from chatspan.tokenize.token_offsets import CharRange


def control_tokens(tokenizer: Any, literal_text: str) -> tuple[str, ...]:
    """The tokens that have a meaning in a render: HF's ``_get_control_tokens``.

    The special tokens, and the added tokens that the template's text contains, blanks aside; or those that the
    tokenizer names in ``chat_control_tokens``.

    Args:
        literal_text: the text that the template's source itself writes.
    """
    added = tokenizer.added_tokens_decoder.values()
    named = getattr(tokenizer, "chat_control_tokens", None)
    if named is not None:
        return tuple(token.content for token in added if token.special or token.content in set(named))
    return tuple(
        token.content
        for token in added
        if token.special or (token.content in literal_text and not token.content.isspace())
    )


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
