"""What a template does with the events of a rollout: as records, as text, as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from itertools import zip_longest
from typing import Any, NamedTuple

from chatspan.errors import quoted
from chatspan.rollout.rewrites import SAID
from chatspan.rollout.stability.outcome import Verdict, Why
from chatspan.rows.same_text import text_key
from chatspan.shown.html import table_html

_WIDTH, _INDENT = 96, " " * 13
_AS_ABOVE, _AS_BEFORE = "as above", "as with the former value"


@dataclass(frozen=True)
class StabilityEvent:
    """An event of a rollout, and what becomes of what was shown and sampled before it.

    Attributes:
        event: what happens: ``"user turn"``, ``"tool result after reasoning"`` …
        keywords, next_keywords: the template's, beside those of the report: of the prompt, and of the next prompt.
            They differ where a switch changes between turns.
        verdict: ``"stable"``: the next prompt begins with the prompt and the turn; ``"rewritten"``: it does not;
            ``"refused"``: there is no next prompt, or the model would not see what happens.
        cause: of a rewrite as in :class:`chatspan.rollout.rewrites.Rewrite`; of a refusal ``"template_raises"`` or
            ``"unrendered"``.
        message_index: the turn behind which a rewrite shows; the message that is refused.
        start_char, shown, written: where what was shown and what the template writes begin to differ, and a little of
            both.
        words: of a template that raises its own words; what a :class:`chatspan.Rollout` says that refuses the event,
            whatever ``on_rewrite`` is; else empty.
        messages, new_messages: the conversation that ends with the turn, and what follows it.
        tools: what they are rendered with.
    """

    event: str
    verdict: Verdict
    cause: Why | None = None
    message_index: int | None = None
    start_char: int | None = None
    shown: str = ""
    written: str = ""
    words: str = ""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    next_keywords: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[Mapping[str, Any]] = ()
    new_messages: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Any] | None = None

    @property
    def is_change(self) -> bool:
        """Whether a switch changes between the two prompts."""
        return text_key(self.keywords) != text_key(self.next_keywords)

    @property
    def details(self) -> list[str]:
        """Why it is not stable, in lines; none where it is. Texts are quoted, so that a terminal obeys none.

        Example:
            >>> StabilityEvent("tool result", "refused", "template_raises", 2, words="no tools").details
            ["the template raises at message 2: 'no tools'"]
        """
        if self.cause is None:
            return []
        if self.cause == "template_raises":
            at = "" if self.message_index is None else f" at message {self.message_index}"
            return [f"the template raises{at}: {self.words!r}"]
        if self.cause == "unrendered":
            return [self.words]
        lines = [SAID[self.cause], f"shown   {self.shown!r}", f"written {self.written!r}"]
        return [*lines, "a Rollout refuses this, whatever its on_rewrite is"] if self.words else lines

    def to_dict(self) -> dict[str, Any]:
        """For machines: of strings, numbers, lists and dicts."""
        return asdict(self)


class Section(NamedTuple):
    """Events of a report with the same keywords, as a person reads them.

    Attributes:
        events: each with what it is called there.
        note: what is to be said of all others.
    """

    title: str
    events: Sequence[tuple[str, StabilityEvent]]
    note: str = ""

    @property
    def rows(self) -> Iterator[tuple[StabilityEvent, str, list[str]]]:
        """The events with their names and details, which stand once for several that follow each other with the same.

        An event's name has its cause.
        """
        for (name, event), (_, following) in zip_longest(self.events, self.events[1:], fillvalue=("", None)):
            assert event is not None
            is_last = following is None or following.details != event.details
            yield event, f"{name}: {event.cause}" if event.cause else name, event.details if is_last else []


@dataclass(frozen=True)
class StabilityReport:
    """What a template does with the events of a rollout; see :func:`chatspan.stability`.

    Attributes:
        events: those with the report's own keywords first, then with each value of each switch, then with switches that
            change between turns.
        keywords: the template's, of all prompts.
        switches: the values of the template's keywords for which it writes something else in these events; such that
            write the same are one.
    """

    events: Sequence[StabilityEvent]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    switches: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict of each event with the report's own keywords."""
        return {name: event.verdict for name, event in self._events_with({}).items()}

    @property
    def sections(self) -> list[Section]:
        """The events as a person reads them: of a switch only those of which it makes something else."""
        own = self._events_with({})
        found = [Section(f"with {_listed(self.keywords) or 'the default keywords'}", list(own.items()))]
        same = []
        for name, values in self.switches.items():
            for value in values:
                section = self._with_value(own, name, value)
                if section is None:
                    same.append(_listed({name: value}))
                else:
                    found.append(section)
        found += [Section(f"with {' or '.join(same)}", [], f"all {_AS_ABOVE}")] if same else []
        changes = {name: self._changes(name) for name in self.switches}
        for name, (events, note) in changes.items():
            found += [Section(f"{name} changes between turns", events, note)] if events else []
        calm = [name for name, (events, _) in changes.items() if not events]
        found += [Section(f"{' or '.join(calm)} changes between turns", [], f"all {_AS_BEFORE}")] if calm else []
        return found

    def _with_value(self, own: Mapping[str, StabilityEvent], name: str, value: Any) -> Section | None:
        """The events with a value of a switch; ``None`` where all are as with none."""
        events = self._events_with({name: value})
        others = [(each, event) for each, event in events.items() if not _is_alike(event, own.get(each))]
        notes = [f"all{' else' if others else ''} {_AS_ABOVE}"] if len(others) < len(events) else []
        if len(events) < len(own):
            notes.append("no turn has reasoning, as the prompt ends it")
        elif not others:
            return None
        return Section(f"with {_listed({name: value})}", others, "; ".join(notes))

    def _changes(self, name: str) -> tuple[list[tuple[str, StabilityEvent]], str]:
        """The events between which a switch changes, where that makes another of them; and what is said of the rest."""
        by_change: dict[str, list[StabilityEvent]] = {}
        for event in self.events:
            if event.is_change and name in {**event.keywords, **event.next_keywords}:
                change = f"{self._shown(event.keywords, name)} → {self._shown(event.next_keywords, name)}"
                by_change.setdefault(change, []).append(event)
        found: list[tuple[str, StabilityEvent]] = []
        for change, events in by_change.items():
            constant = self._events_with(events[0].keywords)
            others = [event for event in events if not _is_alike(event, constant.get(event.event))]
            if len(others) == len(events) and len({(event.verdict, event.cause) for event in others}) == 1:
                found.append((f"{change}: any event", others[0]))
            else:
                found += [(f"{change}: {event.event}", event) for event in others]
        is_rest = len(found) < sum(map(len, by_change.values()))
        return found, f"all else {_AS_BEFORE}" if is_rest else ""

    def _events_with(self, keywords: Mapping[str, Any]) -> dict[str, StabilityEvent]:
        """The events between two prompts with these keywords."""
        key = text_key(keywords)
        return {each.event: each for each in self.events if not each.is_change and text_key(each.keywords) == key}

    def _shown(self, keywords: Mapping[str, Any], name: str) -> str:
        given = {**self.keywords, **keywords}
        return f"{quoted(given[name])}" if name in given else "not given"

    def to_dict(self) -> dict[str, Any]:
        """For machines: of strings, numbers, lists and dicts."""
        return {
            "keywords": dict(self.keywords),
            "switches": {name: list(values) for name, values in self.switches.items()},
            "events": [event.to_dict() for event in self.events],
        }

    def _repr_html_(self) -> str:
        rows = [
            (section.title, event.verdict, name, "; ".join(details))
            for section in self.sections
            for event, name, details in section.rows
        ]
        notes = "".join(f"<p>{escape(each.title)}: {escape(each.note)}</p>" for each in self.sections if each.note)
        return table_html(("", "verdict", "event", "what is rewritten"), rows) + notes

    def __str__(self) -> str:
        lines = []
        for section in self.sections:
            lines.append(f"{section.title}: {section.note}" if not section.events else f"{section.title}:")
            for event, name, details in section.rows:
                lines.append(f"  {event.verdict:<9}  {name}")
                lines += [part for line in details for part in _wrapped(line)]
            lines += [f"  {section.note}"] if section.events and section.note else []
        return "\n".join(lines)


def _wrapped(line: str) -> list[str]:
    # Blanks between quotes are a text's own.
    lines = textwrap.wrap(line, _WIDTH - len(_INDENT), replace_whitespace=False, break_on_hyphens=False)
    return [f"{_INDENT}{part}" for part in lines]


def _listed(keywords: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={quoted(value)}" for name, value in keywords.items())


def _is_alike(event: StabilityEvent, other: StabilityEvent | None) -> bool:
    """Whether an event comes out as another one, wherever in the text that is."""
    return other is not None and (event.verdict, event.cause) == (other.verdict, other.cause)
