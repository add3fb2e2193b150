"""``tojson`` and ``repr`` of traced values: the text that Python gives, and the runs of the leaves in it."""

from __future__ import annotations

import json
from typing import Any

from chatspan.render.dumps import Style, runs_of_dump
from chatspan.render.jinja.text import Traced, derived
from chatspan.render.origins import Dump, Run, is_container, source_of


def dump_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """What transformers' ``tojson`` filter gives, which is ``json.dumps``."""
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if isinstance(indent, Traced) or any(isinstance(separator, Traced) for separator in separators or ()):
        return derived(text, indent, *(separators or ()), value)
    step = " " * indent if isinstance(indent, int) else indent
    return _traced(text, value, (ensure_ascii, step, separators, sort_keys))


def dump_repr(value: Any) -> str:
    """What ``str()`` gives of a list, a dict or a tuple."""
    return _traced(repr(value), value, None)


def _traced(text: str, value: Any, style: Style | None) -> str:
    container = source_of(value) if is_container(value) else None

    def runs() -> tuple[Run, ...]:
        return runs_of_dump(value, text, style)

    if container is not None and container._path:
        return Traced(text, ((0, len(text), Dump(container, runs), 0),))
    # A whole message, or a container that the template made: its parts come from several places, and some from none.
    found = runs()
    return Traced(text, found) if found else text
