"""Sampled ids in place of a turn's text, so that a trainer sees the tokens that the model wrote."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import islice
from operator import index
from typing import Any

from chatspan.errors import RolloutError, first_difference, quoted
from chatspan.rows.steps.plain import items_of
from chatspan.tokenize.token_offsets import CharRange, decode, token_offsets

_LARGEST_ID = 2**31 - 1
_AT_ONCE = 4096
# The ids of a tokenizer that were met.
_KNOWN: weakref.WeakKeyDictionary[Any, set[int]] = weakref.WeakKeyDictionary()
# A piece of a turn before the template trimmed it, and the characters that are left of it in the turn.
Untrimmed = tuple[str, int, int]


def sampled_offsets(
    tokenizer: Any, token_ids: Sequence[int], turn: str, untrimmed: Sequence[Untrimmed], *, check: bool
) -> list[CharRange]:
    """The characters of a rendered turn that each sampled id stands for.

    Args:
        token_ids: the sampled ids, stop token included.
        turn: the turn as the template wrote it, its end included.
        untrimmed: the turn before the template trimmed its fields, piece by piece.
        check: whether ids of another text are an error; if not, they are laid out from both ends as far as they fit.

    Raises:
        RolloutError: the ids are not those of the turn, or are no ids.
    """
    ids = whole_ids(tokenizer, token_ids)
    decoded = decode(tokenizer, ids)
    whole = "".join(piece for piece, _, _ in untrimmed)
    if decoded.lstrip(" ") == turn.lstrip(" ") and decoded.endswith(turn.lstrip(" ")):
        found = token_offsets(tokenizer, ids, turn)
        if len(found) == len(ids):
            return found
    if decoded == whole:
        found = token_offsets(tokenizer, ids, whole)
        if len(found) == len(ids):
            kept = _kept_characters(untrimmed)
            return [(kept[start], max(kept[start], kept[end])) for start, end in found]
    if check:
        raise RolloutError(_difference(decoded, turn))
    return _from_both_ends(tokenizer, ids, turn)


def whole_ids(tokenizer: Any, token_ids: Any) -> list[int]:
    """Ids of a tokenizer as numbers of Python.

    Args:
        tokenizer: whose ids they must be; ``None`` where that is looked at elsewhere.

    Raises:
        RolloutError: they are no ids, or none of this tokenizer.
    """
    ids: list[int] = []
    wrong: int | None = None
    try:
        given = items_of(token_ids) if type(token_ids) is not range and isinstance(token_ids, Sequence) else token_ids
        items = iter(given)
        # Of a range, or what has no end, no more is read than to what cannot be one.
        while wrong is None and (some := [index(each) for each in islice(items, _AT_ONCE)]):
            wrong = _first_wrong(tokenizer, some, len(ids))
            ids += some
    # Also what an object of a row raises when it is asked for its items.
    except Exception:
        ids = []
    if not ids:
        raise RolloutError(
            f"token_ids must be the ids of the turn, whole numbers, at least one, got {quoted(token_ids)}: pass the "
            "ids that were sampled, or leave token_ids out"
        )
    if wrong is None:
        return ids
    if not 0 <= ids[wrong] <= _LARGEST_ID:
        raise RolloutError(
            f"token_ids has {quoted(ids[wrong])}, which is not an id: pass the ids that were sampled, from 0 on"
        )
    raise RolloutError(
        f"token_ids[{wrong}] is {ids[wrong]}, which is not one of the tokenizer's "
        f"{len(tokenizer):,} ids: pass the tokenizer that they were sampled with"
    )


def _first_wrong(tokenizer: Any, ids: Sequence[int], before: int) -> int | None:
    """The place of the first number that is no id of the tokenizer, behind so many that are."""
    different = set(ids)
    if tokenizer is None:
        is_known = min(different) >= 0 and max(different) <= _LARGEST_ID
    else:
        # A tokenizer gets more tokens, and never fewer.
        known = _KNOWN.setdefault(tokenizer, set())
        new = [each for each in different - known if _is_id(tokenizer, each)]
        known.update(new)
        is_known = different <= known
    return None if is_known else next((before + at for at, each in enumerate(ids) if not _is_id(tokenizer, each)), None)


def _is_id(tokenizer: Any, number: int) -> bool:
    is_possible = 0 <= number <= _LARGEST_ID
    return is_possible and (tokenizer is None or tokenizer.convert_ids_to_tokens(number) is not None)


def _kept_characters(untrimmed: Sequence[Untrimmed]) -> list[int]:
    """For each character before trimming, and for the end, the character of the turn where it is now."""
    kept: list[int] = []
    for piece, start, end in untrimmed:
        kept += range(start, end) if end > start else [start] * len(piece)
    return [*kept, untrimmed[-1][2] if untrimmed else 0]


def _from_both_ends(tokenizer: Any, ids: Sequence[int], turn: str) -> list[CharRange]:
    front = token_offsets(tokenizer, ids, turn)[: len(ids)]
    if len(front) == len(ids):
        return front
    start = front[-1][1] if front else 0
    end, back = len(turn), []
    for token_id in reversed(ids[len(front) :]):
        text = decode(tokenizer, [token_id])
        if not text or end - len(text) < start or not turn[start:end].endswith(text):
            break
        back.append((end - len(text), end))
        end -= len(text)
    middle = len(ids) - len(front) - len(back)
    return [*front, *[(start, end)] * middle, *reversed(back)]


def _difference(decoded: str, turn: str) -> str:
    at = first_difference(decoded, turn)
    return (
        f"token_ids do not decode to the turn: from its character {at} on they say {decoded[at : at + 40]!r}, "
        f"the render says {turn[at : at + 40]!r}; use token_ids_check=False to take them as they are"
    )
