"""The fields that a template leaves out of a render, or a part of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatspan.render.origins import Path, field_runs
from chatspan.render.rendered import Render


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
    """The strings of the messages, each once, with the path that the caller gave them."""
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
            stack += [(index, part) for part in reversed(list(dict.values(value)))]
        elif isinstance(value, (list, tuple)):
            stack += [(index, part) for part in reversed(value)]
