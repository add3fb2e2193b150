"""A rendered conversation, and where it came from: what either engine gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatspan._core import NativeRender
from chatspan.render.origins import Run

CharRange = tuple[int, int]


@dataclass(frozen=True)
class Render:
    """A rendered conversation, and where it came from.

    Attributes:
        given_text: the render, where Python has it; see :attr:`text`.
        runs: in order, without overlaps: what of it came from the input.
        owners: ``(start_char, message_index)``, rising: from there on, the message being rendered (-1: none).
        generation: the characters of each generation block, in the order in which the template closed them.
        messages: the traced messages.
        prompt_start_char: where the generation prompt begins; -1 if there is none.
        open_end: whether the last message is to be continued.
        native: the core's own, where it made this one whole.
        roles: of the messages, where they are known without these.
        engine: what evaluated the template: ``"native"``, ``"jinja2"``.
    """

    given_text: str | None
    runs: Sequence[Run]
    owners: Sequence[tuple[int, int]]
    generation: Sequence[CharRange] = ()
    messages: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    prompt_start_char: int = -1
    open_end: bool = False
    native: NativeRender | None = field(default=None, repr=False)
    roles: tuple[str, ...] | None = field(default=None, repr=False)
    engine: str = "jinja2"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "given_text": self.text, "native": None}

    @property
    def text(self) -> str:
        """The render; of one by the core made when it is first asked for."""
        if self.given_text is not None:
            return self.given_text
        assert self.native is not None
        return self.native.text

    @property
    def length(self) -> int:
        """How many characters it has."""
        return len(self.text) if self.native is None or self.given_text is not None else self.native.length

    def text_from(self, start_char: int) -> str:
        """The text from a character on; of a render by the core nothing else of it is made."""
        if self.native is None or self.given_text is not None:
            return self.text[start_char:]
        return self.native.text_from(start_char)

    def starts_with(self, other: Render) -> bool:
        """Whether it begins with all of another."""
        if self.native is not None and other.native is not None:
            return self.native.starts_with(other.native)
        return self.text.startswith(other.text)
