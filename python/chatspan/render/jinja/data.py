"""The input of a template as traced Jinja2 takes it: what a template writes of it remembers its field."""

from __future__ import annotations

from typing import Any

from chatspan.render.fields import FieldDict, FieldFloat, FieldInt, FieldList, FieldTypes, place
from chatspan.render.jinja.dump import dump_repr
from chatspan.render.jinja.text import Field, Traced
from chatspan.render.origins import Root


class TracedDict(FieldDict):
    """A dict of the input. Written out by a template, it is a dump of itself."""

    __slots__ = ()

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


class TracedList(FieldList):
    """A list of the input."""

    __slots__ = ()

    def __str__(self) -> str:
        return dump_repr(self)


class TracedInt(FieldInt):
    """A number of the input, which a template may write out."""

    def __str__(self) -> str:
        return Traced(text := int.__repr__(self), ((0, len(text), self, -1),))


class TracedFloat(FieldFloat):
    """A number of the input, which a template may write out."""

    def __str__(self) -> str:
        return Traced(text := float.__repr__(self), ((0, len(text), self, -1),))


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
