"""Calls whose words stand in another order than the template writes them, as models write some of their own accord."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chatspan.rollout.parse.learn.calls import NAME, SlotCall
from chatspan.rollout.parse.learn.forms import CALL, REASONING, Forms
from chatspan.rollout.parse.learn.marks import TAG
from chatspan.rollout.parse.read import Reading
from chatspan.rollout.parse.read_calls import ReadCall

# A shorter word could stand anywhere.
_SHORTEST = 4
_NAME = r"([\w.-]+)"


def reordered_call(text: str, forms: Forms, stops: Sequence[str]) -> Reading | None:
    """A call whose name stands behind its word, and whose arguments stand behind their tag and are the last thing.

    In ``<|channel|>commentary to=functions.find <|constrain|>json<|message|>{}`` the word is ``to=functions.`` and the
    tag ``<|message|>``, as in the template's ``to=functions.find<|channel|>commentary json<|message|>{}``.

    Args:
        stops: what may stand behind it.
    """
    form = next((form for form in forms.turns if form.slots == (CALL,)), None)
    call = forms.calls.call if forms.calls is not None else None
    if form is None or not isinstance(call, SlotCall) or call.notation is None or call.slots[0] != NAME:
        return None
    word = TAG.sub("\0", form.marks[0].text).rpartition("\0")[2].strip()
    tags = TAG.findall(call.marks[-1][0].text)
    found = re.search(re.escape(word) + _NAME, text) if len(word) >= _SHORTEST and tags else None
    at = text.find(tags[-1], found.end()) if found is not None else -1
    if found is None or at < 0:
        return None
    try:
        value, end = call.notation.read(text, at + len(tags[-1]))
    except ValueError:
        return None
    behind = text[end:]
    for mark in (form.tail.text, form.end.text, *stops):
        behind = behind.replace(mark, "", 1) if mark.strip() else behind
    if behind.strip() or not isinstance(value, dict):
        return None
    arguments = {key: [part] for key, part in value.items()}
    read = ReadCall(found.group(1), arguments, text=text[at + len(tags[-1]) : end])
    texts = {} if (reasoning := _reasoning(text[: found.start()], forms)) is None else {REASONING: reasoning}
    return Reading(form, texts, (read,), (), (), len(text), end < len(text), False)


def _reasoning(text: str, forms: Forms) -> str | None:
    """The reasoning in front of a call."""
    if forms.reasoning_marks is None:
        return None
    opening, close = forms.reasoning_marks
    start, end = text.find(opening), text.find(close)
    return text[start + len(opening) : end].strip() if 0 <= start < end else None
