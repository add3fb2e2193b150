"""Values of tables and objects → plain Python data: dicts, lists, texts, numbers."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from chatspan.errors import RowError
from chatspan.rows.dialects.calls import decoded as decoded_text
from chatspan.rows.media_types import PART_TYPES

_PLAIN = (str, float, bool, type(None))
_BINARY = (bytes, bytearray, memoryview)
# What a medium may be: frames, samples.
_DATA = (*_BINARY, np.ndarray)
# Python writes no decimal number of more digits, unless it is told to.
_DIGITS = 4300
_TOO_LONG = 10**_DIGITS


class UnmeantError(RowError):
    """A value that neither JSON nor a template can mean.

    Attributes:
        path: where it is: ``"messages[0].content"``.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"it holds {what}")
        self._what, self.path = what, ""

    def inside(self, step: str) -> UnmeantError:
        """The same, seen from one level further out."""
        self.path = step + (self.path if self.path[:1] in ("", "[") else f".{self.path}")
        self.args = (f"its {self.path!r} holds {self._what}",)
        message = re.match(r"\w+\[(\d+)\]", self.path)
        self.message_index = None if message is None else int(message[1])
        return self


def plain_row(value: Any) -> Mapping[str, Any] | None:
    """The columns of a row, whatever holds them; the columns' own values stay as they are. ``None``: it is no row.

    A mapping, a dataclass, a ``pandas.Series``, a row of pyarrow (``StructScalar``), a named tuple (as
    ``DataFrame.itertuples`` gives), or a pydantic model.
    """
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for name in ("_asdict", "model_dump", "as_py", "to_dict"):
        method = getattr(value, name, None)
        if callable(method) and not isinstance(value, type):
            found = method()
            return found if isinstance(found, Mapping) else None
    return None


def plain_data(value: Any) -> Any:
    """A value as plain Python data, also what is in it; the value itself where it is plain already.

    Arrays, tuples and Arrow's lists are lists; numpy's and Arrow's scalars Python's; dataclasses and other mappings
    dicts. A NaN in a dict is null, which pandas writes so beside numbers. What is none of these, such as a function,
    stays.

    Raises:
        UnmeantError: it holds what neither JSON nor a template can mean: binary data (but that of a part that is no
            text, such as an image), a key that is NaN or binary, an integer of more digits than Python writes.

    Example:
        >>> import numpy as np
        >>> plain_data({"messages": np.array([{"role": "user", "content": np.str_("Hi")}], dtype=object)})
        {'messages': [{'role': 'user', 'content': 'Hi'}]}
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return _plain_dict(value)
    if kind is list:
        copied: list[Any] | None = None
        for index, part in enumerate(value):
            if type(part) not in _PLAIN:
                try:
                    made = plain_data(part)
                except UnmeantError as error:
                    raise error.inside(f"[{index}]") from None
                if made is not part:
                    copied = list(value) if copied is None else copied
                    copied[index] = made
        return value if copied is None else copied
    if kind is int:
        if -_TOO_LONG < value < _TOO_LONG:
            return value
        raise UnmeantError(f"an integer of more than {_DIGITS:,} digits")
    return _converted(value)


def _plain_dict(value: dict[Any, Any]) -> dict[Any, Any]:
    changed: dict[Any, Any] | None = None
    for key, part in value.items():
        if type(key) is not str:
            _require_key(key)
        if type(part) in _PLAIN:
            made = _or_null(part)
        elif isinstance(part, _DATA) and _is_media(value, key):
            continue
        else:
            try:
                made = _or_null(plain_data(part))
            except UnmeantError as error:
                raise error.inside(str(key)) from None
        if made is not part:
            changed = dict(value) if changed is None else changed
            changed[key] = made
    return value if changed is None else changed


def _or_null(value: Any) -> Any:
    return None if type(value) is float and value != value else value


def _require_key(key: Any) -> None:
    if isinstance(key, float) and not math.isfinite(key):
        raise UnmeantError(f"a key that is {float(key)}: expected a text")
    if isinstance(key, _BINARY):
        raise UnmeantError("a key that is binary data: expected a text")


def _is_media(of: Mapping[Any, Any], key: Any) -> bool:
    """Whether data are an image, a video or a sound: of a part, or what :mod:`datasets` keeps of one."""
    if key == "bytes" and "path" in of:
        return True
    return of.get("type") in PART_TYPES and key not in ("text", "content")


def _converted(value: Any) -> Any:
    if isinstance(value, _BINARY):
        raise UnmeantError(f"binary data ({len(value):,} bytes): expected a text; decode it first")
    if isinstance(value, (np.ndarray, np.generic)):
        return plain_data(value.tolist())
    if isinstance(value, Mapping):
        return plain_data(dict(value))
    if isinstance(value, (list, tuple)):
        return plain_data(items_of(value))
    # bool is final, and no subclass of it can be met here.
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain_data(plain(value)) if plain is not str else str.__str__(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain_data({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    for name in ("model_dump", "as_py", "tolist"):
        method = getattr(value, name, None)
        if callable(method) and not isinstance(value, type):
            return plain_data(method())
    return value


def items_of(sequence: Sequence[Any]) -> list[Any]:
    """The items of a sequence, whose own class may lie, or never end.

    Raises:
        ValueError: it has another number of items than it says.

    Example:
        >>> items_of((1, 2))
        [1, 2]
    """
    said = len(sequence)
    # Nothing is reserved for what it says.
    items = list(islice(iter(sequence), said + 1))
    if len(items) != said:
        found = "more" if len(items) > said else len(items)
        raise ValueError(f"{type(sequence).__name__} claims {said} items, but yields {found}")
    return items


def is_missing(value: Any) -> bool:
    """Whether a column has nothing in this row: null, or what pandas writes for it (NaN, NA, NaT)."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value
    return type(value).__name__ in ("NAType", "NaTType")


def is_empty(value: Any) -> bool:
    """Whether a column has nothing in this row, or a list, text or dict without anything in it."""
    if is_missing(value):
        return True
    try:
        return len(value) == 0
    # A number, or an array without dimensions.
    except TypeError:
        return False


def decoded(value: Any) -> Any:
    """JSON text as what it says, also that of a list's items: tables keep lists of dicts that differ as text."""
    if isinstance(value, list) and value and all(isinstance(item, str) and item.lstrip()[:1] == "{" for item in value):
        return [decoded_text(item) for item in value]
    return decoded_text(value)
