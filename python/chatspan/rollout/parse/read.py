"""A completion read in the forms of a template: all readings that its text allows, the most structured first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from chatspan.rollout.parse.learn.forms import CALL, CONTENT, REASONING, Forms, TurnForm
from chatspan.rollout.parse.learn.marks import CharRange, Mark
from chatspan.rollout.parse.read_calls import CallReader, ReadCall

# How many places are tried for a mark that stands more than once, and how many readings of one form are kept.
_PLACES, _READINGS = 16, 8


@dataclass(frozen=True)
class Reading:
    """One way to read a completion.

    Attributes:
        form: the form of the turn.
        texts: reasoning and content, as far as the form has them.
        calls: the calls.
        spans: the characters of reasoning and content.
        marks: the template's text, as the completion has it.
        stop_char: where the message ends, its end of turn included.
        ended: whether the end of turn is there.
        loose: whether blanks of the template's text may be others.
    """

    form: TurnForm
    texts: dict[str, str]
    calls: tuple[ReadCall, ...]
    spans: tuple[CharRange, ...]
    marks: tuple[str, ...]
    stop_char: int
    ended: bool
    loose: bool

    def slots(self, shift: int) -> list[CharRange]:
        """The characters of each word: reasoning, content, and the names, keys and values of calls; blank ones aside.

        Args:
            shift: how many characters of the prompt the text begins in front of the completion.
        """
        found = {*self.spans, *(span for call in self.calls for span in call.spans)}
        return [(start - shift, end - shift) for start, end in sorted(found) if start < end]

    def unexplained(self, length: int, shift: int) -> int:
        """How many characters are not the template's own: words, and what stands behind the message.

        Args:
            length: the characters of the completion.
        """
        return sum(end - start for start, end in self.slots(shift)) + length - (self.stop_char - shift)

    def is_coarser_than(self, other: Reading, text: str, shift: int, other_shift: int) -> bool:
        """Whether this one takes the template's text for words where the other tells words apart."""
        stop, other_stop, length = self.stop_char - shift, other.stop_char - other_shift, len(text)
        mine, theirs = self.slots(shift), other.slots(other_shift)
        around = [*mine, (stop, length)]
        starts = [start for start, _ in around]
        covers = all((at := bisect_right(starts, first)) > 0 and last <= around[at - 1][1] for first, last in theirs)
        # One that goes on behind the other's end of turn is another reading.
        inside = not text[max(0, other_stop) : max(0, stop)].strip()
        return covers and inside and (sum(e - s for s, e in mine) > sum(e - s for s, e in theirs) or stop < other_stop)


