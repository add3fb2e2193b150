"""A render, and whose each of its characters is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from chatspan._core import Segments, TurnScaffold, attribute_render
from chatspan.attribute.conventions import Conventions, examples_of
from chatspan.attribute.openings import FIRST, shape_of
from chatspan.attribute.prompts import OffPrompt, OwnPrompts
from chatspan.attribute.segments import Region, Segment
from chatspan.attribute.turns import EndOfTurn, turn_ranges
from chatspan.errors import OptionError, TextError
from chatspan.kinds import Kind
from chatspan.options import one_of
from chatspan.render.origins import Path, data_ranges, field_runs
from chatspan.render.rendered import CharRange, Render
from chatspan.render.renderer import ChatRenderer
from chatspan.render.request import RenderRequest
from chatspan.tokenize.control_tokens import find_control_tokens, touches

# start, end, message, path, character of the field, -1 for no copy of it
FieldRun = tuple[int, int, int, Path, int]


class AttributedRender:
    """A render, and whose each of its characters is.

    What only some callers need, headers and the kind of each character, is found when it is asked for.

    Args:
        conventions: gives what the tokenizer and the template agree on, with the row's keywords.
        asked: the renderer, what it was asked for, and what templates took for now: to render the row's own prompts.
        counts: is told how many prompts were rendered for rows that nothing less can tell of.
    """

    def __init__(
        self,
        render: Render,
        conventions: Callable[[], Conventions],
        has_generation_tags: bool,
        asked: tuple[ChatRenderer, RenderRequest, datetime],
        counts: Callable[[int], None],
    ) -> None:
        self.render = render
        self.has_generation_tags = has_generation_tags
        # Turns whose end was not sampled; and those that were sampled in other words than the template's.
        self.unsampled_ends: frozenset[int] = frozenset()
        self.respelled: frozenset[int] = frozenset()
        self._conventions = conventions
        self._asked = asked
        self._counts = counts

    def __reduce__(self) -> Any:
        known = vars(self).get("off_prompt")
        arguments = (self.render, self.control_tokens, self.segments, self.has_generation_tags)
        sampled = (self.unsampled_ends, self.respelled)
        return (_restored, (*arguments, sampled, known, self.roles_of_template, self.structural_roles))

    @property
    def template_text(self) -> str:
        """What the chat template wrote: the render, and of a processor the one with its placeholders not expanded."""
        return self.render.text

    @functools.cached_property
    def _prompts(self) -> OwnPrompts | None:
        """What renders the row's own prompts; ``None`` after pickling."""
        return OwnPrompts(*self._asked)

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
        if self.render.roles is not None:
            return self.render.roles
        roles = tuple(str(message.get("role", "")) for message in self.render.messages)
        for index, role in enumerate(roles):
            if not role.isascii() and any("\ud800" <= character <= "\udfff" for character in role):
                raise TextError(f"message {index} has a lone surrogate in its role {role!r}", message_index=index)
        return roles

    @functools.cached_property
    def roles_of_template(self) -> frozenset[str]:
        """The words that the template compares values with, the roles that it knows among them."""
        renderer, request, _ = self._asked
        return renderer.template(request.tools, request.chat_template).compared_words

    @functools.cached_property
    def segments(self) -> Segments:
        """The render cut by message and kind, and the region of each message."""
        cut = self._cut_with_openings(None)
        if not cut.is_settled or self.conventions.is_triggered(self._messages_if_triggers):
            cut = self._cut_by_own_prompts(cut)
        return cut

    @property
    def _messages_if_triggers(self) -> Sequence[Mapping[str, Any]]:
        return self.render.messages if self.conventions.has_triggers else ()

    def _cut(self, scaffold: TurnScaffold, found: Mapping[str, Any] | None, *, again: bool) -> Segments:
        render = self.render
        if render.native is not None:
            return render.native.segments(scaffold, found, again=again)
        prompt = render.prompt_start_char if render.prompt_start_char >= 0 else None
        shapes = [shape_of(message) for message in render.messages]
        return attribute_render(
            render.text, list(render.runs), list(render.owners), self.roles, shapes, scaffold, prompt, found
        )

    def _cut_with_openings(self, found: Mapping[str, Any] | None) -> Segments:
        """With the openings of all that stands before turns: what was not met before is probed now."""
        cut = self._cut(self.conventions.scaffold, found, again=False)
        while cut.unknown:
            scaffold = self.conventions.learn(cut.unknown, examples_of(self.render.messages))
            cut = self._cut(scaffold, found, again=True)
        return cut

    def _cut_by_own_prompts(self, cut: Segments) -> Segments:
        """With what only other renders of the row's own messages can tell."""
        assert self._prompts is not None
        found: dict[str, Any] = {"openings": {}, "stops": {}, "owners": None}
        if cut.homeless:
            found["owners"] = self._prompts.owners(self.render)
            self._counts(len(self.render.messages) - 1)
            cut = self._cut_with_openings(found)
        undecided = set(cut.undecided)
        if self.conventions.is_triggered(self._messages_if_triggers):
            undecided |= {index for index in cut.regions() if index > 0 and self.roles[index] == "assistant"}
        if undecided:
            first = self.conventions.opening(FIRST)
            found["openings"] = self._prompts.openings(self.render, sorted(undecided), first)
            self._counts(len(undecided))
        results = _first_results(cut)
        if results:
            found["stops"] = self._prompts.stops(self.render, results)
        return self._cut(self.conventions.scaffold, found, again=True)

    def segment_list(self) -> tuple[Segment, ...]:
        """The segments, for a person."""
        edges, message_index, kind = (array.tolist() for array in self.segments.to_arrays())
        return tuple(map(Segment, edges[:-1], edges[1:], message_index, map(Kind, kind)))

    @functools.cached_property
    def regions(self) -> Mapping[int, Region]:
        """What the template wrote while it rendered a message, by its index."""
        return {index: Region(*region) for index, region in self.segments.regions().items()}

    @functools.cached_property
    def off_prompt(self) -> Mapping[int, OffPrompt]:
        """The assistants' turns whose row does not begin with their prompt, and why; renders each turn's prompt."""
        if self._prompts is None:
            raise OptionError("off_prompt needs the encoder: ask for it before an encoding is pickled")
        starts = {
            index: (region.start_char, region.header_end_char or region.start_char)
            for index, region in self.regions.items()
            if region.found is not None or self.roles[index] == "assistant"
        }
        for index in self.segments.homeless:
            # Nothing tells where the template begins such a message, only where its first field stands.
            field = min(start for start, _, origin, _ in self.render.runs if origin._message_index == index)
            starts[index] = (len(self.render.text), field)
        starts = dict(sorted(starts.items()))
        return self._prompts.off_prompt(self.render, starts, self.conventions.markers.open_tag)

    @property
    def writes_no_prompt(self) -> bool:
        """Whether the template adds nothing for ``add_generation_prompt``, so that the model writes all of a turn."""
        opening = self.conventions.opening(FIRST)
        return opening is not None and not (opening.whole or opening.own)

    @functools.cached_property
    def fields(self) -> Sequence[FieldRun]:
        """The runs, dumps taken apart."""
        native = self.render.native
        found = None if native is None else native.fields()
        if found is not None:
            return found
        runs = field_runs(self.render.runs)
        return [(start, end, of._message_index, of._path, at) for start, end, of, at in runs]

    def region(self, message_index: int) -> Region | None:
        """What the template wrote while it rendered one message; ``None`` where it was not rendered."""
        found = self.segments.region(message_index)
        return None if found is None else Region(*found)

    def fields_behind(self, start_char: int) -> Sequence[FieldRun]:
        """The runs that end behind a character, dumps as they are or taken apart."""
        native = self.render.native
        if native is not None:
            return native.fields_behind(start_char)
        return [run for run in self.fields if run[1] > start_char]

    @functools.cached_property
    def structural_roles(self) -> tuple[str, ...]:
        """The roles of messages that may complete a control token, as in ``<|`` + role + ``|>``."""
        return self.conventions.structural_roles

    @functools.cached_property
    def data(self) -> NDArray[np.int64]:
        """The characters that the caller's data contributed, in order: ``[N, 2]``."""
        native = self.render.native
        if native is not None:
            return native.data(self.structural_roles)
        return np.array(data_ranges(self.render.runs, self.structural_roles), dtype=np.int64).reshape(-1, 2)

    @property
    def field_control_tokens(self) -> list[tuple[int, int, int]]:
        """Control tokens that have characters of fields: ``(start_char, end_char, message_index)``."""
        if not len(self.data):
            return []
        text, data = self.render.text, self.data
        found = find_control_tokens(text, [(0, len(text))], self.control_tokens)
        return [
            (start, end, self.field_at(max(start, int(data[data[:, 1].searchsorted(start, side="right"), 0])))[0])
            for start, end in found
            if touches(data, start, end)
        ]

    def field_at(self, char: int) -> tuple[int, Path]:
        """The message and the path of the field that a character of :attr:`data` comes from."""
        run = next(run for run in self.fields if run[1] > char)
        return run[2], run[3]

    def turns(self, messages: Sequence[int], end_of_turn: EndOfTurn) -> list[CharRange]:
        """The characters of assistants' turns, of those messages that are rendered.

        Raises:
            OptionError, TurnBoundaryError: see :meth:`turn`.
        """
        exceptions = self.render.open_end or self.unsampled_ends or not one_of(end_of_turn, get_args(EndOfTurn))
        known = None if exceptions else self.segments.turns(messages, end_of_turn)
        if known is not None:
            return known
        homeless = self.segments.homeless
        rendered = [index for index in messages if index in self.regions or index in homeless]
        return [part for index in rendered for part in self.turn(index, end_of_turn)]

    def turn(self, message_index: int, end_of_turn: EndOfTurn) -> list[CharRange]:
        """The characters of an assistant's turn: one range, or several where results interrupt it.

        Raises:
            OptionError: there is no such ``end_of_turn``.
            TurnBoundaryError: its header or its end cannot be told; with what was seen.
        """
        return turn_ranges(self, message_index, end_of_turn)


