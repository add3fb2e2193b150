"""Turns that no inference prompt leads to, and tokens that stand across the border of a prompt and its turn."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

from chatspan.attribute.prompts import Cause, OffPrompt, tag_start
from chatspan.audit.findings import Finding, Severity
from chatspan.encoding import Encoding
from chatspan.errors import TurnBoundaryError

OFF_PROMPT = "turns off their prompt"
BORDER = "tokens across the border of prompt and turn"

_DROP = 'off_prompt="drop_turn" of the collators does not train such turns'
_ONE_ROW_EACH = "give each such turn a row of its own that ends with it"
# What each cause means, and what to do.
_CAUSES: dict[Cause, tuple[str, str]] = {
    "another_opening": (
        "the template writes the turn after a different opening than it prompts with",
        "if inference uses other keywords, such as enable_thinking, put them into chat_template_kwargs",
    ),
    "reasoning_dropped": ("the row leaves out earlier reasoning that the prompt shows", _ONE_ROW_EACH),
    "system_moved": (
        "system text, tools or documents are not where the prompt shows them",
        "put system messages first; else " + _ONE_ROW_EACH,
    ),
    "history_rewritten": ("the row writes earlier messages differently than the prompt", _ONE_ROW_EACH),
    "no_prompt": (
        "the template renders no prompt for the turn",
        "put a user's message before it, or leave the turn out with loss_messages",
    ),
}
# Characters of each text that a quote shows, and around a token.
_SHOWN = 32
_AROUND = 20


def off_prompt_findings(
    encoding: Encoding, messages: Collection[int] | None, policy: Literal["keep", "error"]
) -> Iterator[Finding]:
    """The turns whose row does not begin with what inference would have shown, by cause.

    Args:
        messages: those that may be in the loss; ``None`` for all.
        policy: ``"error"`` makes them problems.
    """
    severity: Severity = "problem" if policy == "error" else "note"
    for index, found in encoding.off_prompt.items():
        if messages is not None and index not in messages:
            continue
        meaning, advice = _CAUSES[found.cause]
        yield Finding(
            OFF_PROMPT, f"{found.cause}: {meaning}", severity, f"{advice}; {_DROP}", index, _quote(encoding, found)
        )


def border_findings(encoding: Encoding, messages: Collection[int] | None) -> Iterator[Finding]:
    """The turns whose first characters stand in one token with the last ones of their prompt."""
    for index, token in border_tokens(encoding).items():
        if messages is None or index in messages:
            yield Finding(
                BORDER,
                "one token has the last characters of the prompt and the first of the turn",
                "note",
                'this token never occurs in inference; boundaries="as_prompted" (ChatEncoder, collators) tokenizes '
                "the prompt separately",
                index,
                _around(encoding, turn_start(encoding, index), token),
            )


def border_tokens(encoding: Encoding) -> dict[int, int]:
    """By message, the token that has characters of the prompt and of the turn."""
    tokens = encoding.border_tokens
    if not len(tokens):
        return {}
    first_chars, ends = encoding.offsets[tokens].T
    found: dict[int, int] = {}
    for index in assistants(encoding):
        start = turn_start(encoding, index)
        if start is not None:
            found.update((index, token) for token in tokens[(first_chars < start) & (start < ends)].tolist())
    return found


def turn_start(encoding: Encoding, index: int) -> int | None:
    """Where a turn starts; ``None`` where that cannot be told."""
    try:
        # Needs to know of no end.
        ranges = encoding.turn_ranges(index, end_of_turn="all")
    except TurnBoundaryError:
        return None
    return ranges[0][0] if ranges else None


def assistants(encoding: Encoding) -> list[int]:
    """The assistants' messages that have tokens."""
    present = set(encoding.message_index.tolist())
    return [index for index, role in enumerate(encoding.roles) if role == "assistant" and index in present]


def both_texts(encoding: Encoding, found: OffPrompt) -> tuple[str, str]:
    """What the prompt and the row have where they begin to differ, from the beginning of a tag on."""
    start = tag_start(encoding.text, found.start_char)
    shared = encoding.text[start : found.start_char] if found.start_char - start <= _AROUND else ""
    return _shortened(shared + found.prompt), _shortened(shared + found.row)


def _quote(encoding: Encoding, found: OffPrompt) -> str:
    prompt, row = both_texts(encoding, found)
    return f"row: {row}" if found.cause == "no_prompt" else f"prompt: {prompt} ¦ row: {row or 'ends here'}"


def _around(encoding: Encoding, border: int | None, token: int) -> str:
    """A token between ⟦ and ⟧, the border in it as ¦, and the text around it."""
    text, (start, end) = encoding.text, encoding.offsets[token].tolist()
    border = start if border is None else border
    return (
        f"{text[max(0, start - _AROUND) : start]}⟦{text[start:border]}¦{text[border:end]}⟧{text[end : end + _AROUND]}"
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