class TurnReader:
    """Reads completions in some forms.

    Args:
        stops: tokens that end a turn, also where the template does not write them.
    """

    def __init__(self, forms: Forms, calls: CallReader | None, stops: Sequence[str]) -> None:
        self._forms = sorted(forms.turns, key=lambda form: -form.rank)
        self._own_opening = forms.own_opening
        self._reasoning_close = forms.reasoning_marks[1] if forms.reasoning_marks else ""
        self._calls = calls
        self._stops = sorted((stop for stop in stops if stop), key=len, reverse=True)

    def readings(self, text: str, *, loose: bool, dropped: str | None = "", above: int = -1) -> Iterator[Reading]:
        """The readings of a completion.

        Args:
            loose: whether blanks of the template's text may be others.
            dropped: only in forms whose rows lack this end of the prompt; ``None``: in all forms that lack some, as
                if the prompt were the row's.
            above: only in forms that are more structured.
        """
        for form in self._forms:
            fits = bool(form.dropped) if dropped is None else form.dropped == dropped
            if fits and form.rank > above:
                taken = self._without_opening(form) if dropped is None else form
                yield from islice(self._in_form(taken, text, loose), _READINGS)

    def _without_opening(self, form: TurnForm) -> TurnForm:
        """The form as if its rows began with the prompt."""
        if not form.marks:
            return form
        first = Mark(form.marks[0].text[len(self._own_opening) :])
        return replace(form, marks=(first, *form.marks[1:]))

    def _in_form(self, form: TurnForm, text: str, loose: bool) -> Iterator[Reading]:
        """The readings in one form."""
        empty = Reading(form, {}, (), (), (), 0, False, loose)
        if not form.slots:
            yield from self._ends(empty, text, 0, None)
            return
        at = form.marks[0].end_at(text, 0, loose=loose)
        if at >= 0:
            yield from self._slot(replace(empty, marks=(text[:at],)), text, 0, at)

    def _slot(self, reading: Reading, text: str, number: int, at: int) -> Iterator[Reading]:
        """The readings that go on at ``at`` with a slot."""
        form = reading.form
        what = form.slots[number]
        last = number + 1 == len(form.slots)
        if what == CALL:
            if self._calls is None:
                return
            for calls, end in self._calls.read(text, at, loose=reading.loose):
                found = replace(reading, calls=calls)
                found = replace(found, marks=(*found.marks, *(mark for call in calls for mark in call.marks)))
                if last:
                    yield from self._ends(found, text, end, None)
                else:
                    stop = form.marks[number + 1].end_at(text, end, loose=reading.loose)
                    if stop >= 0:
                        found = replace(found, marks=(*found.marks, text[end:stop]))
                        yield from self._slot(found, text, number + 1, stop)
            return
        if last:
            yield from self._ends(reading, text, at, what)
            return
        places = form.marks[number + 1].places(text, at, loose=reading.loose)
        for start, end in islice(places, _PLACES):
            found = self._with_text(reading, text, what, at, start)
            yield from self._slot(replace(found, marks=(*found.marks, text[start:end])), text, number + 1, end)

    def _with_text(self, reading: Reading, text: str, what: str, start: int, end: int) -> Reading:
        return replace(reading, texts={**reading.texts, what: text[start:end]}, spans=(*reading.spans, (start, end)))

    def _ends(self, reading: Reading, text: str, at: int, what: str | None) -> Iterator[Reading]:
        """The readings that end with a text from ``at`` on, or right there."""
        for start, stop, ended in self._stops_of(reading, text, at, what is None):
            if what == REASONING and self._reasoning_close and self._reasoning_close in text[at:start]:
                # It has ended, and what follows is of no form.
                continue
            found = reading if what is None else self._with_text(reading, text, what, at, start)
            mark = text[start:stop]
            yield replace(found, marks=(*found.marks, mark), stop_char=stop, ended=ended)

    def _stops_of(self, reading: Reading, text: str, at: int, here: bool) -> Iterator[tuple[int, int, bool]]:
        """Where the last slot may end, where the message does, and whether something ends it.

        Args:
            here: the slot ends at ``at``.
        """
        form, loose = reading.form, reading.loose
        if form.end.core:
            places = list(self._places_of_end(form.closing.bare, text, at, here, loose))
            for start, stop in places:
                yield start, form.closing.blanks_behind(text, stop), True
            if places:
                return
        stop = self._open_end(text, at)
        if form.tail.core:
            tail = form.tail.bare
            found = [(at, tail.end_at(text, at, loose=loose))] if here else tail.places(text, at, loose=loose)
            for start, behind in islice(found, _PLACES):
                if behind >= 0 and not text[behind:stop].strip():
                    yield start, form.closing.blanks_behind(text, behind), stop < len(text)
                    return
            if here:
                # A list of calls that is not closed.
                return
        begun = _begun(form.closing.text, text[at:stop])
        if not here or not text[at : stop - begun].strip():
            yield (at if here else stop - begun), stop, stop < len(text)

    def _places_of_end(self, end: Mark, text: str, at: int, here: bool, loose: bool) -> Iterator[CharRange]:
        """Where an end of turn stands: the first one, and the last one if the text goes on to another."""
        if here:
            stop = end.end_at(text, at, loose=loose)
            if stop >= 0:
                yield at, stop
            return
        first = next(end.places(text, at, loose=loose), None)
        if first is None:
            return
        yield first
        last = text.rfind(end.core)
        if last >= first[1]:
            yield from islice(end.places(text, last - len(end.text) + len(end.text.lstrip()), loose=loose), 1)

    def _open_end(self, text: str, at: int) -> int:
        """Where a message ends that lacks its own end of turn: in front of a stop token, or with the text."""
        stop = next((stop for stop in self._stops if text.endswith(stop)), "")
        return max(at, len(text) - len(stop))


def _begun(end: str, text: str) -> int:
    """How many characters of an end of turn a text ends with: all of its blanks in front, or some of its tags."""
    blanks = len(end) - len(end.lstrip())
    sizes = [size for size in range(1, len(end)) if end[size - 1] in ">]" and text.endswith(end[:size])]
    return max(sizes, default=blanks if text.endswith(end[:blanks]) else 0)


def fields_of(reading: Reading) -> tuple[str | None, str | None]:
    """Reasoning and content of a reading; in one with other blanks, without those at their ends."""
    found: list[str | None] = []
    for what in (REASONING, CONTENT):
        text = reading.texts.get(what)
        found.append(text.strip() if text is not None and reading.loose else text)
    return found[0], found[1]
