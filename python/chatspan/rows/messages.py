"""What is known of messages: their contents' texts, and keywords that no row may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.errors import TraceError, quoted
from chatspan.rows.media_types import PART_TYPES

Message = dict[str, Any]

# What the collator decides itself; passing these on would change what a render is.
RESERVED_KWARGS = frozenset(
    {
        "add_generation_prompt",
        "continue_final_message",
        "conversation",
        "max_length",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "sanitize_control_tokens",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)


def content_texts(content: Any) -> list[str]:
    """The texts of a content: one for a string, one a text part for a list, none for ``None`` and for media."""
    if content is None:
        return []
    return [content] if isinstance(content, str) else [part["text"] for part in content if not is_medium(part)]


def is_medium(part: Any) -> bool:
    """Whether a part of a content is an image, a video or audio."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    return isinstance(kind, str) and kind in PART_TYPES


def is_blank(content: Any) -> bool:
    """Whether a content has no text but blanks."""
    return not any(text.strip() for text in content_texts(content))


def read_messages(messages: Any, name: str, what: str) -> list[Message]:
    """Checks a list of messages that is rendered as it stands: a prompt that a trainer has rendered already.

    Raises:
        TraceError: it is no list of messages with texts; with ``turn_index``.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)) or not messages:
        raise TraceError(f"{what} must be a list with at least one message, got {shown(messages)}", trace_id=name)
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            problem: str | None = f"expected a dict with 'role' and 'content', got {shown(message)}"
        else:
            problem = content_problem(message.get("content"))
        if problem is not None:
            raise TraceError(problem, trace_id=name, turn_index=index)
    return [dict(message) for message in messages]


def content_problem(content: Any, *, takes_media: bool = False) -> str | None:
    """What is wrong with a content that has to be text, or a list of text parts; ``None`` if nothing is.

    Args:
        takes_media: whether a part may be an image, a video or audio.
    """
    if content is None or isinstance(content, str):
        return None
    expected = 'expected a string, None, or a list of parts {"type": "text", "text": …}'
    if not isinstance(content, (list, tuple)):
        return f"'content' is {shown(content)}: {expected}"
    for index, part in enumerate(content):
        is_text = isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str)
        if not is_text and not (takes_media and is_medium(part)):
            return f"part {index} of 'content' is {shown(part)}: {expected}"
    return None


def lone_surrogate(text: str) -> int | None:
    """The first character that is no valid Unicode text, if one is not."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def shown(value: Any) -> str:
    """A value as errors quote it: its type, and a little of it."""
    return f"{type(value).__name__} {quoted(value)}"


def name_text(value: Any) -> str:
    """A row's own name, such as its ``trace_id``, as text."""
    try:
        return str(value)
    except Exception:
        return shown(value)
