"""Where the contents of a conversation stand in its render.

The template is rendered a second time with a *marker word* in place of each content. What stands between the markers
is the scaffold, so the render is taken apart by comparing, not by searching: contents may equal scaffold words, repeat,
or be moved by the template. Where the template writes other scaffold around the real contents than around the markers,
:func:`chatspan.locate` searches, and answers only if one placement exists.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from chatspan._core import fit_scaffold, locate
from chatspan.chats import Route
from chatspan.errors import AmbiguousContentError, ChatspanError, ContentError, ContentNotFoundError, TemplateError
from chatspan.rendering import render
from chatspan.traces import Conversation, Message

CharRange = tuple[int, int]

# Found in any case, so that a template that changes the case of contents is noticed.
_MARKER = re.compile(r"(cs7Qx\d+Z)", re.IGNORECASE)


@dataclass(frozen=True)
class Slot:
    """One text of a message's content: the whole string, or a part of it."""

    message_index: int
    part: int | None
    text: str


@dataclass(frozen=True)
class PlacedSlot:
    """A slot and the characters at which the render holds it."""

    slot: Slot
    span: CharRange


def content_slots(messages: Sequence[Message]) -> list[Slot]:
    """The texts of all contents that are not blank."""
    slots = []
    for message_index, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, str):
            slots.append(Slot(message_index, None, content))
        elif content is not None:
            slots += [Slot(message_index, part, value["text"]) for part, value in enumerate(content)]
    return [slot for slot in slots if slot.text.strip()]


def place_contents(tokenizer: Any, conversation: Conversation, text: str) -> tuple[list[PlacedSlot], Route]:
    """The place of each content in ``text``, in the order of the render, and how it was found.

    A content that the template leaves out has no place; one that it writes twice has two.

    Raises:
        ContentError: it is not certain where a content stands; with its ``message_index``.
        TextError: a content has a lone surrogate.
    """
    slots = content_slots(conversation.messages)
    try:
        order, scaffold = _scaffold(tokenizer, conversation, slots)
        if order is not None:
            spans = fit_scaffold(text, [slots[i].text for i in order], scaffold)
            if spans is not None:
                return _placed([slots[i] for i in order], spans.tolist()), "scaffold"
            _require_all_in_order(order, slots)
        return _placed(slots, locate(text, [slot.text for slot in slots]).tolist()), "located"
    except ChatspanError as error:
        if error.content_index is not None:
            error.at(**conversation.place(slots[error.content_index].message_index))
        raise error.at(trace_id=conversation.trace_id) from None


def _placed(slots: Sequence[Slot], spans: Sequence[Sequence[int]]) -> list[PlacedSlot]:
    return [PlacedSlot(slot, (start, end)) for slot, (start, end) in zip(slots, spans, strict=True)]


def _scaffold(tokenizer: Any, conversation: Conversation, slots: Sequence[Slot]) -> tuple[list[int] | None, list[str]]:
    """The slots in the order in which the template writes them, and the text around them; no order if unknown."""
    marked = list(conversation.messages)
    markers = [f"cs7Qx{index}Z" for index in range(len(slots))]
    for slot, marker in zip(slots, markers, strict=True):
        marked[slot.message_index] = _with_text(marked[slot.message_index], slot, marker)
    try:
        probe = render(tokenizer, replace(conversation, messages=marked))
    except TemplateError:
        # The real contents render; only the markers do not suit the template.
        return None, []
    pieces = _MARKER.split(probe)
    index_of = {marker: index for index, marker in enumerate(markers)}
    found = [index_of.get(marker) for marker in pieces[1::2]]
    order = [index for index in found if index is not None]
    return (order if len(order) == len(found) else None), pieces[::2]


def _with_text(message: Message, slot: Slot, text: str) -> Message:
    if slot.part is None:
        return {**message, "content": text}
    parts = list(message["content"])
    parts[slot.part] = {**parts[slot.part], "text": text}
    return {**message, "content": parts}


def _require_all_in_order(order: Sequence[int], slots: Sequence[Slot]) -> None:
    """Searching is certain only where the template writes each content once, in order."""
    counts = Counter(order)
    for index in range(len(slots)):
        if counts[index] == 1:
            continue
        times = "leaves it out" if counts[index] == 0 else f"writes it {counts[index]} times"
        kind: type[ContentError] = AmbiguousContentError if counts[index] else ContentNotFoundError
        raise kind(f"content {index}: the template {times}, and changes other contents", content_index=index)
    for place, index in enumerate(order):
        if place != index:
            raise AmbiguousContentError(
                f"content {place}: the template moves contents, and changes some of them", content_index=place
            )
