"""Equality of what templates write, not of Python: ``1``, ``1.0`` and ``True`` are equal there and three texts here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from chatspan.errors import first_difference
from chatspan.rows.messages import name_text

# Characters of a text that are quoted before its first difference, and from there on.
_BEFORE, _FROM = 20, 40


def text_key(value: Any) -> str:
    """A text that is the same for two values if templates write them alike, by ``tojson`` and as they are.

    The order of keys counts, and so does whether a number is whole, a fraction or a truth value, and whether a sequence
    is a list or a tuple, which is written ``(1, 2)`` without ``tojson``. Which mapping it is does not.

    Example:
        >>> from chatspan.rows.same_text import text_key
        >>> text_key({"n": 1}) == text_key({"n": 1.0}), {"n": 1} == {"n": 1.0}
        (False, True)
    """
    try:
        return "".join(_parts(value))
    except RecursionError:
        # What holds itself, or is nested too deeply, cannot be rendered; its own repr ends.
        return _written(value)


def _written(value: Any) -> str:
    """Its own ``repr``, or that of any object where it has none."""
    try:
        return repr(value)
    # What a class of a user's own raises, or what is nested too deeply.
    except Exception:
        return object.__repr__(value)


def message_key(message: Mapping[str, Any]) -> str:
    """As :func:`text_key`; the order of a message's own keys does not count, since templates take them by name."""
    return text_key({key: message[key] for key in sorted(message, key=name_text)})


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        yield repr(str.__str__(value))
    elif value is None or isinstance(value, bool):
        yield repr(value)
    elif isinstance(value, int):
        # In hex, since Python writes no decimal number of more than some thousands of digits.
        yield hex(value)
    elif isinstance(value, float):
        yield float.__repr__(value)
    elif isinstance(value, Mapping):
        yield "{"
        for key, part in value.items():
            yield from _parts(key)
            yield ":"
            yield from _parts(part)
            yield ","
        yield "}"
    elif isinstance(value, (list, tuple)):
        yield "[" if isinstance(value, list) else "("
        for part in value:
            yield from _parts(part)
            yield ","
        yield "]"
    elif callable(getattr(value, "tobytes", None)):
        yield _of_data(value)
    else:
        yield f"<{type(value).__qualname__} {_written(value)}>"


def _of_data(value: Any) -> str:
    """An image or an array by what is in it: its ``repr`` says where it is in memory, or leaves something out."""
    try:
        form = tuple(str(getattr(value, name, "")) for name in ("mode", "size", "dtype", "shape"))
        return f"<{form} {hashlib.sha256(value.tobytes()).hexdigest()}>"
    # Of an image whose file is gone, or a class of a user's own.
    except Exception:
        return f"<{type(value).__qualname__} {_written(value)}>"


class Difference(NamedTuple):
    """Where two values begin to be written differently.

    Attributes:
        path: the part of them: ``"tool_calls[0].function.arguments.n"``.
        one, other: what is there, for an error.
        start_char: where in the part, if it is a text on both sides.
    """

    path: str
    one: str
    other: str
    start_char: int | None = None


def text_difference(one: Any, other: Any, path: str = "") -> Difference | None:
    """Where two values begin to be written differently; ``None`` where they are not.

    Example:
        >>> text_difference({"f": [{"n": 1}]}, {"f": [{"n": 1.0}]})
        Difference(path='f[0].n', one='1', other='1.0', start_char=None)
    """
    if text_key(one) == text_key(other):
        return None
    if isinstance(one, str) and isinstance(other, str):
        at = first_difference(one, other)
        return Difference(path, _around(one, at), _around(other, at), at)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return _difference_of_mappings(one, other, path)
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
            found = text_difference(mine, theirs, f"{path}[{index}]")
            if found is not None:
                return found
        return Difference(path, f"{len(one)} items", f"{len(other)} items")
    return Difference(path, _shown(one), _shown(other))


def _difference_of_mappings(one: Mapping[Any, Any], other: Mapping[Any, Any], path: str) -> Difference:
    for key in (*one, *(key for key in other if key not in one)):
        inner = f"{path}.{key}" if path else str(key)
        if key not in one or key not in other:
            mine, theirs = (_shown(side[key]) if key in side else "not there" for side in (one, other))
            return Difference(inner, mine, theirs)
        found = text_difference(one[key], other[key], inner)
        if found is not None:
            return found
    mine, theirs = (f"an object with its keys in the order {', '.join(map(repr, side))}" for side in (one, other))
    return Difference(path, mine, theirs)


def _around(text: str, at: int) -> str:
    """A text around a character."""
    start, end = max(0, at - _BEFORE), at + _FROM
    return f"{'…' if start else ''}{text[start:end]!r}{'…' if end < len(text) else ''}"


def _shown(value: Any) -> str:
    text = _written(value)
    return text if len(text) <= _BEFORE + _FROM else f"{text[: _BEFORE + _FROM]}…"
