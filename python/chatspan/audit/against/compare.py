"""Which tokens a library trains that chatspan does not, and the other way round, as text."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from chatspan.audit.against.peer import PeerRow
from chatspan.audit.against.texts import same_tokens
from chatspan.audit.findings import Finding
from chatspan.encoding import Encoding
from chatspan.kinds import Kind

THEIRS = "only it trains"
OURS = "only chatspan trains"

# Characters of a difference, and around it, that are quoted.
_LONGEST = 100
_AROUND = 25
# What a quoted difference stands between.
OPEN, CLOSE = "⟦", "⟧"

_KIND_NAMES = {
    Kind.CONTENT: "content",
    Kind.REASONING: "reasoning",
    Kind.TOOL_CALL: "tool calls",
    Kind.END_OF_TURN: "the end of turns",
}


def differences(
    encoding: Encoding, ours: NDArray[np.bool_], peer: PeerRow, controls: Collection[int], tokenizer: object
) -> Iterator[Finding]:
    """The tokens that one of both trains and the other does not, a run of one kind each; tokens in ``amount``.

    Args:
        ours: bool ``[T]``, what chatspan trains.
        controls: ids of control tokens, between which other renders are compared.
    """
    ids = encoding.input_ids.tolist()
    is_same = ids == list(peer.input_ids)
    at = np.arange(len(ids)) if is_same else same_tokens(ids, peer.input_ids, controls)
    theirs: NDArray[np.bool_] = np.zeros(len(ids), dtype=bool)
    theirs[at[(at >= 0) & peer.mask]] = True
    written: NDArray[np.bool_] = np.zeros(len(ids), dtype=bool)
    written[at[at >= 0]] = True
    whole = _untrained_turns(encoding, ours, theirs)
    for side, tokens in ((THEIRS, theirs & ~ours), (OURS, ours & ~theirs)):
        for what, run in _runs(encoding, ours, tokens, written, whole if side == OURS else frozenset()):
            index = int(encoding.message_index[run[0]])
            yield Finding(
                side, what, "note", "", index if index >= 0 else None, _quote(encoding, run), len(run), "tokens"
            )
    yield from _unknown_text(encoding, at, peer, tokenizer)


def _untrained_turns(encoding: Encoding, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> frozenset[int]:
    """The messages of which we train something, and they nothing."""
    trained, known = (set(encoding.message_index[mask].tolist()) for mask in (ours, theirs))
    return frozenset(trained - known)


def _runs(
    encoding: Encoding,
    ours: NDArray[np.bool_],
    tokens: NDArray[np.bool_],
    written: NDArray[np.bool_],
    whole: Collection[int],
) -> Iterator[tuple[str, list[int]]]:
    """Tokens next to each other that are of one kind, and its name."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i in np.flatnonzero(ours).tolist():
        index = int(encoding.message_index[i])
        first.setdefault(index, i)
        last[index] = i

    def name(token: int) -> str:
        index, kind = int(encoding.message_index[token]), Kind(int(encoding.kind[token]))
        if index in whole:
            return "whole turns"
        if not written[token]:
            return "text that it does not render"
        if index < 0:
            return "text of no message"
        if encoding.roles[index] != "assistant":
            return f"text of {encoding.roles[index]} messages"
        if kind in _KIND_NAMES:
            return _KIND_NAMES[kind]
        if index in first and token > last[index]:
            return "what follows the end of turns"
        if index not in first or token < first[index]:
            return "headers"
        return "text that the template writes inside of turns"

    chosen = np.flatnonzero(tokens).tolist()
    keys = [(i - n, int(encoding.message_index[i]), name(i)) for n, i in enumerate(chosen)]
    for (_, _, what), group in groupby(zip(keys, chosen, strict=True), key=lambda pair: pair[0]):
        yield what, [i for _, i in group]


def _unknown_text(encoding: Encoding, at: NDArray[np.int64], peer: PeerRow, tokenizer: object) -> Iterator[Finding]:
    """Trained tokens of another render that ours has no counterpart of."""
    alone = np.flatnonzero((at < 0) & peer.mask).tolist()
    for _, group in groupby(enumerate(alone), key=lambda pair: pair[1] - pair[0]):
        run = [i for _, i in group]
        before = at[: run[0]][at[: run[0]] >= 0]
        index = int(encoding.message_index[before[-1]]) if len(before) else None
        text = tokenizer.decode([peer.input_ids[i] for i in run])  # type: ignore[attr-defined]
        yield Finding(
            THEIRS,
            "text that chatspan's template does not write",
            "note",
            "",
            index if index is None or index >= 0 else None,
            f"{OPEN}{_elided(str(text))}{CLOSE}",
            len(run),
            "tokens",
        )


def _quote(encoding: Encoding, run: list[int]) -> str:
    start, end = int(encoding.offsets[run[0], 0]), int(encoding.offsets[run[-1], 1])
    text = encoding.text
    return f"{text[max(0, start - _AROUND) : start]}{OPEN}{_elided(text[start:end])}{CLOSE}{text[end : end + _AROUND]}"


def _elided(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}…{text[-half:]}"
