"""Arguments that a template writes key by key: what stands around keys and values, by the type of value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatspan.rollout.parse.learn.marks import Mark
from chatspan.rollout.parse.learn.notation import JSON, PYTHON, Notation, OwnNotation
from chatspan.rollout.parse.learn.probes import Field, Turn

# A value of each type, whose text stands nowhere else in a call.
SAMPLES: Mapping[str, Any] = {
    "string": "Zs'\"\\ é<z",
    "integer": 314,
    "number": 2.75,
    "boolean": True,
    "null": None,
    "array": ["Zs", 314],
    "object": {"Zp": "Zq", "Zs": 314},
}
# What a value is between: behind its key and in front of the next, and behind its key to the end of the call.
Around = tuple[str, str]


@dataclass
class Wrap:
    """What stands around values of some types.

    Attributes:
        lead: between a key and the value.
        tail: between the value and the next key.
        close: behind the last value, to the end of the call.
        raw: whether texts stand there as they are.
        notations: the types of other values, and how each is written.
    """

    lead: Mark
    tail: Mark
    close: Mark
    raw: bool = False
    notations: dict[str, Notation] = field(default_factory=dict)

    @property
    def marks(self) -> tuple[str, str, str]:
        """The texts of the marks."""
        return self.lead.text, self.tail.text, self.close.text


@dataclass(frozen=True)
class KeyedArguments:
    """How a template writes arguments key by key.

    Attributes:
        wraps: what stands around values; types that are written alike share one.
        opening: what stands in front of the first key.
        empty: what stands in place of no arguments, to the end of the call; ``None`` if unknown.
    """

    wraps: tuple[Wrap, ...]
    opening: Mark
    empty: Mark | None


def learn_arguments(
    render: Callable[[Mapping[str, Any]], Turn | None], before: Callable[[Turn], int], behind: str
) -> KeyedArguments | None:
    """How arguments are written; ``None`` where this is not key by key.

    Args:
        render: the turn with one call of these arguments.
        before: where, in a turn, ends what stands in front of the arguments: the call's name, or its id.
        behind: what ends a turn behind the call.
    """
    wraps: list[Wrap] = []
    own: dict[str, Around] = {}
    opening = None
    for kind, value in SAMPLES.items():
        one = render({"Za": value})
        around = _around(render({"Za": "Zx", "Zb": value, "Zd": "Zz"}), one, behind)
        if around is None or one is None:
            if kind == "string":
                return None
            continue
        first = _key_place(one, "Za")
        if opening is None and first is not None:
            opening = Mark(one.text[before(one) : first.start])
        split = _split(kind, value, around, wraps)
        if split is None:
            own[kind] = around
        else:
            _add(wraps, kind, *split)
    if opening is None or not wraps:
        return None
    _add_own(wraps, own)
    empty = render({})
    no_arguments = None
    if empty is not None and empty.text.endswith(behind):
        no_arguments = Mark(empty.text[before(empty) : len(empty.text) - len(behind)])
    return KeyedArguments(tuple(wraps), opening, no_arguments)


def _around(three: Turn | None, one: Turn | None, behind: str) -> Around | None:
    if three is None or one is None or not one.text.endswith(behind):
        return None
    first, second, third = _key_place(one, "Za"), _key_place(three, "Zb"), _key_place(three, "Zd")
    if first is None or second is None or third is None:
        return None
    return three.text[second.end : third.start], one.text[first.end : len(one.text) - len(behind)]


def _key_place(turn: Turn, key: str) -> Field | None:
    """Where a key of the first call's arguments stands: characters of the arguments themselves, that are the key."""
    for each in turn.fields:
        if each.path == ("tool_calls", 0, "arguments") and turn.text[each.start : each.end] == key:
            return each
    return None