def _first_results(cut: Segments) -> dict[int, CharRange]:
    """By message that results interrupt, where the first of them begins and where its part of the render ends."""
    edges, _, kinds = cut.to_arrays()
    starts = edges[:-1][kinds == Kind.TOOL_RESULT]
    regions = {index: Region(*region) for index, region in cut.regions().items()}
    return {
        index: (int(starts[starts.searchsorted(region.start_char)]), region.end_char)
        for index, region in regions.items()
        if region.interrupted
    }


def _restored(
    render: Render,
    control_tokens: tuple[str, ...],
    segments: Segments,
    has_generation_tags: bool,
    sampled: tuple[frozenset[int], frozenset[int]],
    off_prompt: Mapping[int, OffPrompt] | None,
    roles_of_template: frozenset[str],
    structural_roles: tuple[str, ...],
) -> AttributedRender:
    restored = AttributedRender.__new__(AttributedRender)
    # What was found stands in place of what would find it.
    vars(restored).update(
        render=render,
        control_tokens=control_tokens,
        segments=segments,
        has_generation_tags=has_generation_tags,
        unsampled_ends=sampled[0],
        respelled=sampled[1],
        roles_of_template=roles_of_template,
        structural_roles=structural_roles,
        _prompts=None,
    )
    if off_prompt is not None:
        vars(restored)["off_prompt"] = off_prompt
    return restored
