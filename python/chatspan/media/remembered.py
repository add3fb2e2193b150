"""What the parts of a processor made of media, remembered for as long as one batch is made.

A student and its teacher are two calls of a processor, mostly with the same images, which are nearly all of its work.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from chatspan.rows.same_text import text_key

# Of a processor, what makes tensors of media.
_PARTS = ("image_processor", "video_processor", "feature_extractor", "audio_processor")
_Made = dict[tuple[str, str], Any]
_MADE: ContextVar[_Made | None] = ContextVar("made_of_media", default=None)


@contextmanager
def media_remembered() -> Iterator[None]:
    """Media that were given once are not made into tensors again; known by their content."""
    token = _MADE.set({})
    try:
        yield
    finally:
        _MADE.reset(token)


def remember_parts(processor: Any) -> None:
    """Puts parts into a processor's shallow copy that remember what they made, where that is wanted."""
    made = _MADE.get()
    if made is None:
        return
    for name in _PARTS:
        part = getattr(processor, name, None)
        if callable(part):
            setattr(processor, name, _remembering(name, part, made))


def _remembering(name: str, part: Any, made: _Made) -> Any:
    kind = type(part)

    def call(own: Any, *args: Any, **kwargs: Any) -> Any:
        key = (name, text_key([args, kwargs]))
        if key not in made:
            made[key] = kind.__call__(own, *args, **kwargs)
        # A processor takes out of what it gets.
        return copy.copy(made[key])

    twin = copy.copy(part)
    # Processors ask parts for more than a call, and for their class.
    twin.__class__ = type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
    return twin
