"""A render in which placeholders are expanded, and whose each of its characters is: the render's own, moved."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatspan._core import Segments
from chatspan.attribute.attributed import AttributedRender, FieldRun
from chatspan.attribute.conventions import Conventions
from chatspan.attribute.prompts import OffPrompt
from chatspan.kinds import Kind
from chatspan.media.proof import Expansions
from chatspan.render.rendered import CharRange, Render


class Shift(NamedTuple):
    """From characters of a render to those of the text in which its placeholders are expanded.

    Attributes:
        starts, ends: of the placeholders, rising.
        ranges: of their expansions.
        prefix: how many characters stand in front of the render.
    """

    starts: Sequence[int]
    ends: Sequence[int]
    ranges: Sequence[CharRange]
    prefix: int

    def char(self, at: int) -> int:
        """Where a character of the render is; of a placeholder's own, one of its expansion."""
        before = bisect_right(self.ends, at) - 1
        moved = at + (self.ranges[before][1] - self.ends[before] if before >= 0 else self.prefix)
        inside = before + 1
        if inside < len(self.starts) and self.starts[inside] < at:
            return min(moved, self.ranges[inside][1])
        return moved

    def range(self, start: int, end: int) -> CharRange:
        """Where a range of the render is."""
        return (self.char(start), self.char(end))


def shift_of(expansions: Expansions) -> Shift:
    """The shift that expansions cause."""
    starts = [each.start_char for each in expansions.placeholders]
    ends = [each.end_char for each in expansions.placeholders]
    return Shift(starts, ends, expansions.ranges, len(expansions.prefix))


class ExpandedRender(AttributedRender):
    """A render in which placeholders are expanded, with all that is known of the render.

    Args:
        base: the render.
        text: the text in which they are expanded.
    """

    def __init__(self, base: AttributedRender, text: str, expansions: Expansions) -> None:
        self._base = base
        self._shift = shift = shift_of(expansions)
        self._expansions = expansions
        self.has_generation_tags = base.has_generation_tags
        self.unsampled_ends, self.respelled = base.unsampled_ends, base.respelled
        render = base.render
        owners = [(shift.char(start), owner) for start, owner in render.owners]
        if expansions.prefix:
            owners.insert(0, (0, -1))
        self.render = Render(
            given_text=text,
            runs=_MovedRuns(render, shift),
            owners=owners,
            generation=[shift.range(start, end) for start, end in render.generation],
            messages=render.messages,
            prompt_start_char=shift.char(render.prompt_start_char) if render.prompt_start_char >= 0 else -1,
            open_end=render.open_end,
            roles=base.roles,
            engine=render.engine,
        )

    @property
    def template_text(self) -> str:
        """What the chat template wrote, placeholders not expanded."""
        return self._base.template_text

    @functools.cached_property
    def conventions(self) -> Conventions:
        """What the tokenizer and the template agree on."""
        return self._base.conventions

    @functools.cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """The tokens that have a meaning in a render."""
        return self._base.control_tokens

    @functools.cached_property
    def roles_of_template(self) -> frozenset[str]:
        """The words that the template compares values with, the roles that it knows among them."""
        return self._base.roles_of_template

    @functools.cached_property
    def structural_roles(self) -> tuple[str, ...]:
        """The roles of messages that may complete a control token."""
        return self._base.structural_roles

    @functools.cached_property
    def segments(self) -> Segments:
        """The text cut by message and kind, and the region of each message."""
        return _segments(self._base.segments, self._shift, self._expansions, len(self.render.text))

    @functools.cached_property
    def off_prompt(self) -> Mapping[int, OffPrompt]:
        """The assistants' turns whose row does not begin with their prompt, and why; renders each turn's prompt."""
        found = self._base.off_prompt
        return {index: each._replace(start_char=self._shift.char(each.start_char)) for index, each in found.items()}

    @functools.cached_property
    def fields(self) -> Sequence[FieldRun]:
        """The runs, dumps taken apart."""
        return [(*self._shift.range(start, end), *rest) for start, end, *rest in self._base.fields]  # type: ignore[misc]

    def fields_behind(self, start_char: int) -> Sequence[FieldRun]:
        """The runs that end behind a character, dumps taken apart."""
        return [run for run in self.fields if run[1] > start_char]

    @functools.cached_property
    def data(self) -> NDArray[np.int64]:
        """The characters that the caller's data contributed, in order: ``[N, 2]``."""
        moved = [self._shift.range(start, end) for start, end in self._base.data.tolist()]
        return np.array(moved, dtype=np.int64).reshape(-1, 2)


class _MovedRuns(Sequence[Any]):
    """A render's runs, moved when they are asked for."""

    def __init__(self, render: Render, shift: Shift) -> None:
        self._render, self._shift = render, shift

    @functools.cached_property
    def _moved(self) -> list[Any]:
        return [(*self._shift.range(start, end), origin, at) for start, end, origin, at in self._render.runs]

    def __len__(self) -> int:
        return len(self._moved)

    def __getitem__(self, at: Any) -> Any:
        return self._moved[at]

    def __reduce__(self) -> Any:
        return (list, (self._moved,))


def _segments(base: Segments, shift: Shift, expansions: Expansions, length: int) -> Segments:
    """The segments of a render, with one of its own for each expansion."""
    edges, owners, kinds = (array.tolist() for array in base.to_arrays())
    cut: list[tuple[int, int, int]] = []

    def push(end: int, owner: int, kind: int) -> None:
        if end > (cut[-1][0] if cut else 0):
            cut.append((end, owner, kind))

    push(shift.prefix, -1, Kind.SCAFFOLD)
    media = list(zip(expansions.placeholders, expansions.ranges, strict=True))
    for start, end, owner, kind in zip(edges[:-1], edges[1:], owners, kinds, strict=True):
        while media and media[0][0].start_char < end:
            placeholder, (first, last) = media.pop(0)
            if placeholder.start_char > start:
                push(first, owner, kind)
            push(last, placeholder.part.message_index, Kind.MEDIA)
        push(shift.char(end), owner, kind)
    push(length, -1, Kind.SCAFFOLD)
    regions = {
        index: (*shift.range(*region[:2]), *_edges_of(region[2:4], shift), *region[4:])
        for index, region in base.regions().items()
    }
    # What it is pickled with: what has no other way out.
    arguments: Any = base.__reduce__()[1]
    homeless, leads = arguments[4:6]
    return Segments(
        np.array([0, *(end for end, _, _ in cut)], dtype=np.int64),
        np.array([owner for _, owner, _ in cut], dtype=np.int32),
        np.array([kind for _, _, kind in cut], dtype=np.uint8),
        regions,
        homeless,
        [shift.range(start, end) for start, end in leads],
    )


def _edges_of(given: Sequence[Any], shift: Shift) -> tuple[int | None, CharRange | None]:
    header, end = given
    return None if header is None else shift.char(header), None if end is None else shift.range(*end)
