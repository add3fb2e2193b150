"""Fields that the template leaves out, and control tokens that stand in the text of fields."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from chatspan.audit.findings import Finding
from chatspan.encoding import Encoding
from chatspan.render.origins import Path
from chatspan.view.view import path_pattern

DROPPED = "dropped fields"
CONTROL = "control tokens in text"

# Keys whose text is a message's own; all others (ids, names) most templates leave out.
_OWN_TEXT = ("content", "reasoning_content", "reasoning", "thinking")
# Text of the message around a quoted control token.
_AROUND = 25


def dropped_fields(encoding: Encoding) -> Iterator[Finding]:
    """Fields of which the template left out more than blanks, by the pattern of their path."""
    for (index, path), text in encoding.unrendered_texts.items():
        pattern, matters = path_pattern(path), _matters(path)
        role = encoding.roles[index] if 0 <= index < len(encoding.roles) else "row"
        yield Finding(
            DROPPED,
            f"{role}: {pattern}",
            "problem" if matters else "note",
            "the model never sees this text; give a template that writes it, or move it" if matters else "",
            index,
            text.strip(),
            len(text),
            "characters lost",
        )


def _matters(path: Path) -> bool:
    return path[0] in _OWN_TEXT or "arguments" in path or path[-2:] == ("function", "name")


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
