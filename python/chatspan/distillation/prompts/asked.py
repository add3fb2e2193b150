"""Whether a prompt of a recorded conversation is the one that a model is asked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.errors import LayoutError, first_difference


def require_asked(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    template_kwargs: Mapping[str, Any],
    written: str,
    whose: str = "",
    **place: Any,
) -> None:
    """The text in front of a response begins with what the chat template writes when it is asked for it.

    Args:
        messages: those in front of the response's own.
        template_kwargs: further arguments of ``apply_chat_template``.
        written: what stands in front of the response.
        whose: what errors call the prompt, if there are several.
        place: the response's, as :meth:`chatspan.ChatspanError.at` takes it.

    Raises:
        LayoutError: it does not, or the template raises; with ``place``.
    """
    remedy = "use check_prompt=False to take it as it is there"
    try:
        asked = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, **template_kwargs
        )
    # What templates raise has no common base.
    except Exception as error:
        raise LayoutError(
            f"asked for this message, the chat template raises {type(error).__name__}: {error}; {remedy}", **place
        ) from error
    if written.startswith(asked):
        return
    at = first_difference(asked, written)
    there = repr(written[at : at + 60]) if at < len(written) else "the response"
    raise LayoutError(
        f"asked for this message, the chat template writes another {whose}prompt: from its character {at} on "
        f"{asked[at : at + 60]!r}, where the conversation has {there}; {remedy}",
        start_char=at,
        **place,
    )
