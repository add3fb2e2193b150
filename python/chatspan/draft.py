"""A rendered conversation that is not tokenized yet."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from chatspan._core import Habits, Segments, attribute, attribute_render
from chatspan.attribution import roles_of
from chatspan.chat_template import Render
from chatspan.encoding import Encoding
from chatspan.pieces import Piece
from chatspan.tokens import Tokens


class Conventions(NamedTuple):
    """What a tokenizer and a template agree on.

    Attributes:
        control_tokens: the tokens that have a meaning in a render.
        habits: what the template writes around assistants' messages.
    """

    control_tokens: tuple[str, ...]
    habits: Habits


class Draft:
    """A rendered conversation, and what is not to be tokenized as always.

    What only some callers need, the header and the kind of each character, is found when it is asked for.
    """

    def __init__(self, render: Render, conventions: Callable[[], Conventions], has_generation_tags: bool) -> None:
        self.render = render
        self.pieces: list[Piece] = []
        self._conventions = conventions
        self._has_generation_tags = has_generation_tags

    @functools.cached_property
    def conventions(self) -> Conventions:
        """What the tokenizer and the template agree on."""
        return self._conventions()

    @functools.cached_property
    def roles(self) -> tuple[str, ...]:
        """The role of each message."""
        known = self.render.roles
        return tuple(roles_of(self.render.messages)) if known is None else known

    @functools.cached_property
    def segments(self) -> Segments:
        """The render cut by message and kind, and the region of each message."""
        render = self.render
        if render.native is not None:
            return render.native.segments(self.conventions.habits)
        prompt = render.prompt_start_char if render.prompt_start_char >= 0 else None
        return attribute_render(
            render.text, list(render.runs), list(render.owners), self.roles, self.conventions.habits, prompt
        )

    def encoding(self, tokens: Tokens) -> Encoding:
        """The tokens, and whose they are."""
        message_index, kind, straddling = tokens.attribution or attribute(tokens.table, self.segments)
        return Encoding(
            input_ids=tokens.input_ids,
            table=tokens.table,
            message_index=message_index,
            kind=kind,
            straddling=straddling,
            roles=self.roles,
            backend=tokens.backend,
            _segments=self.segments,
            _render=self.render,
            _control_tokens=self.conventions.control_tokens,
            _has_generation_tags=self._has_generation_tags,
        )
