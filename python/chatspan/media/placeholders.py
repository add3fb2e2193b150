"""The placeholders of a render: where the template wrote that a medium stands, and of which part it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from chatspan.attribute.attributed import AttributedRender
from chatspan.errors import ControlTokenError, ExpansionError
from chatspan.media.parts import MediaPart
from chatspan.media.processors import placeholders_of
from chatspan.render.rendered import CharRange
from chatspan.rows.media_types import MODALITIES
from chatspan.tokenize.control_tokens import touches


class Placeholder(NamedTuple):
    """Characters of the render that stand for a medium.

    Attributes:
        start_char, end_char: half-open.
    """

    start_char: int
    end_char: int
    part: MediaPart

    @property
    def range(self) -> CharRange:
        """Its characters."""
        return (self.start_char, self.end_char)


def placeholders(processor: Any, attributed: AttributedRender, parts: Sequence[MediaPart]) -> list[Placeholder]:
    """The placeholders, in the order of the render.

    Raises:
        ControlTokenError: a message's own text holds one; with ``message_index``.
        ExpansionError: they are not as many as the parts, or stand in other messages.
    """
    found = [each for modality in MODALITIES for each in _of_modality(processor, attributed, parts, modality)]
    return sorted(found, key=lambda each: each.start_char)


def _of_modality(
    processor: Any, attributed: AttributedRender, parts: Sequence[MediaPart], modality: str
) -> Iterator[Placeholder]:
    own = [part for part in parts if part.modality == modality]
    if not own:
        return
    text = attributed.render.text
    tokens = placeholders_of(processor, modality)
    if not tokens:
        raise ExpansionError(
            f"{type(processor).__name__} names no placeholder of {modality}s ({modality}_token), and "
            f"{_counted(len(own), modality)} in the messages"
        )
    token = next((token for token in tokens if text.count(token) == len(own)), None)
    ranges = [match.span() for match in re.finditer(re.escape(token or tokens[0]), text)]
    for start, end in ranges:
        _require_template_text(attributed, start, end)
    if token is None:
        raise ExpansionError(
            f"the template writes {len(ranges)} {tokens[0]!r}, and {_counted(len(own), modality)} in the messages: "
            "use a chat template that writes one for each"
        )
    owners = _owners(attributed, [start for start, _ in ranges])
    wanted = [part.message_index for part in own]
    if any(owner not in (-1, index) for owner, index in zip(owners, wanted, strict=True)):
        raise ExpansionError(
            f"the template writes the placeholders of {modality}s in the messages {owners}, and they are parts of the "
            f"messages {wanted}: use a chat template that writes them where they are"
        )
    yield from (Placeholder(start, end, part) for (start, end), part in zip(ranges, own, strict=True))


def _require_template_text(attributed: AttributedRender, start: int, end: int) -> None:
    if not touches(attributed.data, start, end):
        return
    message_index, path = attributed.field_at(start)
    error = ControlTokenError(
        f"message {message_index}: its text holds the placeholder {attributed.render.text[start:end]!r} (characters "
        f"{start} to {end} of the render), which the processor takes for a medium: remove it from the text",
        message_index=message_index if message_index >= 0 else None,
        start_char=start,
    )
    error.path, error.end_char, error.received = path, end, attributed.render.text[start:end]
    raise error


def _owners(attributed: AttributedRender, starts: Sequence[int]) -> list[int]:
    edges, message_index, _ = attributed.segments.to_arrays()
    return [int(message_index[edges.searchsorted(start, side="right") - 1]) for start in starts]


def _counted(count: int, modality: str) -> str:
    return f"there is 1 {modality}" if count == 1 else f"there are {count} {modality}s"


def with_wrappers(attributed: AttributedRender, found: Sequence[Placeholder]) -> list[Placeholder]:
    """The placeholders with the control tokens on either side that the template itself wrote: some processors take
    these away with them. As they are, where they would touch.
    """
    text, tokens = attributed.render.text, attributed.control_tokens
    wider = []
    for each in found:
        start, end = each.range
        before = max((token for token in tokens if text.endswith(token, 0, start)), key=len, default="")
        after = max((token for token in tokens if text.startswith(token, end)), key=len, default="")
        own = not touches(attributed.data, start - len(before), start) and not touches(
            attributed.data, end, end + len(after)
        )
        wider.append(
            Placeholder(start - len(before), end + len(after), each.part) if before and after and own else each
        )
    apart = all(one.end_char <= other.start_char for one, other in pairwise(wider))
    return wider if apart else list(found)
