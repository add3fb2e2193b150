"""The calls of a completion, read in the form that a template writes them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from chatspan.rollout.parse.learn.arguments import KeyedArguments, Wrap
from chatspan.rollout.parse.learn.calls import ARGUMENTS, ID, NAME, CallForm, Keys, ObjectCall, SlotCall
from chatspan.rollout.parse.learn.marks import CharRange, Mark
from chatspan.rollout.parse.learn.notation import JSON, Notation, read_whole
from chatspan.rollout.parse.values import ToolTypes, choices, type_of

# How many places are tried for a mark that may stand in a text, too; how many calls a turn may have.
_PLACES, _MOST_CALLS = 6, 128
_STEPS = 4000


@dataclass(frozen=True)
class ReadCall:
    """A call as it was read.

    Attributes:
        name: its name.
        arguments: for each key the values that its text may be, the likeliest first.
        call_id: its id; ``None`` if there is none.
        text: the arguments as the completion spells them, where they are one value.
        marks: the template's text in it.
        rest: what else an object has that is the call.
        spans: the characters of its words.
    """

    name: str
    arguments: Mapping[str, list[Any]]
    call_id: str | None = None
    text: str | None = None
    marks: tuple[str, ...] = ()
    rest: Any = None
    spans: tuple[CharRange, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """The likeliest arguments."""
        return {key: values[0] for key, values in self.arguments.items()}


class Budget:
    """How much one completion may be searched: what a model writes may begin calls all over."""

    def __init__(self) -> None:
        self._left = _STEPS

    def spend(self) -> bool:
        """Whether there is something left."""
        self._left -= 1
        return self._left >= 0


@dataclass
class _Partial:
    """A call that is being read."""

    words: dict[str, str] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    spans: tuple[CharRange, ...] = ()


class CallReader:
    """Reads the calls of a turn.

    Args:
        types: of the tools' arguments.
    """

    def __init__(self, form: CallForm, types: ToolTypes) -> None:
        self._form = form
        self._types = types
        self._budget = Budget()

    def read(self, text: str, start: int, *, loose: bool) -> Iterator[tuple[tuple[ReadCall, ...], int]]:
        """The calls from ``start`` on, and where the last one ends: as many as there can be first."""
        yield from self._more((), text, start, loose)

    def _more(
        self, known: tuple[ReadCall, ...], text: str, start: int, loose: bool
    ) -> Iterator[tuple[tuple[ReadCall, ...], int]]:
        for call, end in self._call(text, start, loose):
            for mark in self._form.between if len(known) + 1 < _MOST_CALLS else ():
                at = mark.end_at(text, end, loose=loose)
                if at >= 0:
                    yield from self._more((*known, _marked(call, text[end:at])), text, at, loose)
            yield (*known, call), end

    def _call(self, text: str, start: int, loose: bool) -> Iterator[tuple[ReadCall, int]]:
        """The calls that one may be that begins at ``start``, and where each ends."""
        if not self._budget.spend():
            return
        if isinstance(self._form.call, ObjectCall):
            yield from self._object(self._form.call, text, start, loose)
        else:
            yield from self._slots(self._form.call, text, start, loose)

    def _object(self, form: ObjectCall, text: str, start: int, loose: bool) -> Iterator[tuple[ReadCall, int]]:
        try:
            value, end = form.notation.read(text, start)
        except ValueError:
            return
        call = _call_of(form, value)
        close = self._form.close
        stop = close.end_at(text, end, loose=loose)
        if call is not None and stop >= 0:
            # Brackets are the notation's.
            yield replace(_marked(call, text[end:stop]), spans=((start + 1, end - 1),)), stop

    def _slots(self, form: SlotCall, text: str, start: int, loose: bool) -> Iterator[tuple[ReadCall, int]]:
        yield from self._slot(form, text, start, loose, 0, _Partial())

    def _slot(
        self, form: SlotCall, text: str, at: int, loose: bool, number: int, known: _Partial
    ) -> Iterator[tuple[ReadCall, int]]:
        what = form.slots[number]
        last = number + 1 == len(form.slots)
        if what == ARGUMENTS:
            for arguments, spelled, marks, spans, end in self._arguments(form, text, at, loose, known):
                found = ReadCall(known.words.get(NAME, ""), arguments, known.words.get(ID), spelled)
                found = replace(_marked(found, *known.marks, *marks), spans=(*known.spans, *spans))
                if last:
                    yield found, end
            return
        if last:
            return
        following = form.slots[number + 1]
        keyed = form.keyed if following == ARGUMENTS else None
        leads = form.marks[number] if keyed is None else (keyed.opening,)
        empty = keyed.empty if keyed is not None else None
        places = [(*place, False) for place in _first_places(leads, text, at, loose)]
        places += [(*place, True) for place in _first_places((empty,) if empty else (), text, at, loose)]
        # The shortest name first.
        for start, end, is_last in sorted(places):
            word = text[at:start].strip() if loose else text[at:start]
            if known.words.get(what, word) != word or "\n" in word:
                continue
            words, spans = {**known.words, what: word}, (*known.spans, (at, start))
            passed = (*known.marks, text[start:end])
            if is_last:
                yield ReadCall(words.get(NAME, ""), {}, words.get(ID), None, passed, spans=spans), end
            else:
                yield from self._slot(form, text, end, loose, number + 1, _Partial(words, passed, spans))

    def _arguments(
        self, form: SlotCall, text: str, at: int, loose: bool, known: _Partial
    ) -> Iterator[tuple[Mapping[str, list[Any]], str | None, tuple[str, ...], tuple[CharRange, ...], int]]:
        """Arguments that begin at ``at``: values, their spelling, marks, words, and where the call ends."""
        if form.keyed is not None:
            name = known.words.get(NAME, "")
            reader = _KeyedReader(form.keyed, self._types, name, text, loose, self._budget)
            for known_pairs, end in reader.read(at):
                yield known_pairs.arguments, None, known_pairs.marks, known_pairs.spans, end
            return
        assert form.notation is not None
        try:
            value, end = form.notation.read(text, at)
        except ValueError:
            return
        arguments = _arguments_of(value, form.as_text)
        stop = self._form.close.end_at(text, end, loose=loose)
        if arguments is not None and stop >= 0:
            values = {key: [part] for key, part in arguments.items()}
            yield values, text[at:end], (text[end:stop],), ((at + 1, end - 1),), stop


@dataclass(frozen=True)
class _Pairs:
    """Arguments as far as they are read."""

    arguments: dict[str, list[Any]]
    marks: tuple[str, ...] = ()
    spans: tuple[CharRange, ...] = ()

    def more(self, key: str, values: list[Any], marks: tuple[str, ...], spans: tuple[CharRange, ...]) -> _Pairs:
        """With one more."""
        return _Pairs({**self.arguments, key: values}, (*self.marks, *marks), (*self.spans, *spans))


class _KeyedReader:
    """Reads the arguments of one call, key by key."""

    def __init__(
        self, form: KeyedArguments, types: ToolTypes, name: str, text: str, loose: bool, budget: Budget
    ) -> None:
        self._form = form
        self._types = types
        self._name = name
        self._text = text
        self._loose = loose
        self._budget = budget

    def read(self, start: int) -> Iterator[tuple[_Pairs, int]]:
        """The arguments whose first key begins at ``start``, and where the call ends."""
        stack = [(_Pairs({}), self._pairs(start))]
        while stack:
            known, more = stack[-1]
            found = next(more, None)
            if found is None:
                stack.pop()
                continue
            key, values, wrap, lead, spans = found
            end = spans[1][1]
            if key in known.arguments:
                continue
            stop = wrap.close.end_at(self._text, end, loose=self._loose)
            following = wrap.tail.end_at(self._text, end, loose=self._loose)
            if following >= 0:
                passed = known.more(key, values, (lead, self._text[end:following]), spans)
                stack.append((passed, self._pairs(following)))
            if stop >= 0:
                yield known.more(key, values, (lead, self._text[end:stop]), spans), stop

    def _pairs(self, start: int) -> Iterator[tuple[str, list[Any], Wrap, str, tuple[CharRange, CharRange]]]:
        """A key that begins at ``start`` with its values, what stands around them, and their characters."""
        found = []
        for wrap in self._form.wraps if self._budget.spend() else ():
            place = next(wrap.lead.places(self._text, start, loose=self._loose), None)
            if place is not None:
                found.append((place, wrap))
        # The key is what stands in front of the first lead; of two that begin there, the longer one first.
        first = min((place[0] for place, _ in found), default=-1)
        here = [(place, wrap) for place, wrap in found if place[0] == first]
        for (_, behind), wrap in sorted(here, key=lambda each: -each[0][1]):
            key = self._text[start:first]
            key = key.strip() if self._loose else key
            for values, end in self._values(wrap, key, behind):
                yield key, values, wrap, self._text[first:behind], ((start, first), (behind, end))

    def _values(self, wrap: Wrap, key: str, start: int) -> Iterator[tuple[list[Any], int]]:
        """What the text from ``start`` on may be, and where it ends."""
        types = self._types.types(self._name, key)
        if not wrap.raw:
            for notation in dict.fromkeys(wrap.notations.values()):
                try:
                    value, end = notation.read(self._text, start)
                except ValueError:
                    continue
                if wrap.notations.get(type_of(value)) is notation:
                    yield [value], end
            return
        for end in self._ends(wrap, start):
            spelled = self._text[start:end]
            bare = spelled.strip() if self._loose else spelled
            yield choices([*_typed(wrap.notations, bare), bare], types), end

    def _ends(self, wrap: Wrap, start: int) -> Iterator[int]:
        """Where a text may end: in front of what stands behind a value."""
        tails = islice(wrap.tail.places(self._text, start, loose=self._loose), _PLACES)
        closes = islice(wrap.close.places(self._text, start, loose=self._loose), _PLACES)
        yield from sorted({first for first, _ in (*tails, *closes)})


def _typed(notations: Mapping[str, Notation], text: str) -> list[Any]:
    """The values other than texts that a text is."""
    for notation in dict.fromkeys(notations.values()):
        try:
            value = read_whole(notation, text)
        except ValueError:
            continue
        if notations.get(type_of(value)) is notation:
            return [value]
    return []


def _first_places(marks: tuple[Mark, ...], text: str, at: int, loose: bool) -> list[tuple[int, int]]:
    found = [place for mark in marks for place in islice(mark.places(text, at, loose=loose), _PLACES)]
    return sorted(found)[:_PLACES]


def _marked(call: ReadCall, *marks: str) -> ReadCall:
    return replace(call, marks=(*call.marks, *marks))


def _call_of(form: ObjectCall, value: Any) -> ReadCall | None:
    """The call that an object is."""
    if form.name is None:
        inner = _at(value, form.arguments)
        if not isinstance(inner, dict) or len(inner) != 1:
            return None
        [(name, arguments)] = inner.items()
    else:
        name, arguments = _at(value, form.name), _at(value, form.arguments)
    found = _arguments_of(arguments, form.as_text)
    call_id = None if form.call_id is None else _at(value, form.call_id)
    if not isinstance(name, str) or found is None or not isinstance(call_id, str | None):
        return None
    return ReadCall(name, {key: [part] for key, part in found.items()}, call_id, rest=value)


def _arguments_of(value: Any, as_text: bool) -> dict[str, Any] | None:
    if as_text:
        if not isinstance(value, str):
            return None
        try:
            value = read_whole(JSON, value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def _at(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
