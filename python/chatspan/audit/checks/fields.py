"""Parts of contents that say of no part whose text it is, and control tokens that stand in the text of fields."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from chatspan.audit.findings import Finding
from chatspan.encoding import Encoding
from chatspan.kinds import Kind
from chatspan.render.origins import Path
from chatspan.view.view import path_pattern

CONTROL = "control tokens in text"
CONTAINERS = "content parts of unknown type"

# Words in the type of a part of a content that is the assistant's own text, or no text; other types that say something
# make another kind of it than content.
_OWN_TYPES = ("text", "response", "answer", "refusal", "image", "audio", "video", "media", "file", "document")
_OWN_KEYS = ("text", "content")
# Text of the message around a quoted control token.
_AROUND = 25


def container_findings(encoding: Encoding, messages: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Parts of assistants' contents that the template writes, and of which nothing says whose text they are."""
    contents = {
        index: message["content"]
        for index, message in enumerate(messages)
        if message.get("role") == "assistant" and isinstance(message.get("content"), (dict, list, tuple))
    }
    if not contents:
        return
    segments, seen = encoding.segments, set[tuple[int, str]]()
    starts = [segment.start_char for segment in segments]
    for span in encoding.spans:
        index, path = span.message_index, span.path
        if index not in contents or path[0] != "content" or len(path) == 1 or path[-1] == "type":
            continue
        if segments[bisect_right(starts, span.start_char) - 1].kind != Kind.CONTENT:
            continue
        what = _unread(contents[index], path)
        if what is not None and (index, what) not in seen:
            seen.add((index, what))
            advice = (
                "it counts as content, and is trained; if a tool wrote it, give the part a type that says so, such as "
                '"tool_result"'
            )
            yield Finding(
                CONTAINERS, f"assistant: {what}", "note", advice, index, encoding.text[span.start_char : span.end_char]
            )


def _unread(content: Any, path: Path) -> str | None:
    """The part of a content that a text stands in, if nothing says what that is."""
    types, value = [], content
    for depth, key in enumerate(path[1:], 1):
        if isinstance(value, Mapping) and isinstance(value.get("type"), str):
            types.append((value["type"], path[:depth]))
        try:
            value = value[key]
        # A template may be given other values than a row has.
        except (KeyError, IndexError, TypeError):
            return None
    if isinstance(value, (dict, list, tuple)):
        return None
    unknown = [(name, part) for name, part in types if not any(word in name for word in _OWN_TYPES)]
    if unknown:
        name, part = unknown[-1]
        return f"{path_pattern(part)} of type {name!r}"
    names = [key for key in path[1:] if isinstance(key, str)]
    return f"{path_pattern(path)} without a type" if names and not types and names[-1] not in _OWN_KEYS else None


def control_token_findings(encoding: Encoding, special: Collection[str]) -> Iterator[Finding]:
    """Control tokens that stand in the text of a field, which the tokenizer cannot tell from the template's own.

    Args:
        special: the tokenizer's special tokens. Others that the template writes too, such as ``<think>``, are notes:
            they may well be meant.
    """
    text = encoding.text
    for start, end, index in encoding.field_control_tokens:
        token = text[start:end]
        role = encoding.roles[index] if 0 <= index < len(encoding.roles) else "outside of all messages"
        is_special = token in special
        yield Finding(
            CONTROL,
            f"{role}: {token}",
            "problem" if is_special else "note",
            'encode with special_tokens="escape" (chatspan encode --special-tokens escape), or remove it'
            if is_special
            else "",
            index if index >= 0 else None,
            text[max(0, start - _AROUND) : end + _AROUND],
        )
