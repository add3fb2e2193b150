"""What a template changes of what was shown before: where, and why; as a record and as an error."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeVar

from chatspan.attribute.prompts import tag_start
from chatspan.errors import (
    HistoryRewrittenError,
    OpeningRewrittenError,
    ReasoningDroppedError,
    RolloutError,
)

OnRewrite = Literal["error", "split", "keep"]
Cause = Literal[
    "another_opening", "reasoning_dropped", "system_moved", "another_end", "turn_rewritten", "history_rewritten"
]
Error = TypeVar("Error", bound=RolloutError)
# Characters of the two texts that a record shows.
SHOWN = 40
# Of a tag that they have in common, at most so many more.
_LONGEST_TAG = 24

# What a template does, by cause.
SAID: dict[Cause, str] = {
    "another_opening": "the template opens the turn differently in the history than in the prompt",
    "reasoning_dropped": "the template drops the reasoning of earlier turns",
    "system_moved": "the template moves the system's text, tools or documents",
    "another_end": "the template ends the message differently when another follows",
    "turn_rewritten": "the template writes the turn differently when a message follows",
    "history_rewritten": "the template changes what was shown before",
}


class Rewrite(NamedTuple):
    """What the next prompt changes of what was shown before.

    Attributes:
        cause: ``"reasoning_dropped"``: of earlier turns; ``"another_opening"``: of a turn; ``"another_end"``: of one;
            ``"system_moved"``: a system's text, tools or documents stand elsewhere; ``"turn_rewritten"``: the turn's
            own text; ``"history_rewritten"``: anything else.
        message_index: the turn behind which it shows.
        start_char: where what was shown and the new prompt begin to differ.
        shown, written: what was shown from there on, and what the template writes: from the beginning of the tag that
            it is inside of, and 40 characters of each behind that.
    """

    cause: Cause
    message_index: int
    start_char: int
    shown: str
    written: str


def rewrite_at(cause: Cause, message_index: int, start_char: int, shown: str, written: str) -> Rewrite:
    """The record of two whole texts that begin to differ at a character.

    Example:
        >>> rewrite_at("another_opening", 1, 4, "a <think>", "a <tool> b")[3:]
        ('<think>', '<tool> b')
    """
    tag = tag_start(shown, start_char)
    begin = tag if start_char - tag <= _LONGEST_TAG else start_char
    end = start_char + SHOWN
    return Rewrite(cause, message_index, start_char, shown[begin:end], written[begin:end])


def rewritten_error(rewrite: Rewrite) -> HistoryRewrittenError:
    """The error of a rewrite that was to be none."""
    kinds: dict[str, type[HistoryRewrittenError]] = {
        "another_opening": OpeningRewrittenError,
        "reasoning_dropped": ReasoningDroppedError,
    }
    error = kinds.get(rewrite.cause, HistoryRewrittenError)(
        f"message {rewrite.message_index} (assistant): {SAID[rewrite.cause]}: from character {rewrite.start_char} on "
        f'{rewrite.shown!r} was shown, but the template now writes {rewrite.written!r}; use on_rewrite="split" to '
        "begin a new row there",
        message_index=rewrite.message_index,
        start_char=rewrite.start_char,
    )
    return described(error, rewrite.cause, rewrite.shown, rewrite.written)


def described(error: Error, kind: str, shown: str, written: str) -> Error:
    """The error with what happened, in a form that a program can read."""
    error.kind, error.shown, error.written = kind, shown, written
    return error
