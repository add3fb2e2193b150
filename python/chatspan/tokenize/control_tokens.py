"""Control tokens: which a render has, and which of them have characters of the caller's data."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatspan.tokenize.token_offsets import CharRange

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


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


class ControlIds(NamedTuple):
    """The ids of control tokens.

    Attributes:
        tokens: the control tokens by id.
        mask: bool, by id: whether it is one.
        of_models: those that the tokenizer's model gives for other text, too: for what it does not know, and for
            single bytes.
        normalizer: the tokenizer's; ``None`` if it has none.
    """

    tokens: Mapping[int, str]
    mask: NDArray[np.bool_]
    of_models: frozenset[int]
    normalizer: Any

    def is_written(self, token_id: int, text: str) -> bool:
        """Whether an id that was made of this text is a control token that the text writes out.

        One that stands for an unknown character, or for a byte of it, is none.
        """
        if token_id not in self.of_models:
            return True
        token = self.tokens[token_id]
        normalize = str if self.normalizer is None else self.normalizer.normalize_str
        return text == token or normalize(text).strip() in (token, normalize(token).strip())


def control_ids(tokenizer: Any, controls: Iterable[str]) -> ControlIds:
    """The ids of these control tokens."""
    wanted = frozenset(controls)
    added = tokenizer.added_tokens_decoder.items()
    tokens = {int(index): str(token.content) for index, token in added if token.content in wanted}
    mask = np.zeros(max(tokens, default=-1) + 1, dtype=np.bool_)
    mask[list(tokens)] = True
    backend = getattr(tokenizer, "backend_tokenizer", None)
    unknown = (getattr(tokenizer, "unk_token", None), getattr(getattr(backend, "model", None), "unk_token", None))
    of_models = frozenset(index for index, token in tokens.items() if token in unknown or _BYTE.fullmatch(token))
    return ControlIds(tokens, mask, of_models, getattr(backend, "normalizer", None))


def structural_roles(roles: Iterable[str], controls: Iterable[str]) -> tuple[str, ...]:
    """The roles that may complete a control token, as in ``<|`` + role + ``|>``: those that hold none themselves."""
    controls = tuple(controls)
    return tuple(sorted({role for role in roles if not any(token in role for token in controls)}))


def find_control_tokens(text: str, ranges: Iterable[CharRange], tokens: tuple[str, ...]) -> list[CharRange]:
    """The control tokens that stand in the given ranges of a text, the longest first where several begin at once."""
    pattern = _pattern(tokens)
    found = []
    for start, end in ranges:
        found += [match.span() for match in pattern.finditer(text, start, end)]
    return found


def touches(data: NDArray[np.int64], start: int, end: int) -> bool:
    """Whether a range of characters has one of the data, given as rising ranges ``[N, 2]``."""
    following = int(np.searchsorted(data[:, 1], start, side="right"))
    return following < len(data) and int(data[following, 0]) < end


@functools.lru_cache(maxsize=64)
def _pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
