"""Rows that raise, by what was raised and in which words."""

from __future__ import annotations

import re

from chatspan.audit.findings import Finding
from chatspan.errors import (
    ChatspanError,
    RowError,
    TemplateError,
    TextError,
    TokenizerError,
    TraceError,
    TurnBoundaryError,
)

RAISED = "rows that fail"
NO_TURN = "turns that cannot be located"

# What differs from row to row in messages of one shape: places, and what the row itself says.
_SPECIFIC = (
    (re.compile(r"at (message|character|byte) \d+( \(role '[^']*'\))?"), r"at \1 …"),
    (re.compile(r"\b(message|turn|character|part|tool) \d+"), r"\1 …"),
    (re.compile(r"rendered as '.*?(?<!\\)'(?=: )|rendered as \".*?(?<!\\)\"(?=: )", re.DOTALL), "rendered as …"),
    (re.compile(r"(?<!line )\b\d{2,}\b"), "…"),
)
_LONGEST_SHAPE = 300

_ADVICE: tuple[tuple[type[ChatspanError], str], ...] = (
    (RowError, "fix or drop the rows"),
    (TraceError, "fix or drop the rows"),
    (TemplateError, "fix the messages, or use a template that takes them with --template"),
    (TextError, "repair or drop the text"),
    (TokenizerError, "use another tokenizer"),
)

# By what a template says of contents that it takes for granted: transformers leaves out what is null.
_ADVICE_ON_WORDS = (
    (
        "has no attribute 'content'",
        'messages lack a content, or it is null: null_content="empty" (--null-content empty) makes it an empty string',
    ),
    (
        'can only concatenate str (not "list")',
        'the template takes strings, not lists of parts: text_parts="join" (--text-parts join) makes one text of them',
    ),
)

# What an error about a turn says beside its reason: the place, and remedies in the words of the library.
_NOT_THE_REASON = (
    re.compile(r"^message … \(assistant\)(, rendered as …)?: "),
    re.compile(r'; use end_of_turn="next_header" .* to train no end'),
    re.compile(r'; what="content" needs no turns$'),
)
# By a part of the reason; the last one fits any.
_UNTOLD = (
    (
        "no end of the turn was found",
        "--end-of-turn next_header also trains the control token that opens the next message, as the stop token; "
        "--end-of-turn none and --loss content train no end",
    ),
    (
        "the template refuses the prompt before it",
        "put a user's message before it, leave the turn out with loss_messages, or use --loss content",
    ),
    ("control token", "use --end-of-turn token or none, or --loss content"),
    ("", "use --loss content, which needs no turns"),
)


def failure(error: Exception) -> Finding:
    """A row that raised.

    Example:
        >>> from chatspan import TemplateError
        >>> failure(TemplateError("the chat template raised at message 4 (role 'tool'): no tools")).what
        'TemplateError: the chat template raised at message …: no tools'
    """
    words = _words(error)
    advice = next((text for part, text in _ADVICE_ON_WORDS if part in words), "")
    advice = advice or next((text for kind, text in _ADVICE if isinstance(error, kind)), "fix or drop the rows")
    return Finding(
        RAISED,
        f"{type(error).__name__}: {shape(words)}",
        "problem",
        advice,
        getattr(error, "message_index", None),
        words,
    )


def unknown_turn(error: TurnBoundaryError) -> Finding:
    """A row in which a turn has no start or no end that can be told."""
    words = shape(_words(error))
    for pattern in _NOT_THE_REASON:
        words = pattern.sub("", words)
    advice = next(text for reason, text in _UNTOLD if reason in words)
    return Finding(NO_TURN, words, "problem", advice, error.message_index, _words(error))


def shape(message: str) -> str:
    """A message without what is the row's own, so that rows that fail alike count as one."""
    for pattern, general in _SPECIFIC:
        message = pattern.sub(general, message)
    message = " ".join(message.split())
    return message if len(message) <= _LONGEST_SHAPE else message[:_LONGEST_SHAPE] + "…"


def _words(error: Exception) -> str:
    return error.message if isinstance(error, ChatspanError) else str(error)
