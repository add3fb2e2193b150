"""Sampled ids in place of a turn's text, so that a trainer sees the tokens that the model wrote."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from chatspan.errors import RolloutError, first_difference, quoted
from chatspan.rows.steps.plain import items_of
from chatspan.tokenize.token_offsets import CharRange, decode, token_offsets

_LARGEST_ID = 2**31 - 1
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

    Raises:
        RolloutError: they are no ids, or none of this tokenizer.
    """
    ids: list[int] = []
    known: set[int] = set()
    try:
        given = items_of(token_ids) if type(token_ids) is not range and isinstance(token_ids, Sequence) else token_ids
        for each in given:
            ids.append(index(each))
            if ids[-1] not in known:
                if not _has(tokenizer, ids[-1]):
                    break
                known.add(ids[-1])
    # Also what an object of a row raises when it is asked for its items.
    except Exception:
        ids = []
    if not ids:
        raise RolloutError(
            f"token_ids must be the ids of the turn, whole numbers, at least one, got {quoted(token_ids)}: give the "
            "ids that were sampled, or leave token_ids out"
        )
    wrong = ids[-1]
    if not 0 <= wrong <= _LARGEST_ID:
        raise RolloutError(f"token_ids has {quoted(wrong)}, which is no id: give the ids that were sampled, from 0 on")
    if wrong not in known:
        raise RolloutError(
            f"token_ids[{len(ids) - 1}] is {wrong}, which is no id of the tokenizer, whose {len(tokenizer):,} tokens "
            "have other ones: give the tokenizer that they were sampled with"
        )
    return ids


def _has(tokenizer: Any, token_id: int) -> bool:
    return 0 <= token_id <= _LARGEST_ID and tokenizer.convert_ids_to_tokens(token_id) is not None


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
        f"the render says {turn[at : at + 40]!r}; token_ids_check=False takes them as they are"
    )
