"""The input of a template, rebuilt so that each value knows its field.

Every value has the index of its message (``_message_index``; -1 for tools, documents and keywords), what contains it
(``_parent``), and its key there (``_key``); its path is found when it is asked for. The engines have types of their own
for what their templates may do with values; these here only know their place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chatspan.render.origins import Origin, Path, Root, Run
from chatspan.render.preparation import plain


class Placed:
    """A value that knows its field."""

    __slots__ = ()

    @property
    def _path(self) -> Path:
        parent: Origin = self._parent  # type: ignore[attr-defined]
        key: str | int | None = self._key  # type: ignore[attr-defined]
        return parent._path if key is None else (*parent._path, key)

    def __setstate__(self, place: tuple[Origin, int, str | int | None]) -> None:
        for name, value in zip(("_parent", "_message_index", "_key"), place, strict=True):
            setattr(self, name, value)


class FieldText(Placed, str):
    """A string of the input. It is the origin of its own characters."""

    __slots__ = ("_key", "_message_index", "_parent")
    _message_index: int
    _parent: Origin
    _key: str | int | None

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Its parent contains it, so it is made before it knows its parent.
        return (_text, (type(self), str.__str__(self)), (self._parent, self._message_index, self._key))

    @property
    def _runs(self) -> tuple[Run, ...]:
        return ((0, len(self), self, 0),)


def _text(kind: type[str], text: str) -> str:
    return str.__new__(kind, text)


class FieldDict(Placed, dict[Any, Any]):
    """A dict of the input."""

    __slots__ = ("_key", "_message_index", "_parent")
    _message_index: int
    _parent: Origin
    _key: str | int | None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (type(self), (), (self._parent, self._message_index, self._key), None, iter(dict.items(self)))


class FieldList(Placed, list[Any]):
    """A list of the input."""

    __slots__ = ("_key", "_message_index", "_parent")
    _message_index: int
    _parent: Origin
    _key: str | int | None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (type(self), (), (self._parent, self._message_index, self._key), iter(self))


class FieldInt(Placed, int):
    """A whole number of the input."""

    _message_index: int
    _parent: Origin
    _key: str | int | None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (type(self), (int.__int__(self),), (self._parent, self._message_index, self._key))


class FieldFloat(Placed, float):
    """A number of the input."""

    _message_index: int
    _parent: Origin
    _key: str | int | None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (type(self), (float.__float__(self),), (self._parent, self._message_index, self._key))


class FieldTypes(NamedTuple):
    """What values are rebuilt as."""

    text: type[str]
    mapping: type[dict[Any, Any]]
    sequence: type[list[Any]]
    integer: type[int]
    number: type[float]


PLACED = FieldTypes(FieldText, FieldDict, FieldList, FieldInt, FieldFloat)


def place(value: Any, root: Root, plain_types: bool, types: FieldTypes = PLACED) -> Any:
    """The value with its field in all that can carry it, which is all but ``True``, ``False`` and ``None``.

    Args:
        root: what the value is.
        plain_types: objects that are no JSON types are rebuilt as transformers does, and else left as they are.
        types: what it is rebuilt as.
    """
    return _place(value, root, root._message_index, None, plain_types, types)


def _place(
    value: Any, parent: Any, message_index: int, key: str | int | None, plain_types: bool, types: FieldTypes
) -> Any:
    kind = type(value)
    placed: Any
    if kind is str:
        if not value:
            return value
        placed = str.__new__(types.text, value)
    elif value is None or kind is bool:
        return value
    elif kind is dict:
        placed = types.mapping()
        # A copy, since what makes a part plain may be code of a caller's own, which changes the whole.
        for name, part in value.copy().items():
            if type(part) is str and type(name) is str:
                # The most frequent case, without a call.
                if part:
                    part = str.__new__(types.text, part)
                    part._parent, part._message_index, part._key = placed, message_index, name  # type: ignore[attr-defined]
            elif part is not None:
                part = _place(part, placed, message_index, name, plain_types, types)
            placed[name] = part
    elif kind is list:
        placed = types.sequence()
        placed.extend(
            _place(part, placed, message_index, index, plain_types, types) for index, part in enumerate(value.copy())
        )
    elif kind is tuple:
        shell: Any = types.sequence()
        shell._parent, shell._message_index, shell._key = parent, message_index, key
        return tuple(_place(part, shell, message_index, index, plain_types, types) for index, part in enumerate(value))
    elif kind is int:
        placed = types.integer(value)
    elif kind is float:
        placed = types.number(value)
    elif plain_types:
        return _place(plain(value), parent, message_index, key, plain_types, types)
    else:
        return value
    placed._parent, placed._message_index, placed._key = parent, message_index, key
    return placed
