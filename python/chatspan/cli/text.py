"""Text of other people's data on a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

# What a terminal obeys (C0, DEL, C1), what turns text around (bidirectional controls), what ends a line besides a line
# feed, and halves of surrogate pairs, which UTF-8 cannot write.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
SYMBOLS = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥"}


def printable(text: str) -> str:
    """The text with control characters spelled out, which a terminal would obey; newlines stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def json_text(value: Any) -> str:
    """The value as one line of JSON that is safe on a terminal: controls are written as ``\\uXXXX``.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold it.
    """
    # Between strings JSON has none of these characters.
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def visible(text: str) -> str:
    """The text in one line, its blanks as symbols."""
    return "".join(SYMBOLS.get(c, c if c.isprintable() else _escaped(c)) for c in text)


def plural(count: int, noun: str) -> str:
    """A count of things."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size_text(count: int) -> str:
    """So many bytes."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


def elided(text: str, longest: int) -> str:
    """The text, if it is longer without its middle."""
    left_out = len(text) - longest
    if left_out <= 0:
        return text
    half = longest // 2
    return f"{text[:half]} … {left_out:,} more characters … {text[-half:]}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
