"""Calls: how a template writes them, learned from renders of one, two and three."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from chatspan.rollout.parse.learn.arguments import KeyedArguments, learn_arguments
from chatspan.rollout.parse.learn.marks import Mark, common_start, marks_of
from chatspan.rollout.parse.learn.notation import USUAL, Notation, read_whole
from chatspan.rollout.parse.learn.probes import CALLS, Call, Turn

NAME, ID, ARGUMENTS = "name", "id", "arguments"
Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class ObjectCall:
    """A call that is one object of JSON, or of Python's ``repr``.

    Attributes:
        notation: in which it is written.
        name: the keys that lead to the name; ``None`` where the name is the key of the arguments.
        arguments: the keys that lead to the arguments, without the name where that is one.
        call_id: the keys that lead to the id; ``None`` if there is none.
        as_text: whether the arguments are JSON text in it.
    """

    notation: Notation
    name: Keys | None
    arguments: Keys
    call_id: Keys | None
    as_text: bool


@dataclass(frozen=True)
class SlotCall:
    """A call whose words stand apart.

    Attributes:
        slots: what stands where, in order: name, id, arguments; a name may stand twice.
        marks: between one slot and the next; alternatives where these differ.
        notation: of arguments that are one value; ``None`` where they are written key by key.
        as_text: whether that value is JSON text in it.
        keyed: how they are written key by key.
    """

    slots: tuple[str, ...]
    marks: tuple[tuple[Mark, ...], ...]
    notation: Notation | None
    as_text: bool
    keyed: KeyedArguments | None


@dataclass(frozen=True)
class CallForm:
    """How a template writes the calls of a turn.

    Attributes:
        call: one call.
        close: behind a call's last slot; of arguments key by key, a part of their own marks.
        between: between the end of a call and the first slot of the next; empty where a turn has one call at most.
        end: what ends a turn behind the last call, where nothing else stands behind it.
    """

    call: ObjectCall | SlotCall
    close: Mark
    between: tuple[Mark, ...]
    end: str

    @property
    def texts(self) -> tuple[str, ...]:
        """The template's text in and between calls."""
        found = [self.close.text, *(mark.text for mark in self.between)]
        if isinstance(self.call, SlotCall):
            found += [mark.text for marks in self.call.marks for mark in marks]
            if self.call.keyed is not None:
                found += [text for wrap in self.call.keyed.wraps for text in wrap.marks]
        return tuple(found)

    @property
    def kind(self) -> str:
        """A name of the form, for people."""
        one_at_most = "" if self.between else ", one at most"
        if isinstance(self.call, ObjectCall):
            return ("name as key" if self.call.name is None else "JSON object") + one_at_most
        if self.call.keyed is not None:
            return "key by key" + one_at_most
        numbered = any(mark.counted for marks in self.call.marks for mark in marks)
        words = [slot for slot in self.call.slots if slot != ARGUMENTS] + ["number"] * numbered + ["JSON"]
        return " + ".join(words) + one_at_most


Render = Callable[[Sequence[Call]], Turn | None]


def learn_calls(render: Render, said: str, tokens: Sequence[str]) -> CallForm | None:
    """How calls are written; ``None`` where the template writes none, or nothing tells their form.

    Args:
        render: the turn with these calls.
        said: what ends a turn behind a content.
        tokens: the control tokens.
    """
    one, two, three = render(CALLS[:1]), render(CALLS[:2]), render(CALLS)
    if one is None:
        return None
    places = [_slots(one, 0)]
    if not places[0]:
        return None
    more = two if two is not None and _slots(two, 1) else None
    turns = [turn for turn in (one, more, three if more is not None else None) if turn is not None]
    call = _object_call(one) or _slot_call(turns)
    if call is None:
        return None
    first = span_of(call, one, 0)
    if first is None:
        return None
    behind = one.text[first[1] :]
    nexts: list[str] = []
    for turn in turns[1:]:
        spans = [span_of(call, turn, index) for index in range(len(CALLS))]
        found = [span for span in spans if span is not None]
        nexts += [turn.text[end:start] for (_, end), (start, _) in pairwise(found)]
    close = behind[: common_start(behind, nexts[0], tokens)] if nexts else _single_close(behind, said, tokens)
    end = behind[len(close) :]
    between = marks_of(text[len(close) :] for text in nexts)
    found_call = _with_arguments(call, render, end) if isinstance(call, SlotCall) else call
    return None if found_call is None else CallForm(found_call, Mark(close), between, end)


def _with_arguments(call: SlotCall, render: Render, end: str) -> SlotCall | None:
    """The call with how its arguments are written, where that is no value."""
    if call.notation is not None:
        return call
    if call.slots.index(ARGUMENTS) == 0:
        return None
    keyed = learn_arguments(
        lambda arguments: render([("Zf", arguments)]), lambda turn: _before_arguments(call, turn), end
    )
    return None if keyed is None else replace(call, keyed=keyed)


def span_of(call: ObjectCall | SlotCall, turn: Turn, index: int) -> tuple[int, int] | None:
    """Where a call stands in a turn, from its first slot to the end of its last."""
    slots = _slots(turn, index)
    if not slots:
        return None
    start, end = min(start for _, start, _ in slots), max(end for _, _, end in slots)
    if isinstance(call, SlotCall):
        return start, end
    return _object_around(turn.text, start, end, call.notation)


