"""A render beside the tokenizer's own: cut as that is, or another one."""

from __future__ import annotations

from dataclasses import replace

from chatspan.errors import RenderMismatchError, first_difference
from chatspan.render.origins import cut_runs
from chatspan.render.rendered import Render


def cut_at(render: Render, own: str) -> Render:
    """The render as far as the tokenizer's own, which leaves the final message open."""
    if not render.text.startswith(own):
        raise mismatch(render.text, own)
    end = len(own)
    return replace(
        render,
        given_text=own,
        runs=cut_runs(tuple(render.runs), 0, end),
        native=None,
        owners=[owner for owner in render.owners if owner[0] < end] or [(0, -1)],
        generation=[(start, min(stop, end)) for start, stop in render.generation if start < end],
        open_end=True,
    )


def mismatch(text: str, own: str) -> RenderMismatchError:
    """The error about a render that is not the tokenizer's own."""
    start = first_difference(text, own)
    return RenderMismatchError(
        f"the render differs from the tokenizer's own from character {start} on: {text[start : start + 40]!r}, "
        f"but apply_chat_template gives {own[start : start + 40]!r}. Its apply_chat_template may be overridden, "
        "or this version of transformers prepares messages differently",
        start_char=start,
    )
