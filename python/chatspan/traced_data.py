"""The input of a template, rebuilt so that every string in it remembers its field."""

from __future__ import annotations

from typing import Any

from chatspan.origins import Origin, Path, Root
from chatspan.preparation import plain
from chatspan.traced_dump import dump_repr
from chatspan.traced_str import Field, Traced


class TracedDict(dict[Any, Any]):
    """A dict of the input. Written out by a template, it is a dump of itself."""

    __slots__ = ("_key", "_message_index", "_parent")
    _message_index: int
    _parent: Origin
    _key: str | int | None

    @property
    def _path(self) -> Path:
        return self._parent._path if self._key is None else (*self._parent._path, self._key)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (TracedDict, (), (self._parent, self._message_index, self._key), None, iter(dict.items(self)))

    def __setstate__(self, place: tuple[Origin, int, str | int | None]) -> None:
        self._parent, self._message_index, self._key = place

    def _traced(self, key: Any) -> Any:
        """A key as a template gets to write it: derived from this dict."""
        return Traced(key, ((0, len(key), self, -1),)) if type(key) is str and key else key

    def __iter__(self) -> Any:
        return map(self._traced, dict.__iter__(self))

    def __reversed__(self) -> Any:
        return map(self._traced, dict.__reversed__(self))

    def keys(self) -> Any:
        return [self._traced(key) for key in dict.__iter__(self)]

    def items(self) -> Any:
        return [(self._traced(key), value) for key, value in dict.items(self)]

    def __str__(self) -> str:
        return dump_repr(self)


class TracedList(list[Any]):
    """A list of the input."""

    __slots__ = ("_key", "_message_index", "_parent")
    _path = TracedDict._path
    __setstate__ = TracedDict.__setstate__
    _message_index: int
    _parent: Origin
    _key: str | int | None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (TracedList, (), (self._parent, self._message_index, self._key), iter(self))

    def __str__(self) -> str:
        return dump_repr(self)


class TracedInt(int):
    """A number of the input, which a template may write out."""

    _path = TracedDict._path

    def __str__(self) -> str:
        return Traced(text := int.__repr__(self), ((0, len(text), self, -1),))


class TracedFloat(float):
    """A number of the input, which a template may write out."""

    _path = TracedDict._path

    def __str__(self) -> str:
        return Traced(text := float.__repr__(self), ((0, len(text), self, -1),))


def trace(value: Any, root: Root, plain_types: bool) -> Any:
    """The value with an origin in all that can carry one, which is all but ``True``, ``False`` and ``None``.

    Args:
        root: what the value is.
        plain_types: objects that are no JSON types are rebuilt as transformers does, and else left as they are.
    """
    return _trace(value, root, root._message_index, None, plain_types)


def _trace(value: Any, parent: Origin, message_index: int, key: str | int | None, plain_types: bool) -> Any:
    kind = type(value)
    traced: Any
    if kind is str:
        if not value:
            return value
        traced = str.__new__(Field, value)
    elif value is None or kind is bool:
        return value
    elif kind is dict:
        traced = TracedDict()
        for name, part in value.items():
            if type(part) is str and type(name) is str:
                # The most frequent case, without a call.
                if part:
                    part = str.__new__(Field, part)
                    part._parent, part._message_index, part._key = traced, message_index, name
            elif part is not None:
                part = _trace(part, traced, message_index, name, plain_types)
            traced[name] = part
    elif kind is list:
        traced = TracedList()
        traced.extend(_trace(part, traced, message_index, index, plain_types) for index, part in enumerate(value))
    elif kind is tuple:
        shell = TracedList()
        shell._parent, shell._message_index, shell._key = parent, message_index, key
        return tuple(_trace(part, shell, message_index, index, plain_types) for index, part in enumerate(value))
    elif kind is int:
        traced = TracedInt(value)
    elif kind is float:
        traced = TracedFloat(value)
    elif plain_types:
        return _trace(plain(value), parent, message_index, key, plain_types)
    else:
        return value
    traced._parent, traced._message_index, traced._key = parent, message_index, key
    return traced


def message_of(value: Any) -> int | None:
    """The index of the message that a value is, or was made of; nothing if it is no message."""
    if type(value) is TracedDict:
        return None if value._key is not None or value._parent._path else value._message_index
    if type(value) is dict and "role" in value:
        for part in value.values():
            if isinstance(part, Traced) and part._runs:
                index: int = part._runs[0][2]._message_index
                return index
    return None
