"""Forms of turns: for each combination of reasoning, content and calls, what a template writes around them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chatspan.rollout.parse.learn.calls import CallForm, learn_calls, span_of
from chatspan.rollout.parse.learn.marks import TAG, Mark, shared_start
from chatspan.rollout.parse.learn.probes import CALLS, IDS, REASON, SAID, Call, Prober, Style, Turn

REASONING, CONTENT, CALL = "reasoning", "content", "calls"
Shape = tuple[bool, bool, bool]
# With reasoning, content, calls. The most structured first.
SHAPES: tuple[Shape, ...] = (
    (True, True, True),
    (True, False, True),
    (False, True, True),
    (False, False, True),
    (True, True, False),
    (True, False, False),
    (False, True, False),
    (False, False, False),
)


@dataclass(frozen=True)
class TurnForm:
    """How a template writes a turn of one shape.

    Attributes:
        shape: whether it has reasoning, content, calls.
        slots: what stands where, in order.
        marks: the template's text in front of each slot.
        tail: between the last slot and the end of turn.
        end: the end of turn.
        dropped: the end of the prompt that such a row does not have; empty where it begins with the prompt.
    """

    shape: Shape
    slots: tuple[str, ...]
    marks: tuple[Mark, ...]
    tail: Mark
    end: Mark
    dropped: str

    @functools.cached_property
    def closing(self) -> Mark:
        """All that stands behind the last slot."""
        return Mark(self.tail.text + self.end.text)

    @property
    def rank(self) -> int:
        """How structured it is."""
        reasoning, content, calls = self.shape
        return 4 * calls + 2 * reasoning + content


@dataclass(frozen=True)
class Forms:
    """All that is known of a template's turns behind a prompt.

    Attributes:
        style: the form of messages that it takes.
        turns: a form for each shape that it writes whole.
        calls: how it writes calls; ``None`` if it writes none, or nothing tells how.
        opening: what the generation prompt wrote.
    """

    style: Style
    turns: tuple[TurnForm, ...]
    calls: CallForm | None
    opening: str

    @functools.cached_property
    def reasoning_marks(self) -> tuple[str, str] | None:
        """What stands around reasoning, blanks aside, whatever follows it; ``None`` if there is none."""
        found = [form for form in self.turns if form.slots[:1] == (REASONING,)]
        behind = [(form.marks[1] if len(form.marks) > 1 else form.closing).text.strip() for form in found]
        if not behind:
            return None
        common = shared_start(behind)
        tag = TAG.match(behind[0])
        if tag is not None and not common.startswith(tag.group()):
            return None
        close = tag.group() if tag is not None else common.strip()
        return (found[0].marks[0].text.strip(), close) if close else None

    @functools.cached_property
    def own_opening(self) -> str:
        """What rows that do not begin with their prompt have in its place, whatever follows."""
        return shared_start([form.marks[0].text for form in self.turns if form.dropped and form.marks])

    @functools.cached_property
    def call_sign(self) -> str:
        """What begins calls, whatever stands in front of them; empty if nothing does."""
        leads = [form.marks[form.slots.index(CALL)].text for form in self.turns if CALL in form.slots]
        if not leads:
            return ""
        common = shared_start([lead[::-1] for lead in leads])[::-1].strip()
        tag = TAG.search(common)
        return tag.group() if tag else common


def learn_forms(prober: Prober, style: Style) -> Forms:
    """Renders a message of each shape, and takes apart what was written."""
    shapes = [shape for shape in SHAPES if style.reasoning_key or not shape[0]]
    turns = dict(zip(shapes, prober.turns([_message(style, shape, CALLS[:1]) for shape in shapes]), strict=True))
    plain = [_form(shape, turn, None) for shape, turn in turns.items() if turn is not None and not shape[2]]
    said = next((form.tail.text for form in plain if form is not None and form.shape == (False, True, False)), "")
    calls = _learn_calls(prober, style, turns, said)
    called = [_form(shape, turn, calls) for shape, turn in turns.items() if turn is not None and shape[2]]
    found = [form for form in (*called, *plain) if form is not None]
    inside = "\0".join(mark.text for form in found for mark in form.marks)
    tokens = [token for token in prober.tokens if token.strip() and token not in inside]
    return Forms(style, tuple(_with_end(form, said, tokens) for form in found), calls, prober.opening)


def _with_end(form: TurnForm, said: str, tokens: Sequence[str]) -> TurnForm:
    """The form with its end of turn told apart from what else stands behind its last slot.

    Args:
        said: what ends a content.
        tokens: control tokens that stand in front of no slot.
    """
    text = form.tail.text
    end = said if said and text.endswith(said) else ""
    if said.strip() and not end:
        at = max((text.rfind(token) for token in tokens), default=-1)
        end = text[at:] if at >= 0 else ""
    return replace(form, tail=Mark(text[: len(text) - len(end)]), end=Mark(end))


def _learn_calls(
    prober: Prober,
    style: Style,
    turns: Mapping[Shape, Turn | None],
    said: str,
) -> CallForm | None:
    """How calls are written, in the first shape that has them; without content, if that is one."""
    for shape in sorted((shape for shape in turns if shape[2]), key=sum):
        form = learn_calls(
            lambda calls, shape=shape: prober.turn(_message(style, shape, calls)),  # type: ignore[misc]
            said,
            prober.tokens,
        )
        if form is not None:
            return form
    return None


def _message(style: Style, shape: Shape, calls: Sequence[Call]) -> dict[str, Any]:
    reasoning, content, called = shape
    made = [(name, dict(arguments), call_id) for (name, arguments), call_id in zip(calls, IDS, strict=False)]
    return style.message(SAID if content else None, REASON if reasoning else None, made if called else ())


def _form(shape: Shape, turn: Turn, calls: CallForm | None) -> TurnForm | None:
    """The form of a turn; ``None`` where a word of it is not written, or not once."""
    reasoning, content, called = shape
    places: list[tuple[int, int, str]] = []
    for wanted, word, what in ((reasoning, REASON, REASONING), (content, SAID, CONTENT)):
        if not wanted:
            continue
        found = [each for each in turn.fields if turn.text[each.start : each.end] == word and each.copied]
        if len(found) != 1:
            return None
        places.append((found[0].start, found[0].end, what))
    if called:
        span = None if calls is None else span_of(calls.call, turn, 0)
        if calls is None or span is None or not turn.text.startswith(calls.close.text, span[1]):
            return None
        places.append((span[0], span[1] + len(calls.close.text), CALL))
    places.sort()
    marks, at = [], 0
    for start, end, _ in places:
        if start < at:
            return None
        marks.append(turn.text[at:start])
        at = end
    # Nothing would tell where one text ends and the next begins; calls end by themselves.
    if any(not mark and places[number][2] != CALL for number, mark in enumerate(marks[1:])):
        return None
    slots = tuple(what for _, _, what in places)
    return TurnForm(shape, slots, tuple(map(Mark, marks)), Mark(turn.text[at:]), Mark(""), turn.dropped)
