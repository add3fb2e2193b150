"""A render, and whose each of its characters is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chatspan._core import Segments, attribute_render
from chatspan.attribute.conventions import Conventions
from chatspan.attribute.segments import Region, Segment
from chatspan.attribute.turns import EndOfTurn, turn_range
from chatspan.kinds import Kind
from chatspan.render.origins import Path, field_runs
from chatspan.render.rendered import CharRange, Render
from chatspan.tokenize.control_tokens import control_tokens_of_fields

# start, end, message, path, character of the field, -1 for no copy of it
FieldRun = tuple[int, int, int, Path, int]


class AttributedRender:
    """A render, and whose each of its characters is.

    What only some callers need, headers and the kind of each character, is found when it is asked for.
    """

    def __init__(self, render: Render, conventions: Callable[[], Conventions], has_generation_tags: bool) -> None:
        self.render = render
        self.has_generation_tags = has_generation_tags
        self._conventions = conventions

    def __reduce__(self) -> Any:
        return (_restored, (self.render, self.control_tokens, self.segments, self.has_generation_tags))

    @functools.cached_property
    def conventions(self) -> Conventions:
        """What the tokenizer and the template agree on."""
        return self._conventions()

    @functools.cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """The tokens that have a meaning in a render."""
        return self.conventions.control_tokens

    @functools.cached_property
    def roles(self) -> tuple[str, ...]:
        """The role of each message, ``""`` where it has none."""
        known = self.render.roles
        return tuple(str(message.get("role", "")) for message in self.render.messages) if known is None else known

    @functools.cached_property
    def segments(self) -> Segments:
        """The render cut by message and kind, and the region of each message."""
        render = self.render
        if render.native is not None:
            return render.native.segments(self.conventions.scaffold)
        prompt = render.prompt_start_char if render.prompt_start_char >= 0 else None
        return attribute_render(
            render.text, list(render.runs), list(render.owners), self.roles, self.conventions.scaffold, prompt
        )

    def segment_list(self) -> tuple[Segment, ...]:
        """The segments, for a person."""
        edges, message_index, kind = (array.tolist() for array in self.segments.to_arrays())
        return tuple(map(Segment, edges[:-1], edges[1:], message_index, map(Kind, kind)))

    @functools.cached_property
    def regions(self) -> Mapping[int, Region]:
        """What the template wrote while it rendered a message, by its index."""
        return {index: Region(*region) for index, region in self.segments.regions().items()}

    @functools.cached_property
    def fields(self) -> Sequence[FieldRun]:
        """The runs, dumps taken apart."""
        native = self.render.native
        found = None if native is None else native.fields()
        if found is not None:
            return found
        runs = field_runs(self.render.runs)
        return [(start, end, of._message_index, of._path, at) for start, end, of, at in runs]

    @property
    def field_control_tokens(self) -> list[tuple[int, int, int]]:
        """Control tokens that stand in the text of fields: ``(start_char, end_char, message_index)``."""
        return control_tokens_of_fields(self.render.runs, self.render.text, self.control_tokens)

    def turns(self, messages: Sequence[int], end_of_turn: EndOfTurn) -> list[CharRange]:
        """The characters of assistants' turns, of those messages that are rendered.

        Raises:
            OptionError, TurnBoundaryError: see :meth:`turn`.
        """
        known = None if self.render.open_end else self.segments.turns(messages, end_of_turn)
        if known is not None:
            return known
        return [self.turn(index, end_of_turn) for index in messages if index in self.regions]

    def turn(self, message_index: int, end_of_turn: EndOfTurn) -> CharRange:
        """The characters of an assistant's turn.

        Raises:
            OptionError: there is no such ``end_of_turn``.
            TurnBoundaryError: its header or its end cannot be told; with what was seen.
        """
        open_end = self.render.open_end and message_index == len(self.roles) - 1
        return turn_range(
            self.render.text, message_index, self.regions[message_index], end_of_turn, self.control_tokens, open_end
        )


def _restored(
    render: Render, control_tokens: tuple[str, ...], segments: Segments, has_generation_tags: bool
) -> AttributedRender:
    restored = AttributedRender(render, _not_kept, has_generation_tags)
    # What was found stands in place of what would find it.
    vars(restored).update(control_tokens=control_tokens, segments=segments)
    return restored


def _not_kept() -> Conventions:
    raise AssertionError("all that conventions are asked for was found before")
