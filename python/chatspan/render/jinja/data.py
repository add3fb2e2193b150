"""The input of a template as traced Jinja2 takes it: what a template writes of it remembers its field."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView
from typing import Any

from chatspan.render.fields import FieldDict, FieldFloat, FieldInt, FieldList, FieldTypes, Placed, place
from chatspan.render.jinja.dump import dump_repr
from chatspan.render.jinja.text import Field, Traced, derived, origin_of
from chatspan.render.origins import Dump, Origin, Root, source_of


class TracedKeys(KeysView[Any]):
    """The keys of a dict of the input, as Python's ``dict_keys``."""

    __slots__ = ()
    _mapping: TracedDict

    def __iter__(self) -> Any:
        return iter(self._mapping)

    def __reversed__(self) -> Any:
        return reversed(self._mapping)

    def __repr__(self) -> str:
        return repr(dict.keys(self._mapping))

    def __str__(self) -> str:
        return derived(repr(self), self._mapping)


class TracedItems(ItemsView[Any, Any]):
    """The items of a dict of the input, as Python's ``dict_items``."""

    __slots__ = ()
    _mapping: TracedDict

    def __iter__(self) -> Any:
        return ((self._mapping._traced(key), value) for key, value in dict.items(self._mapping))

    def __contains__(self, item: object) -> bool:
        return isinstance(item, tuple) and len(item) == 2 and super().__contains__(item)

    def __reversed__(self) -> Any:
        return ((self._mapping._traced(key), value) for key, value in reversed(dict.items(self._mapping)))

    def __repr__(self) -> str:
        return repr(dict.items(self._mapping))

    def __str__(self) -> str:
        return derived(repr(self), self._mapping)


class TracedDict(FieldDict):
    """A dict of the input. Written out by a template, it is a dump of itself."""

    __slots__ = ()

    def _traced(self, key: Any) -> Any:
        """A key as a template gets to write it: derived from this dict."""
        if isinstance(key, str):
            return Traced(text := str.__str__(key), ((0, len(text), self, -1),)) if key else key
        return remembered(key, self)

    def __iter__(self) -> Any:
        return map(self._traced, dict.__iter__(self))

    def __reversed__(self) -> Any:
        return map(self._traced, dict.__reversed__(self))

    def keys(self) -> Any:
        return TracedKeys(self)

    def items(self) -> Any:
        return TracedItems(self)

    def copy(self) -> Any:
        return dict(self.items())

    def __str__(self) -> str:
        return dump_repr(self)


class TracedList(FieldList):
    """A list of the input."""

    __slots__ = ()

    def __str__(self) -> str:
        return dump_repr(self)


class TracedInt(FieldInt):
    """A number of the input, which a template may write out. What is calculated with it comes from it, too."""

    _source: Any = None

    def __str__(self) -> str:
        return Traced(text := int.__repr__(self), ((0, len(text), source_of(self), -1),))


class TracedFloat(FieldFloat):
    """A number of the input, which a template may write out."""

    _source: Any = None

    def __str__(self) -> str:
        return Traced(text := float.__repr__(self), ((0, len(text), source_of(self), -1),))


class TracedBytes(Placed, bytes):
    """What ``encode`` makes of a string of the input."""

    _source: Any = None
    _message_index: int
    _parent: Origin
    _key: str | int | None

    def __str__(self) -> str:
        return derived(bytes.__repr__(self), self)

    def __iter__(self) -> Any:
        return iter(remembered(list(bytes.__iter__(self)), self))

    def __getitem__(self, key: Any) -> Any:
        return remembered(bytes.__getitem__(self, key), self)

    def __add__(self, other: Any) -> Any:
        return remembered(bytes.__add__(self, other), self)


_MADE: dict[type, type] = {int: TracedInt, float: TracedFloat, bytes: TracedBytes}


def remembered(value: Any, *sources: Any) -> Any:
    """A text, a number or bytes that were made of the sources, or a list of such."""
    kind = type(value)
    if kind is str:
        return derived(value, *sources)
    if kind is list or kind is tuple:
        return kind(remembered(part, *sources) for part in value)
    if kind not in _MADE:
        return value
    origin = origin_of(sources)
    if origin is None:
        return value
    made: Any = _MADE[kind](value)
    made._source = made._parent = origin.container if isinstance(origin, Dump) else origin
    made._message_index, made._key = origin._message_index, None
    return made


def _calculating(kind: Any, name: str, *, reflected: bool = False) -> Any:
    method = getattr(kind, f"__{name}__")

    def calculate(self: Any, *others: Any) -> Any:
        # What stands on the left is the first that it comes from.
        return remembered(method(self, *others), *((*others, self) if reflected else (self, *others)))

    calculate.__name__ = f"__{name}__"
    return calculate


_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
for _kind, _base in ((TracedInt, int), (TracedFloat, float)):
    for _name in (*_OPERATORS, "neg", "pos", "abs", "round"):
        setattr(_kind, f"__{_name}__", _calculating(_base, _name))
    for _name in _OPERATORS:
        setattr(_kind, f"__r{_name}__", _calculating(_base, f"r{_name}", reflected=True))


_TRACED = FieldTypes(Field, TracedDict, TracedList, TracedInt, TracedFloat)


def trace(value: Any, root: Root, plain_types: bool) -> Any:
    """:func:`chatspan.render.fields.place`, with values that a template may take apart, join and write."""
    return place(value, root, plain_types, _TRACED)


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
