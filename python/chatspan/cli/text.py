"""Text of other people's data on a terminal."""

from __future__ import annotations

SYMBOLS = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥"}


def printable(text: str) -> str:
    """The text with control characters spelled out, which a terminal would obey; newlines stay."""
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def visible(text: str) -> str:
    """The text in one line, its blanks as symbols."""
    return "".join(SYMBOLS.get(c, c if c.isprintable() else _escaped(c)) for c in text)


def plural(count: int, noun: str) -> str:
    """A count of things."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
