"""Draws a row with images as an SVG: its tokens by kind, each medium as one block, and under what is trained a line.

``make screenshots`` writes it to ``docs/images/media-row.svg``. Drawn is what ``ChatEncoder`` makes of a chat.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

sys.path += [str(Path(__file__).parents[1] / "tests" / each) for each in ("media", "")]

WIDTH, MARGIN, GAP = 720.0, 14.0, 2.0
# Of the letters, and of what stands around them.
LETTER, PADDING, HEIGHT, LINE, BETWEEN = 7.2, 4.0, 22.0, 34.0, 8.0
STYLE = """
svg { --ground: #ffffff; --line: #dfe1e4; --text: #1c2024; --quiet: #59616b; --quiet-ground: #f1f2f3;
  --media: #2450b2; --media-ground: #e3eafb; --end: #8a4600; --end-ground: #fdeedd; --loss: #1a7f37; }
@media (prefers-color-scheme: dark) { svg { --ground: #16191c; --line: #2e343a; --text: #e4e7ea; --quiet: #a0a9b3;
  --quiet-ground: #22272c; --media: #9dbcff; --media-ground: #1d2a49; --end: #efb06a; --end-ground: #3a2710;
  --loss: #4cc26a; } }
text { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; fill: var(--text); }
.ground { fill: var(--ground); stroke: var(--line); }
.token rect { fill: var(--ground); stroke: var(--line); }
.scaffold rect { fill: var(--quiet-ground); } .scaffold text { fill: var(--quiet); }
.media rect { fill: var(--media-ground); stroke: var(--media); } .media text { fill: var(--media); font-weight: 600; }
.media path { fill: none; stroke: var(--media); stroke-width: 1.3; stroke-linejoin: round; }
.end rect { fill: var(--end-ground); } .end text { fill: var(--end); }
.loss { stroke: var(--loss); stroke-width: 2.5; stroke-linecap: round; }
"""
# A sun and hills, 16 by 12.
ICON = "M0 12V0H16V12ZM0 10L5 5L9 9L12 6L16 10M11.5 3.5h1"
CLASSES = {"SCAFFOLD": "scaffold", "CONTENT": "content", "END_OF_TURN": "end"}


class Box(NamedTuple):
    """A token, or the tokens of a medium.

    Attributes:
        looks: its class in ``STYLE``.
        is_loss: whether it is trained.
    """

    text: str
    looks: str
    message: int
    is_loss: bool

    @property
    def width(self) -> float:
        """On the picture."""
        return LETTER * len(self.text) + 2 * PADDING + (22 if self.looks == "media" else 0)


def chat() -> list[dict[str, Any]]:
    """What is drawn."""
    from chats import said
    from processors import image

    seat, left, right = ({"type": "image", "image": image(*size)} for size in ((84, 56), (112, 84), (56, 56)))
    return [
        said("user", seat, "What is it?"),
        said("assistant", "Your seat is on the left."),
        said("user", left, right, "And the two?"),
        said("assistant", "Your booking is for two."),
    ]


def boxes() -> list[Box]:
    """Those of an encoding, in order."""
    from chatspan import ChatEncoder, Kind
    from processors import SPECS, built

    spec = next(each for each in SPECS if each.name == "Qwen2VLProcessor")
    encoding = ChatEncoder(built(spec.name, spec.model_type, spec.media)).encode(chat())
    trained = encoding.mask()
    media = {at: each for each in encoding.media for at in range(each.start_token, each.end_token)}
    found, owner = [], 0
    for at, (start, end) in enumerate(encoding.offsets.tolist()):
        owner = max(owner, int(encoding.message_index[at]))
        if at in media:
            medium = media[at]
            if at == medium.start_token:
                words = f"{medium.modality}, {medium.end_token - medium.start_token} tokens"
                found.append(Box(words, "media", owner, bool(trained[at])))
            continue
        text = encoding.text[start:end].replace("\n", "⏎").replace(" ", "\xa0")
        found.append(Box(text, CLASSES[Kind(int(encoding.kind[at])).name], owner, bool(trained[at])))
    return found


def svg() -> str:
    """The picture."""
    parts = []
    x, y, message = MARGIN, MARGIN, 0
    for line in _lines(boxes()):
        if line[0].message != message:
            message, y = line[0].message, y + BETWEEN
        x = MARGIN
        for is_loss, run in groupby(line, key=lambda box: box.is_loss):
            first = x
            for box in run:
                parts.append(_drawn(box, x, y))
                x += box.width + GAP
            if is_loss:
                under = y + HEIGHT + 4
                parts.append(f'<path class="loss" d="M{first + 1:.1f} {under:.1f}H{x - GAP - 1:.1f}"/>')
        y += LINE
    y += BETWEEN
    parts.append(_legend(y))
    height = y + HEIGHT + MARGIN
    title = "A row with three images: tokens of the template, of texts and of images, and which of them are trained"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" width="{WIDTH:.0f}" '
        f'role="img"><title>{title}</title><style>{STYLE}</style>'
        f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1:.0f}" height="{height - 1:.0f}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _lines(given: Sequence[Box]) -> Iterator[list[Box]]:
    """A message begins a line, and what does not fit does."""
    for _, run in groupby(given, key=lambda box: box.message):
        line: list[Box] = []
        for box in run:
            if line and sum(each.width + GAP for each in (*line, box)) > WIDTH - 2 * MARGIN:
                yield line
                line = []
            line.append(box)
        yield line


def _drawn(box: Box, x: float, y: float) -> str:
    at = x + PADDING + (22 if box.looks == "media" else 0)
    length = f' textLength="{LETTER * len(box.text):.1f}" lengthAdjust="spacingAndGlyphs"'
    icon = f'<path transform="translate({x + PADDING + 1:.1f} {y + 5:.1f})" d="{ICON}"/>' if at > x + PADDING else ""
    return (
        f'<g class="token {box.looks}"><rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{HEIGHT:.0f}" '
        f'rx="3"/>{icon}<text x="{at:.1f}" y="{y + 15:.1f}"{length}>{escape(box.text)}</text></g>'
    )


def _legend(y: float) -> str:
    named = (("the template's", "scaffold"), ("text", "content"), ("a medium", "media"), ("end of turn", "end"))
    parts, x = [], MARGIN
    for words, looks in named:
        box = Box(words, looks, -1, False)
        parts.append(_drawn(box, x, y))
        x += box.width + 10
    length = f'textLength="{LETTER * 11:.1f}" lengthAdjust="spacingAndGlyphs"'
    parts.append(f'<path class="loss" d="M{x + 6:.1f} {y + 12:.1f}h24"/>')
    parts.append(f'<text x="{x + 38:.1f}" y="{y + 15:.1f}" {length}>in the loss</text>')
    return "\n".join(parts)


if __name__ == "__main__":
    print(svg(), end="")
