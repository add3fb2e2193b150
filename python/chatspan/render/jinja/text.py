"""Strings that remember where their characters come from, through all that a template does to them.

:class:`Traced` is a ``str`` in everything that a template can see. Its methods give what those of ``str`` give, with
the runs that belong to the result: slices, strips, splits and joins keep them; what cannot keep them (``upper`` of
"ß", ``center``) gives one *derived* run, never none.
"""

from __future__ import annotations

import functools
import itertools
import operator
import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from markupsafe import escape as markup_escape

from chatspan.render.fields import FieldText, Placed
from chatspan.render.origins import Origin, Run, cut_runs, is_container, source_of

# What a mark says of its characters: the index of the message being rendered, or that a generation block wrote them.
GENERATION = "generation"
Mark = tuple[int, int, int | str]


class OwnerMark(str):
    """No characters; what is written behind it belongs to the message ``owner`` (-1: to none)."""

    __slots__ = ("owner",)
    owner: int

    def __new__(cls, owner: int) -> OwnerMark:
        mark = str.__new__(cls, "")
        mark.owner = owner
        return mark

    def __str__(self) -> str:
        return self


class Traced(str):
    """A string with runs, and with marks where a template wrote it into a buffer.

    The sandbox hides names that begin with an underscore, so templates see nothing but a ``str``.
    """

    __slots__ = ("_marks", "_runs")
    _runs: tuple[Run, ...]
    _marks: tuple[Mark, ...]

    def __new__(cls, text: str = "", runs: tuple[Run, ...] = (), marks: tuple[Mark, ...] = ()) -> Traced:
        self = str.__new__(cls, text)
        self._runs = runs
        self._marks = marks
        return self

    def __str__(self) -> str:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (type(self), (str.__str__(self), self._runs, self._marks))

    def _cut(self, start: int, end: int) -> str:
        """The characters ``[start, end)``; a plain string where nothing is known of them."""
        text = str.__getitem__(self, slice(start, end))
        if len(text) == len(self):
            return self
        if not text:
            return ""
        runs = cut_runs(self._runs, start, end)
        marks = _cut_marks(self._marks, start, end) if self._marks else ()
        return type(self)(text, runs, marks) if runs or marks else text

    def __add__(self, other: str) -> str:
        # What is marked as safe escapes what it is added to.
        if not isinstance(other, str) or isinstance(other, TracedMarkup):
            return NotImplemented
        return join((self, other))

    def __radd__(self, other: str) -> str:
        if not isinstance(other, str):
            return NotImplemented
        return join((other, self))

    def __mul__(self, times: Any) -> str:
        return join([self] * times)

    __rmul__ = __mul__

    def __mod__(self, args: Any) -> str:
        return percent(self, args)

    def __rmod__(self, template: str) -> str:
        return percent(template, self)

    def __getitem__(self, key: Any) -> str:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._cut(start, max(start, stop))
            return join([self._cut(i, i + 1) for i in range(start, stop, step)])
        text = str.__getitem__(self, key)
        start = range(len(self))[key]
        return self._cut(start, start + len(text))

    def __iter__(self) -> Iterator[str]:
        return (self._cut(i, i + 1) for i in range(len(self)))

    def strip(self, chars: str | None = None) -> str:
        start = len(self) - len(str.lstrip(self, chars))
        return self._cut(start, max(start, len(str.rstrip(self, chars))))

    def lstrip(self, chars: str | None = None) -> str:
        return self._cut(len(self) - len(str.lstrip(self, chars)), len(self))

    def rstrip(self, chars: str | None = None) -> str:
        return self._cut(0, len(str.rstrip(self, chars)))

    def removeprefix(self, prefix: str) -> str:
        return self._cut(len(self) - len(str.removeprefix(self, prefix)), len(self))

    def removesuffix(self, suffix: str) -> str:
        return self._cut(0, len(str.removesuffix(self, suffix)))

    def split(self, sep: str | None = None, maxsplit: Any = -1) -> list[str]:
        return self._pieces(str.split(self, sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: Any = -1) -> list[str]:
        return self._pieces(str.rsplit(self, sep, maxsplit), sep)

    def _pieces(self, parts: list[str], sep: str | None) -> list[str]:
        """The parts of a split: next to each other, or with a separator or blanks between them."""
        pieces, position = [], 0
        for part in parts:
            start = str.index(self, part, position) if sep is None else position
            pieces.append(self._cut(start, start + len(part)))
            position = start + len(part) + len(sep or "")
        return pieces

    def splitlines(self, keepends: Any = False) -> list[str]:
        lines, position = [], 0
        for whole, line in zip(str.splitlines(self, True), str.splitlines(self, keepends), strict=True):
            lines.append(self._cut(position, position + len(line)))
            position += len(whole)
        return lines

    def partition(self, sep: str) -> tuple[str, str, str]:
        return self._three(str.partition(self, sep))

    def rpartition(self, sep: str) -> tuple[str, str, str]:
        return self._three(str.rpartition(self, sep))

    def _three(self, parts: tuple[str, str, str]) -> tuple[str, str, str]:
        first, second = len(parts[0]), len(parts[0]) + len(parts[1])
        return (self._cut(0, first), self._cut(first, second), self._cut(second, len(self)))

    def replace(self, old: str, new: str, count: Any = -1) -> str:
        return replace(self, old, new, count)

    def join(self, parts: Iterable[str]) -> str:
        return join_with(self, parts)

    def format(self, *args: Any, **kwargs: Any) -> str:
        return formatted(functools.partial(str.format, self), args, kwargs, self)


class Field(Placed, Traced):
    """A string of the input, whole. It is the origin of its own characters."""

    __slots__ = ("_key", "_message_index", "_parent")
    _message_index: int
    _parent: Origin
    _key: str | int | None
    _marks: tuple[Mark, ...] = ()
    __reduce_ex__ = FieldText.__reduce_ex__
    _runs = FieldText._runs

    def _cut(self, start: int, end: int) -> str:
        text = str.__getitem__(self, slice(start, end))
        if len(text) == len(self):
            return self
        return Traced(text, ((0, len(text), self, start),)) if text else ""


class TracedMarkup(Traced):
    """What ``safe`` and ``escape`` give: as ``markupsafe.Markup``, it escapes what is added to it."""

    __slots__ = ()

    def __str__(self) -> str:
        return Traced(str.__str__(self), self._runs, self._marks)

    def __html__(self) -> TracedMarkup:
        return self

    def __add__(self, other: str) -> str:
        if not (isinstance(other, str) or hasattr(other, "__html__")):
            return NotImplemented
        return as_markup(join((self, escape(other))))

    def __radd__(self, other: str) -> str:
        if not (isinstance(other, str) or hasattr(other, "__html__")):
            return NotImplemented
        return as_markup(join((escape(other), self)))

    def join(self, parts: Iterable[str]) -> str:
        return as_markup(join_with(self, [escape(part) for part in parts]))


def as_markup(text: str) -> TracedMarkup:
    """The text with its runs, marked as safe."""
    if isinstance(text, Traced):
        return TracedMarkup(str.__str__(text), text._runs, text._marks)
    return TracedMarkup(text)


def escape(value: Any) -> TracedMarkup:
    """``markupsafe.escape``; what is escaped is derived, the characters between keep their runs."""
    if isinstance(value, TracedMarkup):
        return value
    if is_container(value):
        value = str(value)
    if not isinstance(value, Traced):
        return as_markup(str.__str__(markup_escape(value)))
    escaped: str = value
    for character, entity in _ENTITIES:
        if character in escaped:
            escaped = escaped.replace(character, derived(entity, value))
    return as_markup(escaped)


def join(parts: Iterable[Any]) -> str:
    """The parts, one behind the other. What ``"".join`` gives, as a plain string where no part is traced."""
    runs: list[Run] = []
    marks: list[Mark] = []
    texts = []
    length = 0
    owner: int | None = None
    owner_start = 0
    for part in parts:
        kind = type(part)
        end = length + len(part)
        if kind is str:
            pass
        elif kind is Field:
            runs.append((length, end, part, 0))
        elif kind is OwnerMark:
            if owner is not None and owner_start < length:
                marks.append((owner_start, length, owner))
            owner, owner_start = part.owner, length
            continue
        elif isinstance(part, Traced):
            if length:
                runs += [(first + length, last + length, origin, at) for first, last, origin, at in part._runs]
                marks += [(first + length, last + length, what) for first, last, what in part._marks]
            else:
                runs += part._runs
                marks += part._marks
        texts.append(part)
        length = end
    if owner is not None and owner_start < length:
        marks.append((owner_start, length, owner))
    text = "".join(texts)
    return Traced(text, tuple(runs), tuple(marks)) if runs or marks else text


def add(values: tuple[Any, ...]) -> Any:
    """``a + b + c``, of strings at once."""
    for value in values:
        if type(value) not in _STRINGS:
            return functools.reduce(operator.add, values)
    return join(values)


_STRINGS = {str, Traced, Field}
# What markupsafe makes of them; the first one first, since the others contain it.
_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ('"', "&#34;"))


