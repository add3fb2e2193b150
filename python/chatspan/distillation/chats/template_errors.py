"""What a template raises on a conversation, as a typed error with its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chatspan.distillation.examples.conversation import Conversation
from chatspan.errors import ChatspanError, HintPlacementError, TemplateError, TokenizerError
from chatspan.rows.messages import Message


def require_chat_template(tokenizer: Any, conversation: Conversation) -> None:
    """Refuses a tokenizer that says of itself that it has no chat template."""
    if not callable(getattr(tokenizer, "apply_chat_template", None)):
        message = f"{type(tokenizer).__name__} has no apply_chat_template"
    elif getattr(tokenizer, "chat_template", "unknown") is None and not conversation.template_kwargs.get(
        "chat_template"
    ):
        message = (
            "the tokenizer has no chat template: set tokenizer.chat_template, "
            "or put one in the trace's 'chat_template_kwargs'"
        )
    else:
        return
    raise TokenizerError(message, trace_id=conversation.trace_id)


def template_error(
    conversation: Conversation, error: Exception, apply: Callable[[list[Message]], object]
) -> ChatspanError:
    """The template's exception as ours, naming the first message with which it raises the same.

    Args:
        apply: applies the template to messages.
    """

    def raised(messages: Sequence[Message]) -> str | None:
        try:
            apply(list(messages))
        except Exception as other:
            return str(other)
        return None

    counts = range(1, len(conversation.messages) + 1)
    failing = next((count for count in counts if raised(conversation.messages[:count]) == str(error)), None)
    message_index = None if failing is None else failing - 1
    which = ""
    if message_index is not None:
        which = f" at message {message_index} (role {conversation.messages[message_index]['role']!r})"
    message = f"the chat template raised{which}: {type(error).__name__}: {error}"
    kind: type[ChatspanError] = TemplateError
    if conversation.plain is not None and raised(conversation.plain.messages) is None:
        kind = HintPlacementError
        message += "; without the hint it does not"
        if None in conversation.turn_indices:
            message += ', so use another hint_role or hint_placement="append_to_previous"'
    return kind(message).at(**conversation.place(message_index))
