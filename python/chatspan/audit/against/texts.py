"""Where two renders differ, and which of their tokens are the same."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_EXCERPT = 60
# Lines behind the first difference that are compared character by character.
_LINES = 12


def text_difference(one: str, other: str) -> str:
    """The first place at which two texts differ.

    Example:
        >>> text_difference("Hi. <think></think>Yes", "Hi. Yes")
        "after 'Hi. ' '<think></think>' is missing"
    """
    lines, others = one.splitlines(keepends=True), other.splitlines(keepends=True)
    at = next((i for i, (a, b) in enumerate(zip(lines, others, strict=False)) if a != b), min(len(lines), len(others)))
    before = "".join(lines[:at])
    # Of what follows, so much that a few lines that were put in or left out come to light.
    rest, other_rest = "".join(lines[at : at + _LINES]), "".join(others[at : at + _LINES])
    matcher = difflib.SequenceMatcher(None, rest, other_rest, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        behind = repr((before + rest[:a])[-_EXCERPT // 2 :])
        gone, new = repr(rest[a:b][:_EXCERPT]), repr(other_rest[c:d][:_EXCERPT])
        if tag == "delete":
            return f"after {behind} {gone} is missing"
        if tag == "insert":
            return f"after {behind} there is {new} more"
        return f"after {behind} {gone} became {new}"
    return "after an identical part"


def same_tokens(ours: Sequence[int], theirs: Sequence[int], controls: Collection[int]) -> NDArray[np.int64]:
    """For each of their tokens which of ours it is; -1 for those that we do not have. int64 ``[len(theirs)]``.

    Compared are first the pieces between control tokens, then the tokens of pieces that differ.

    Example:
        >>> same_tokens([1, 5, 6, 1, 7], [1, 5, 8, 6, 1, 7], {1}).tolist()
        [0, 1, -1, 2, 3, 4]
    """
    found = np.full(len(theirs), -1, dtype=np.int64)
    mine, other = _pieces(ours, controls), _pieces(theirs, controls)
    texts, other_texts = ([tuple(ids[a:b]) for a, b in edges] for ids, edges in ((ours, mine), (theirs, other)))
    matcher = difflib.SequenceMatcher(None, texts, other_texts, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag in ("insert", "delete"):
            continue
        start, stop = mine[a][0], mine[b - 1][1]
        at, end = other[c][0], other[d - 1][1]
        if tag == "equal":
            found[at:end] = np.arange(start, stop)
            continue
        inner = difflib.SequenceMatcher(None, ours[start:stop], theirs[at:end], autojunk=False)
        for block in inner.get_matching_blocks():
            found[at + block.b : at + block.b + block.size] = np.arange(block.size) + start + block.a
    return found


def _pieces(ids: Sequence[int], controls: Collection[int]) -> list[tuple[int, int]]:
    edges = [0, *(i for i, token in enumerate(ids) if token in controls and i), len(ids)]
    return [(a, b) for a, b in pairwise(edges) if a < b]
