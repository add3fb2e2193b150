"""What a reader asks about the chat template that its rows are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Habits(Protocol):
    """What a template does with the forms that a message may have."""

    def takes_argument_objects(self) -> bool:
        """Whether it renders a call whose ``arguments`` are an object, and not as a Python ``repr``."""

    def takes_null_content(self) -> bool:
        """Whether it renders a call beside a ``content`` that is null."""

    def takes_text_parts(self, role: str) -> bool:
        """Whether it writes the text of a message of this role whose ``content`` is a list of parts."""

    def writes_role(self, role: str) -> bool:
        """Whether it writes the text of a message of this role."""


class KnowsHabits(Protocol):
    """Who knows a template's habits: a pipeline."""

    def habits(self, tools: Sequence[Any] | None, template_kwargs: Mapping[str, Any]) -> Habits:
        """The habits of the template of a conversation with these tools and keywords."""
