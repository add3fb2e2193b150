"""The fields that a template leaves out of a render, or a part of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatspan.render.origins import Path, field_runs
from chatspan.render.rendered import Render
from chatspan.rows.media_types import MODALITIES, PLACES


def unrendered_texts(render: Render) -> dict[tuple[int, Path], str]:
    """For each field of which more than blanks are left out, ``(message_index, path)``, the characters that are."""
    whole = (0, len(render.text) + 1)
    seen: dict[int, list[tuple[int, int]]] = {}
    for start, end, origin, at in field_runs(render.runs):
        seen.setdefault(id(origin), []).append((at, at + end - start) if at >= 0 else whole)
    left_out: dict[tuple[int, Path], str] = {}
    for index, path, value in _strings(render.messages):
        covered = 0
        missing = ""
        for start, end in sorted(seen.get(id(value), [])):
            missing += str.__getitem__(value, slice(covered, start)) if start > covered else ""
            covered = max(covered, end)
        missing += str.__getitem__(value, slice(covered, None))
        if missing.strip():
            left_out.setdefault((index, path), missing)
    return left_out


def _strings(messages: Sequence[Mapping[str, Any]]) -> Iterable[tuple[int, Path, Any]]:
    """The strings of the messages, each once, with the path that the caller gave them; not those of media, which say
    where their data are.
    """
    seen: set[int] = set()
    stack = [(index, message) for index, message in enumerate(messages)]
    stack.reverse()
    while stack:
        index, value = stack.pop()
        if hasattr(value, "_message_index") and isinstance(value, str):
            path = value._path
            if id(value) not in seen and path[-1] not in ("role", "type"):
                seen.add(id(value))
                yield index, path, value
        elif isinstance(value, dict):
            parts = reversed(list(dict.items(value)))
            stack += [(index, part) for key, part in parts if not _is_place(value, key)]
        elif isinstance(value, (list, tuple)):
            stack += [(index, part) for part in reversed(value)]


def _is_place(part: dict[Any, Any], key: Any) -> bool:
    """Whether it says where the data of a medium are, which no template has to write."""
    kind = dict.get(part, "type")
    name = str.__str__(kind) if isinstance(kind, str) else ""
    if name not in MODALITIES or key not in (name, *PLACES):
        return False
    path: Any = getattr(kind, "_path", ())
    return len(path) == 3 and path[0] == "content" and path[2] == "type"