def _slots(turn: Turn, index: int) -> list[tuple[str, int, int]]:
    """Where the words of a call stand: names, ids, and from the first to the last of its arguments."""
    found: list[tuple[str, int, int]] = []
    for field in turn.fields:
        if field.path[:2] != ("tool_calls", index) or len(field.path) < 3:
            continue
        what = field.path[2]
        if what == ARGUMENTS:
            last = found[-1] if found else None
            if last is not None and last[0] == ARGUMENTS:
                found[-1] = (ARGUMENTS, last[1], field.end)
            else:
                found.append((ARGUMENTS, field.start, field.end))
        # The name may be the key of a dump, with its quotes.
        elif what == NAME or (what == ID and field.copied):
            found.append((str(what), field.start, field.end))
    kinds = [kind for kind, _, _ in found]
    return found if NAME in kinds and kinds.count(ARGUMENTS) == 1 else []


def _object_around(text: str, start: int, end: int, notation: Notation) -> tuple[int, int] | None:
    """The smallest object around some characters."""
    at = text.rfind("{", 0, start)
    while at >= 0:
        try:
            value, stop = notation.read(text, at)
        except ValueError:
            stop = -1
        if stop >= end and isinstance(value, dict):
            return at, stop
        at = text.rfind("{", 0, at)
    return None


def _object_call(turn: Turn) -> ObjectCall | None:
    slots = _slots(turn, 0)
    start, end = min(start for _, start, _ in slots), max(end for _, _, end in slots)
    (name, arguments), *_ = CALLS
    for notation in USUAL:
        span = _object_around(turn.text, start, end, notation)
        if span is None:
            continue
        value = read_whole(notation, turn.text[slice(*span)])
        paths = dict(_paths(value, ()))
        name_at = next((keys for keys, part in paths.items() if part == name), None)
        place = next((keys for keys, part in paths.items() if part == arguments), None)
        text_at = next((keys for keys, part in paths.items() if _is_text_of(part, arguments)), None)
        at = place if place is not None else text_at
        id_slot = next((slot for slot in slots if slot[0] == ID), None)
        call_id = None
        if id_slot is not None:
            words = turn.text[id_slot[1] : id_slot[2]]
            call_id = next((keys for keys, part in paths.items() if part == words), None)
        if at is None:
            continue
        if name_at is not None:
            return ObjectCall(notation, name_at, at, call_id, place is None)
        if at[-1] == name:
            return ObjectCall(notation, None, at[:-1], call_id, place is None)
    return None


def _paths(value: Any, keys: Keys) -> list[tuple[Keys, Any]]:
    """All parts of a value, with the keys that lead there."""
    found = [(keys, value)]
    if isinstance(value, dict):
        for key, part in value.items():
            found += _paths(part, (*keys, key))
    return found


def _is_text_of(value: Any, arguments: Mapping[str, Any]) -> bool:
    try:
        return isinstance(value, str) and json.loads(value) == arguments
    except ValueError:
        return False


def _slot_call(turns: Sequence[Turn]) -> SlotCall | None:
    """A call whose words stand apart, seen in all calls of some turns."""
    seen = [slots for turn in turns for index in range(len(CALLS)) if (slots := _with_text(turn, index))]
    kinds = tuple(kind for kind, _, _, _ in seen[0][0])
    seen = [entry for entry in seen if tuple(kind for kind, _, _, _ in entry[0]) == kinds]
    names = {name for name, _ in CALLS}
    if any(kind == NAME and word not in names for slots, _ in seen for kind, _, _, word in slots):
        return None
    at = kinds.index(ARGUMENTS)
    notation, as_text = _notation_of(seen[0][0][at][3])
    gaps = []
    for number in range(len(kinds) - 1):
        texts = [text[slots[number][2] : slots[number + 1][1]] for slots, text in seen]
        gaps.append(marks_of(texts))
    if any(not mark.text for marks in gaps for mark in marks):
        return None
    return SlotCall(kinds, tuple(gaps), notation, as_text, None)


def _with_text(turn: Turn, index: int) -> tuple[list[tuple[str, int, int, str]], str] | None:
    slots = _slots(turn, index)
    if not slots:
        return None
    return [(kind, start, end, turn.text[start:end]) for kind, start, end in slots], turn.text


def _notation_of(text: str) -> tuple[Notation | None, bool]:
    """The notation in which the first call's arguments are this text, and whether they are text in it."""
    arguments = CALLS[0][1]
    for notation in USUAL:
        try:
            value = read_whole(notation, text)
        except ValueError:
            continue
        if value == arguments:
            return notation, False
        if _is_text_of(value, arguments):
            return notation, True
    return None, False


def _before_arguments(call: SlotCall, turn: Turn) -> int:
    """Where what stands in front of the arguments ends; the names of a call without arguments are its slots, too."""
    number = call.slots.index(ARGUMENTS)
    found = [
        field
        for field in turn.fields
        if field.path[:2] == ("tool_calls", 0) and len(field.path) > 2 and field.path[2] in (NAME, ID) and field.copied
    ]
    return found[number - 1].end


def _single_close(behind: str, said: str, tokens: Sequence[str]) -> str:
    """What closes the only call that a turn can have: what is not the end of the turn."""
    if said.strip() and behind.endswith(said):
        return behind[: len(behind) - len(said)]
    bare = behind.rstrip()
    token = max((token for token in tokens if token and bare.endswith(token)), key=len, default="")
    return bare[: len(bare) - len(token)] if token else behind
