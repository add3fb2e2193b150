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
