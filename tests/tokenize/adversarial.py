"""Texts made to break tokenizers, drawn anew for each seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

# Ranges of code points: scripts, marks, digits, punctuation, emoji, private use, beyond the BMP.
_RANGES = (
    *((0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0x9FF), (0xE00, 0xE7F)),
    *((0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x2BFF), (0x3000, 0x30FF)),
    *((0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFAFF), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF)),
    *((0x10000, 0x103FF), (0x1D400, 0x1D7FF), (0x1F1E6, 0x1F1FF), (0x1F300, 0x1FAFF), (0x20000, 0x20FFF)),
)
_BLANKS = (" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u3000", "\x0b", "\x1c", "\u2028", "")
_GLUE = (
    "'s",
    "'LL",
    "n't",
    "1234",
    "007",
    ".",
    ",",
    "...",
    "▁",
    "Ġ",
    "<0x0A>",
    "\x00",
    "\ufeff",
    "e\u0301",
    "</",
    "<|",
)


def adversarial_texts(seed: int, words: Sequence[str], tokens: Sequence[str]) -> Iterator[str]:
    """Texts without end, of real words, control tokens (whole and cut), and characters from everywhere."""
    draw = random.Random(seed)

    def letters() -> str:
        first, last = draw.choice(_RANGES)
        return "".join(chr(draw.randint(first, last)) for _ in range(draw.randint(1, 6)))

    def piece() -> str:
        kind = draw.random()
        if kind < 0.45:
            return draw.choice(words)
        if kind < 0.6:
            return letters()
        if kind < 0.75:
            return draw.choice(_BLANKS)
        if kind < 0.87:
            return draw.choice(_GLUE)
        if kind < 0.9:
            word = draw.choice(words)
            return word[: draw.randint(0, len(word))] * draw.randint(1, 5)
        token = draw.choice(tokens)
        return token if draw.random() < 0.7 else token[draw.randint(0, 2) : draw.randint(1, len(token))]

    while True:
        between = draw.choice(("", " ", " "))
        yield between.join(piece() for _ in range(draw.randint(1, 120)))
