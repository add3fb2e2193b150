"""A rendered conversation that is not tokenized yet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chatspan._core import Offsets, attribute
from chatspan.attribution import Region, Segment, attribute_render, roles_of
from chatspan.chat_template import Render
from chatspan.encoding import Encoding
from chatspan.pieces import Piece, Tokens
from chatspan.probing import Habits


class Draft:
    """A rendered conversation, and what is not to be tokenized as always.

    What only some callers need, the header and the kind of each character, is found when it is asked for.
    """

    def __init__(
        self, render: Render, habits: Callable[[], tuple[tuple[str, ...], Habits]], has_generation_tags: bool
    ) -> None:
        self.render = render
        self.pieces: list[Piece] = []
        self._habits = habits
        self._has_generation_tags = has_generation_tags

    @functools.cached_property
    def controls(self) -> tuple[str, ...]:
        """The tokens that have a meaning in the render."""
        return self._habits()[0]

    @functools.cached_property
    def roles(self) -> tuple[str, ...]:
        """The role of each message."""
        return tuple(roles_of(self.render.messages))

    @functools.cached_property
    def attributed(self) -> tuple[Sequence[Segment], Mapping[int, Region]]:
        """The segments of the render, and the region of each message."""
        controls, habits = self._habits()
        return attribute_render(self.render, self.roles, habits, controls)

    def table(self, tokens: Tokens) -> Offsets:
        """The characters of each token, checked."""
        return Offsets(tokens[1], text_length=len(self.render.text))

    def encoding(self, tokens: Tokens) -> Encoding:
        """The tokens, and whose they are."""
        segments, regions = self.attributed
        edges = np.array([0, *(segment.end_char for segment in segments)] if segments else [], dtype=np.int64)
        owners = np.array([segment.message_index for segment in segments], dtype=np.int32)
        kinds = np.array([segment.kind for segment in segments], dtype=np.uint8)
        table = self.table(tokens)
        message_index, kind, straddling = attribute(table, edges, owners, kinds)
        return Encoding(
            text=self.render.text,
            input_ids=np.array(tokens[0], dtype=np.int64),
            offsets=table.to_array(),
            message_index=message_index,
            kind=kind,
            straddling=straddling,
            roles=self.roles,
            segments=tuple(segments),
            _render=self.render,
            _regions=regions,
            _control_tokens=self.controls,
            _has_generation_tags=self._has_generation_tags,
        )
