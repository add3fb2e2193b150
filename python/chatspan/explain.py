"""An encoding as text for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatspan.kinds import Kind

if TYPE_CHECKING:
    from chatspan.encoding import Encoding

_WIDTH = 72


def explain(encoding: Encoding) -> str:
    """A line for each stretch of tokens of one message and kind: where they are, what they are, their text."""
    lines = [f"tokenized by {encoding.backend!r}; rendered by {encoding._render.engine}"]
    count = len(encoding)
    start = 0
    shown: int | None = None
    while start < count:
        message, kind = int(encoding.message_index[start]), int(encoding.kind[start])
        end = start + 1
        while end < count and (encoding.message_index[end], encoding.kind[end]) == (message, kind):
            end += 1
        if message != shown:
            shown = message
            lines.append(f"message {message} ({encoding.roles[message]})" if message >= 0 else "no message")
        text = encoding.text[encoding.offsets[start, 0] : encoding.offsets[end - 1, 1]]
        quoted = repr(text)
        if len(quoted) > _WIDTH:
            quoted = f"{quoted[: _WIDTH // 2]}…{quoted[-_WIDTH // 2 :]}"
        lines.append(f"  {f'{start}–{end - 1}':>13}  {Kind(kind).name.lower():<17}  {quoted}")
        start = end
    if encoding.unrendered:
        left_out = ", ".join(f"{index}: {'.'.join(map(str, path))}" for index, path in encoding.unrendered)
        lines.append(f"left out by the template: {left_out}")
    if len(encoding.straddling):
        lines.append(f"tokens across an edge: {', '.join(map(str, encoding.straddling.tolist()))}")
    return "\n".join(lines)
