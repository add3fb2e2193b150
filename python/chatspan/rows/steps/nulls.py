"""The nulls that Arrow's tables put into dicts, taken out.

A table has one type for all dicts of a column: where one call has an argument ``city`` and another ``date``, both come
back with both, one of them null. A template would write it, and the model would learn it. So a null that may be of
that kind is no value. Which ones may be shows in the row: in a table all dicts at one place have the same keys. Where
they differ, the row, or the part of it below, was never one (dicts, JSON lines, a ``Json()`` column of ``datasets``),
and its nulls are meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatspan.rows.messages import name_text

Pattern = tuple[str, ...]


def may_have_nulls(line: bytes) -> bool:
    """Whether a line of JSON may have nulls other than those of contents: cheaper than a look at what it holds."""
    at = line.find(b"null")
    while at >= 0:
        if not line.endswith((b'"content": ', b'"content":'), 0, at):
            return True
        at = line.find(b"null", at + 4)
    return False


def has_nulls(value: Any) -> bool:
    """Whether a dict somewhere in it has a null, but for a message's ``content``."""
    if type(value) is dict:
        for key, part in value.items():
            if part is None:
                if key != "content":
                    return True
            elif type(part) in (dict, list) and has_nulls(part):
                return True
    elif type(value) is list:
        for part in value:
            if type(part) in (dict, list) and has_nulls(part):
                return True
    return False


def without_nulls(columns: Mapping[str, Any], messages: str | None) -> tuple[dict[str, Any], list[str]]:
    """The columns without the nulls that a table may have put there, and where some were, outside of messages' own.

    Args:
        columns: plain data, nothing of it parsed from JSON text, whose nulls are meant.
        messages: the column of the messages. If these differ in their keys, the row was never a table's.

    Returns:
        new columns, and places such as ``"messages[2].tool_calls[0].function.arguments.date"``.
    """
    if not any(has_nulls(value) for value in columns.values()):
        return dict(columns), []
    shapes: dict[Pattern, set[tuple[str, ...]]] = {}
    for name, value in columns.items():
        _shapes(value, (name,), shapes)
    if messages is not None and len(shapes.get((messages, "[]"), ())) > 1:
        return {name: _own_fields(value) for name, value in columns.items()}, []
    places: list[str] = []
    return {name: _taken_out(value, (name,), name, shapes, places) for name, value in columns.items()}, places


def _shapes(value: Any, pattern: Pattern, shapes: dict[Pattern, set[tuple[str, ...]]]) -> None:
    """The keys of all dicts, by the path to them without indices."""
    if type(value) is dict:
        shapes.setdefault(pattern, set()).add(tuple(value))
        for key, part in value.items():
            _shapes(part, (*pattern, key), shapes)
    elif type(value) is list:
        for part in value:
            _shapes(part, (*pattern, "[]"), shapes)


def _taken_out(
    value: Any, pattern: Pattern, place: str, shapes: Mapping[Pattern, set[tuple[str, ...]]], places: list[str]
) -> Any:
    if type(value) is list:
        return [
            _taken_out(part, (*pattern, "[]"), f"{place}[{index}]", shapes, places) for index, part in enumerate(value)
        ]
    if type(value) is not dict:
        return value
    if len(shapes.get(pattern, ())) > 1:
        return _own_fields(value)
    found = {}
    for key, part in value.items():
        if part is not None or _stays(key, value):
            found[key] = _taken_out(part, (*pattern, key), f"{place}.{name_text(key)}", shapes, places)
        elif len(pattern) > 2:
            places.append(f"{place}.{name_text(key)}")
    return found


def _own_fields(value: Any) -> Any:
    """Without what no table is needed for to be no value: a property of a tool's schema that is null."""
    if type(value) is list:
        return [_own_fields(part) for part in value]
    if type(value) is not dict or not has_nulls(value):
        return value
    return {
        key: {name: _own_fields(part) for name, part in under.items() if part is not None}
        if key == "properties" and type(under) is dict
        else _own_fields(under)
        for key, under in value.items()
    }


def _stays(key: str, of: Mapping[str, Any]) -> bool:
    """A message's content may be null: beside calls, where a template may tell it from an empty one."""
    return key == "content" and "role" in of