def join_with(separator: str, parts: Iterable[Any]) -> str:
    """``separator.join(parts)`` with the runs of both."""
    found: list[Any] = []
    for index, part in enumerate(parts):
        if not isinstance(part, str):
            raise TypeError(f"sequence item {index}: expected str instance, {type(part).__name__} found")
        if index and separator:
            found.append(separator)
        found.append(part)
    return join(found)


def replace(text: str, old: str, new: str, count: Any = -1) -> str:
    """``text.replace(old, new, count)`` with the runs of the text and of ``new``."""
    if count is None or count < 0:
        count = -1
    if not old:
        replaced = str.replace(text, old, new, count)
        return derived(replaced, text, new)
    pieces = text.split(old, count)
    return join_with(new, pieces)


def percent(template: str, args: Any) -> str:
    """``template % args`` with the runs of the arguments."""
    if isinstance(args, tuple):
        return formatted(lambda *values: str.__mod__(template, values), args, {}, template)
    return formatted(lambda value: str.__mod__(template, value), (args,), {}, template)


def formatted(
    format: Callable[..., str], args: tuple[Any, ...], kwargs: Mapping[str, Any], template: Any = None
) -> str:
    """``format(*args, **kwargs)``, a text with the arguments in it, and their runs.

    Done with a word in place of each traced argument; what the words do not come back from (widths, ``%r``, parts of
    an argument, numbers and containers) is derived, as is all of it where the template is traced itself.
    """
    text = str.__str__(format(*args, **kwargs))
    values = [value for value in (*args, *kwargs.values()) if isinstance(value, Traced) and value]
    others = [template, *(value for value in (*args, *kwargs.values()) if not isinstance(value, Traced))]
    if not values or origin_of(others) is not None:
        return derived(text, *others, *values)
    words = {f"\ue0f0{index}\ue0f1": value for index, value in enumerate(values)}
    word_of = {id(value): word for word, value in words.items()}
    marked = format(
        *(word_of.get(id(value), value) for value in args),
        **{key: word_of.get(id(value), value) for key, value in kwargs.items()},
    )
    pieces = re.split("(\ue0f0[0-9]+\ue0f1)", str.__str__(marked))
    found = join([words.get(piece, piece) for piece in pieces])
    return found if str.__str__(found) == text else derived(text, *args, *kwargs.values())