def _split(
    kind: str, value: Any, around: Around, known: Sequence[Wrap]
) -> tuple[tuple[str, str, str], Notation | None] | None:
    """What stands around a value: in front, behind, behind it as the last one; and its notation, none for raw text."""
    between, last = around
    for written, notation in _writings(kind, value):
        choices = []
        at = between.find(written)
        while at >= 0:
            lead, tail = between[:at], between[at + len(written) :]
            if last.startswith(lead + written):
                choices.append((lead, tail, last[at + len(written) :]))
            at = between.find(written, at + 1)
        if choices:
            # Where the words of a value stand in a mark, too, it is the one that other types have.
            leads = {wrap.lead.text for wrap in known}
            return max(choices, key=lambda choice: (choice[0] in leads, len(choice[0]))), notation
    return None


def _writings(kind: str, value: Any) -> Iterator[tuple[str, Notation | None]]:
    """The texts that a value may be written as."""
    if kind == "string":
        yield value, None
    for ascii_only in (False, True):
        for separators in ((", ", ": "), (",", ":")):
            yield json.dumps(value, ensure_ascii=ascii_only, separators=separators), JSON
    yield repr(value), PYTHON


def _add(wraps: list[Wrap], kind: str, marks: tuple[str, str, str], notation: Notation | None) -> None:
    wrap = next((wrap for wrap in wraps if wrap.marks == marks), None)
    if wrap is None:
        lead, tail, close = map(Mark, marks)
        wrap = Wrap(lead, tail, close)
        wraps.append(wrap)
    if notation is None:
        wrap.raw = True
    else:
        wrap.notations[kind] = notation


def _add_own(wraps: list[Wrap], own: Mapping[str, Around]) -> None:
    """Adds lists and dicts in a notation of the template's own."""
    bare = next((wrap for wrap in wraps if "integer" in wrap.notations), None)
    quoted = next((wrap for wrap in wraps if wrap.raw), None)
    if bare is None or quoted is None or not {"array", "object"} <= own.keys():
        return
    (lead, tail, _), (first, last, _) = bare.marks, quoted.marks
    if not first.startswith(lead) or not last.endswith(tail):
        return
    quotes = (first[len(lead) :], last[: len(last) - len(tail)])
    texts = [own[kind][0] for kind in ("array", "object")]
    if not all(text.startswith(lead) and text.endswith(tail) for text in texts):
        return
    array, mapping = (text[len(lead) : len(text) - len(tail)] for text in texts)
    notation = _own_notation(array, mapping, quotes, _words(wraps))
    if notation is not None:
        bare.notations |= dict.fromkeys(("array", "object"), notation)


def _own_notation(array: str, mapping: str, quotes: tuple[str, str], words: Mapping[str, Any]) -> OwnNotation | None:
    """The notation in which the samples of a list and a dict are these texts."""
    opening, closing = quotes
    text, number = f"{opening}Zs{closing}", "314"
    inner = f"{opening}Zq{closing}"
    if text not in array or number not in array or inner not in mapping or number not in mapping:
        return None
    list_open, _, rest = array.partition(text)
    list_between, _, list_close = rest.partition(number)
    dict_open, _, rest = mapping.partition("Zp")
    after_key, _, rest = rest.partition(inner)
    dict_between, _, rest = rest.partition("Zs")
    again, _, dict_close = rest.partition(number)
    if again != after_key or not (list_open and list_close and dict_open and dict_close):
        return None
    quote = _common_end(dict_open, dict_between)
    cut = len(quote)
    return OwnNotation(
        quotes,
        quote,
        (list_open, list_between, list_close),
        (dict_open[: len(dict_open) - cut], dict_between[: len(dict_between) - cut], dict_close),
        after_key,
        words,
    )


def _words(wraps: Sequence[Wrap]) -> dict[str, Any]:
    """How the constants are written."""
    found: dict[str, Any] = {}
    for wrap in wraps:
        for kind, notation in wrap.notations.items():
            python = notation is PYTHON
            if kind == "boolean":
                found |= {"True": True, "False": False} if python else {"true": True, "false": False}
            elif kind == "null":
                found["None" if python else "null"] = None
    return found


def _common_end(one: str, other: str) -> str:
    size = 0
    while size < min(len(one), len(other)) and one[-1 - size] == other[-1 - size]:
        size += 1
    return one[len(one) - size :]
