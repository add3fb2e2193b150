"""The runs of the leaves in a value that was written out as JSON, or as Python's ``repr``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from chatspan.render.origins import Origin, Run, is_container, source_of

# How a value was written: `ensure_ascii`, what a level is indented by, separators, `sort_keys`; nothing for `repr`.
Style = tuple[bool, str | None, tuple[str, str] | None, bool]


def runs_of_dump(value: Any, text: str, style: Style | None) -> tuple[Run, ...]:
    """The runs of a value that was written as this text."""
    container = value if is_container(value) else None
    if style is None:
        walk = _Pieces(str.__repr__)
        walk.repr(value, None)
    else:
        ensure_ascii, step, separators, sort_keys = style
        walk = _Pieces(json.encoder.encode_basestring_ascii if ensure_ascii else json.encoder.encode_basestring)
        item, key = separators or ((", ", ": ") if step is None else (",", ": "))
        walk.json(value, None, 0, (step, item, key, sort_keys))
    return walk.runs(text, container)


class _Pieces:
    """The pieces of a dump in order, each with its origin and the character in it."""

    def __init__(self, quote: Callable[[str], str]) -> None:
        self._quote = quote
        self._pieces: list[tuple[str, Origin | None, int]] = []

    def runs(self, text: str, container: Origin | None) -> tuple[Run, ...]:
        """The runs; one derived run of the container if the pieces are not the text."""
        if "".join(piece for piece, _, _ in self._pieces) != text:
            return ((0, len(text), container, -1),) if container is not None else ()
        found: list[Run] = []
        position = 0
        for piece, origin, origin_start in self._pieces:
            end = position + len(piece)
            if piece and origin is not None:
                if found and origin_start < 0 and found[-1][1:] == (position, origin, -1):
                    found[-1] = (found[-1][0], end, origin, -1)
                else:
                    found.append((position, end, origin, origin_start))
            position = end
        return tuple(found)

    def json(self, value: Any, container: Origin | None, level: int, style: tuple[str | None, str, str, bool]) -> None:
        step, item_separator, key_separator, sort_keys = style
        if is_container(value):
            container = source_of(value)
        if isinstance(value, str):
            self._string(value, container)
        elif isinstance(value, (dict, list, tuple)) and value:
            opening, closing = "{}" if isinstance(value, dict) else "[]"
            self._put(opening, container)
            between = "" if step is None else "\n" + step * (level + 1)
            self._put(between, container)
            keys = list(dict.__iter__(value)) if isinstance(value, dict) else value
            keys = sorted(keys) if sort_keys and isinstance(value, dict) else keys
            for index, key in enumerate(keys):
                if index:
                    self._put(item_separator + between, container)
                part = key
                if isinstance(value, dict):
                    # A key that is written comes from its dict; in one that the template made, from where the key does.
                    origin = _origin_of_key(key, container)
                    self._put(self._key(key), origin)
                    self._put(key_separator, origin)
                    part = value[key]
                self.json(part, container, level + 1, style)
            self._put("" if step is None else "\n" + step * level, container)
            self._put(closing, container)
        else:
            self._put(json.dumps(value), container)

    def _key(self, key: Any) -> str:
        return self._quote(key) if isinstance(key, str) else f'"{json.dumps(key)}"'

    def repr(self, value: Any, container: Origin | None) -> None:
        if is_container(value):
            container = source_of(value)
        if isinstance(value, str):
            self._string(value, container)
        elif isinstance(value, (dict, list, tuple)) and value:
            opening, closing = "{}" if isinstance(value, dict) else "[]" if isinstance(value, list) else "()"
            self._put(opening, container)
            for index, key in enumerate(dict.__iter__(value) if isinstance(value, dict) else value):
                if index:
                    self._put(", ", container)
                part = key
                if isinstance(value, dict):
                    self._put(f"{key!r}: ", _origin_of_key(key, container))
                    part = value[key]
                self.repr(part, container)
            self._put(f",{closing}" if isinstance(value, tuple) and len(value) == 1 else closing, container)
        else:
            self._put(repr(value), container)

    def _put(self, text: str, container: Origin | None) -> None:
        self._pieces.append((text, container, -1))

    def _string(self, value: str, container: Origin | None) -> None:
        """A quoted string: a copy between the quotes where nothing is escaped."""
        quoted = self._quote(value)
        runs: tuple[Run, ...] | None = getattr(value, "_runs", None)
        if runs is None:
            self._put(quoted, container)
            return
        self._put(quoted[0], container)
        inner = quoted[1:-1]
        if inner == value:
            position = 0
            for start, end, origin, origin_start in runs:
                self._put(inner[position:start], container)
                self._pieces.append((inner[start:end], origin, origin_start))
                position = end
            self._put(inner[position:], container)
        else:
            self._pieces.append((inner, runs[0][2] if runs else container, -1))
        self._put(quoted[-1], container)


def _origin_of_key(key: Any, container: Origin | None) -> Any:
    runs: tuple[Run, ...] = getattr(key, "_runs", ())
    if runs:
        return runs[0][2]
    return source_of(key) if is_container(key) else container