def derived(text: str, *sources: Any) -> str:
    """A text that was made of the sources in a way that says nothing of its single characters."""
    if not text:
        return text
    for source in sources:
        if isinstance(source, Traced) and len(source) == len(text) and str.__eq__(source, text):
            return source
    origin = origin_of(sources)
    return text if origin is None else Traced(text, ((0, len(text), origin, -1),))


def origin_of(value: Any) -> Any:
    """The first origin found in a value; nothing if it is none of the input's."""
    if isinstance(value, Traced):
        return value._runs[0][2] if value._runs else None
    if is_container(value):
        return source_of(value)
    if isinstance(value, dict):
        value = itertools.chain.from_iterable(dict.items(value))
    elif not isinstance(value, (list, tuple, KeysView, ValuesView, ItemsView)):
        return None
    return next((found for found in map(origin_of, value) if found is not None), None)


def _cut_marks(marks: tuple[Mark, ...], start: int, end: int) -> tuple[Mark, ...]:
    return tuple(
        (max(mark_start, start) - start, min(mark_end, end) - start, what)
        for mark_start, mark_end, what in marks
        if mark_start < end and mark_end > start
    )


def _derived_method(name: str) -> Any:
    method = getattr(str, name)

    def derived_method(self: Traced, *args: Any, **kwargs: Any) -> str:
        return derived(method(self, *args, **kwargs), self, args)

    derived_method.__name__ = name
    return derived_method


for _name in (
    *("upper", "lower", "title", "capitalize", "swapcase", "casefold", "translate", "format_map"),
    *("center", "ljust", "rjust", "zfill", "expandtabs"),
):
    setattr(Traced, _name, _derived_method(_name))
