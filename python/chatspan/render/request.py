"""What is asked of a renderer: a conversation, and the keywords of ``apply_chat_template``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

from chatspan.errors import MessageError, OptionError, is_a, one_line, quoted
from chatspan.rows.same_text import text_key
from chatspan.rows.steps.plain import items_of

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


def merged_keywords(keywords: Mapping[str, Any], template_kwargs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The template's keywords that a call gives side by side and in one mapping.

    Raises:
        OptionError: the mapping is none of names, or has another value for a name that stands beside it.
    """
    if template_kwargs is None:
        return keywords
    if not is_a(template_kwargs, Mapping):
        raise OptionError(
            f"template_kwargs must be a mapping of names to values, got {type(template_kwargs).__name__}: pass a dict"
        )
    try:
        template_kwargs = dict(template_kwargs)
    # What a mapping of a caller's own raises.
    except Exception as error:
        raise OptionError(f"template_kwargs {reason(error)}") from error
    for name, value in template_kwargs.items():
        if not is_a(name, str):
            raise OptionError(f"template_kwargs has the key {quoted(name)}: expected names, which are text")
        if name in keywords and text_key(keywords[name]) != text_key(value):
            raise OptionError(
                f"the keyword {name!r} is {quoted(keywords[name])} and in template_kwargs {quoted(value)}: pass it once"
            )
    return {**keywords, **template_kwargs}


def listed(messages: Any) -> Any:
    """The messages in a list of our own, to which nobody else adds; what is no list of messages is refused later.

    Raises:
        MessageError: a sequence that cannot be gone through, or has another length than it says.
    """
    if type(messages) is list:
        return messages.copy()
    if type(messages) is tuple or not is_a(messages, Sequence) or is_a(messages, (str, bytes, Mapping)):
        return messages
    try:
        said, given = len(messages), []
        for message in islice(iter(messages), said + 1):
            given.append(message)
            if is_single(message):
                # It is refused, and a range has any number of them.
                return given
    # What a sequence of a caller's own raises.
    except Exception as error:
        raise MessageError(f"messages {reason(error)}") from error
    if len(given) != said:
        found = "more" if len(given) > said else len(given)
        raise MessageError(f"messages claim {said} items, but yield {found}: pass a list")
    return given


def items_given(values: Any, name: str) -> list[Any]:
    """The items of an option that is a sequence.

    Args:
        name: the option's, as the error calls it.

    Raises:
        OptionError: it cannot be gone through, or has another length than it says.
    """
    try:
        return items_of(values)
    # What a sequence of a caller's own raises.
    except Exception as error:
        raise OptionError(f"{name} {reason(error)}: pass a list") from error


def has_role(message: Mapping[str, Any], role: str) -> bool:
    """Whether a message is of a role; its own may be anything, also what cannot be compared, such as an array."""
    own = message.get("role")
    return is_a(own, str) and bool(own == role)


def is_single(value: Any) -> bool:
    """Whether a value is no list and holds nothing: no message, and no conversation."""
    return value is None or is_a(value, (str, bytes, int, float))


def own_copy(value: Any) -> Any:
    """The value with dicts, lists and tuples of its own, which nobody else changes; objects stay what they are."""
    kind = type(value)
    if kind is dict:
        return {key: own_copy(part) for key, part in value.copy().items()}
    if kind is list:
        return [own_copy(part) for part in value.copy()]
    return tuple(own_copy(part) for part in value) if kind is tuple else value


def unreadable(index: int, error: Exception) -> MessageError:
    """The error about a message that cannot be read, for what an object in it raised."""
    return MessageError(f"message {index} {reason(error)}", message_index=index)


def reason(error: Exception) -> str:
    """Why something of a caller's own cannot be read."""
    if is_a(error, RuntimeError) and "during iteration" in one_line(error):
        return (
            f"changed while it was read ({one_line(error)}): let nothing change it before the call returns, no other "
            "thread and no method of an object in it"
        )
    return f"cannot be read, an object in it raised {type(error).__name__}: {one_line(error)}"


def require_flags(request: RenderRequest) -> None:
    """The options of a call are of their types, which the core and transformers ask for.

    Raises:
        OptionError: one is not.
    """
    if type(request.add_generation_prompt) is not bool:
        raise OptionError(f"add_generation_prompt={quoted(request.add_generation_prompt)}: expected True or False")
    if type(request.continue_final_message) not in (bool, str):
        raise OptionError(
            f"continue_final_message={quoted(request.continue_final_message)}: expected True, False or the key of "
            "a field"
        )
    _require_documents(request.documents)


def _require_documents(documents: Any) -> None:
    if documents is None:
        return
    if is_a(documents, (str, bytes, Mapping)) or not is_a(documents, Sequence):
        raise OptionError(f"documents must be a list, got {type(documents).__name__}: expected [document, …]")
    for index, document in enumerate(items_given(documents, "documents")):
        if not is_a(document, dict):
            raise OptionError(
                f"documents[{index}] is {type(document).__name__}: pass a dict; templates read its 'title' and 'text'"
            )


def require_conversations(conversations: Any) -> None:
    """What a batch is made of.

    Raises:
        MessageError: it is no list of conversations.
    """
    if is_a(conversations, (str, bytes, Mapping)) or not is_a(conversations, Iterable):
        raise MessageError(
            f"conversations must be a list of conversations, got {_received(conversations)}: expected [messages, …], "
            "each a list of messages"
        )


def not_messages(messages: Any) -> MessageError:
    """The error about what is no list of messages."""
    if is_a(messages, Mapping) and "messages" in messages:
        what = 'a row: pass its messages, row["messages"]'
    elif is_a(messages, Mapping) and "role" in messages:
        what = "one message: pass a list, [message]"
    else:
        what = f'{_received(messages)}: pass a list such as [{{"role": "user", "content": "…"}}]'
    return MessageError(f"messages must be a list of at least one message, got {what}")


def _received(value: Any) -> str:
    if value is None:
        return "None"
    if is_a(value, str):
        return f"the text {quoted(value)}"
    if is_a(value, Sequence) and not is_a(value, bytes):
        return "an empty list" if len(value) == 0 else type(value).__name__
    return type(value).__name__


def has_messages(messages: Any) -> bool:
    """Whether it is a list of at least one item, and no text and no single message."""
    is_list = is_a(messages, Sequence) and not is_a(messages, (str, bytes, Mapping))
    return is_list and len(messages) > 0
