"""What is asked of a renderer: a conversation, and the keywords of ``apply_chat_template``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

Messages = Sequence[Mapping[str, Any]]


class RenderRequest(NamedTuple):
    """A conversation to render.

    Attributes:
        messages, tools, documents, add_generation_prompt, continue_final_message: as ``apply_chat_template`` takes
            them.
        template_kwargs: the keywords that are the template's own.
        chat_template: in place of the renderer's.
    """

    messages: Messages
    tools: Sequence[Any] | None = None
    documents: Sequence[Mapping[str, str]] | None = None
    add_generation_prompt: bool = False
    continue_final_message: bool | str = False
    template_kwargs: Mapping[str, Any] = MappingProxyType({})
    chat_template: str | None = None


def request_of(
    messages: Messages,
    /,
    *,
    tools: Sequence[Any] | None = None,
    documents: Sequence[Mapping[str, str]] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool | str = False,
    **template_kwargs: Any,
) -> RenderRequest:
    """The request of a call that takes all keywords side by side."""
    return RenderRequest(messages, tools, documents, add_generation_prompt, continue_final_message, template_kwargs)


def has_messages(messages: Any) -> bool:
    """Whether it is a list of at least one item, and no text and no single message."""
    is_list = isinstance(messages, Sequence) and not isinstance(messages, (str, bytes, Mapping))
    return is_list and len(messages) > 0
