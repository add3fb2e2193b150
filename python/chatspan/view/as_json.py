"""A view as JSON, for machines and for the page."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from chatspan.kinds import Kind
from chatspan.view.view import SideView, View


def view_as_json(view: View) -> dict[str, Any]:
    """A view as dicts, lists, strings and numbers; what is said of tokens in lists of one item a token."""
    return {
        "title": view.title,
        "kinds": [kind.name.lower() for kind in Kind],
        "sides": [side_as_json(side) for side in view.sides],
        "message_map": [[student, teacher] for student, teacher in view.message_map.items()],
        "pairs": view.pairs.tolist(),
        "dropped": view.dropped.tolist(),
    }


def side_as_json(side: SideView) -> dict[str, Any]:
    """One side.

    ``kind`` and ``path`` count in ``kinds`` and ``paths``, -1 for no field; ``offsets`` are characters of the render;
    ``parts`` are tokens that are only a part of characters, with those; ``masks`` are half-open ranges of tokens, and
    so are those of ``media``, which the page shows as pictures.
    """
    encoding = side.encoding
    paths = list(dict.fromkeys(path for path in side.paths if path is not None))
    numbers = {path: number for number, path in enumerate(paths)}
    return {
        "name": side.name,
        "backend": str(encoding.backend),
        "roles": list(encoding.roles),
        "hint_messages": list(side.hint_messages),
        "input_ids": encoding.input_ids.tolist(),
        "texts": list(side.texts),
        "offsets": encoding.offsets.tolist(),
        "message_index": encoding.message_index.tolist(),
        "kind": encoding.kind.tolist(),
        "paths": paths,
        "path": [-1 if path is None else numbers[path] for path in side.paths],
        "parts": _parts(side),
        "masks": {name: _ranges(mask) for name, mask in side.masks.items()},
        "refused": dict(side.refused),
        "straddling": encoding.straddling.tolist(),
        "unrendered": [[index, list(path)] for index, path in encoding.unrendered],
        "truncated": encoding.truncated,
        "media": [{**asdict(medium), "tokens": medium.tokens} for medium in side.media],
    }


def _parts(side: SideView) -> list[list[Any]]:
    text, offsets = side.encoding.text, side.encoding.offsets.tolist()
    spelled = (text[start:end] for start, end in offsets)
    return [[i, own] for i, (shown, own) in enumerate(zip(side.texts, spelled, strict=True)) if shown != own]


def _ranges(mask: Any) -> list[list[int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return edges.reshape(-1, 2).tolist()
