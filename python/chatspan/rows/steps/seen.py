"""One look at a row's messages: which of the steps of reading them have nothing to do."""

from __future__ import annotations

from typing import Any, NamedTuple

from chatspan._core import survey_messages
from chatspan.options import ROLES

_ROLES = frozenset(ROLES)
# What a message of another dialect has.
_OF_SHAREGPT = frozenset({"from", "value", "text"})
# What OpenAI's messages have of calls, old and new, and of refusals.
_OF_CALLS = frozenset({"tool_calls", "tool_call", "function_call", "refusal"})


class SeenMessages(NamedTuple):
    """What the messages of a row have, all of them dicts with texts as keys and a text as role.

    Attributes:
        keys: their keys.
        roles: their roles.
        are_texts: whether each has a content that is a text.
        have_parts: whether a content is neither a text nor null.
        have_nulls: whether another field is null.
    """

    keys: frozenset[str]
    roles: frozenset[str]
    are_texts: bool
    have_parts: bool
    have_nulls: bool

    @property
    def is_openai(self) -> bool:
        """Whether they are in no other dialect's shape."""
        return not self.have_parts and self.keys.isdisjoint(_OF_SHAREGPT)

    @property
    def is_normal(self) -> bool:
        """Whether they have no spelling that templates take for something else."""
        return not self.have_nulls and self.keys.isdisjoint(_OF_CALLS)

    @property
    def has_usual_roles(self) -> bool:
        """Whether no role is a template's own, or a typing error."""
        return self.roles <= _ROLES

    @property
    def is_fitted(self) -> bool:
        """Whether each template takes their forms."""
        return self.are_texts and self.is_normal


def seen_messages(messages: list[Any]) -> SeenMessages | None:
    """What the messages have; ``None`` where one is not as usual, which only the steps themselves can tell of."""
    found = survey_messages(messages)
    return None if found is None else SeenMessages(frozenset(found[0]), frozenset(found[1]), *found[2:])
