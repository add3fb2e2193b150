"""One step of a rollout, for loops that keep the messages themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatspan.rollout.rewrites import OnRewrite
from chatspan.rollout.rollout import Rollout

if TYPE_CHECKING:
    from chatspan.encoder import ChatEncoder


def bridge_to_next_turn(
    encoder: ChatEncoder,
    messages: Sequence[Mapping[str, Any]],
    previous_prompt_ids: Any,
    previous_completion_ids: Any,
    new_messages: Sequence[Mapping[str, Any]],
    *,
    message: Mapping[str, Any] | None = None,
    tools: Sequence[Any] | None = None,
    documents: Sequence[Mapping[str, str]] | None = None,
    finish_reason: str | None = "stop",
    on_rewrite: OnRewrite = "error",
    template_kwargs: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> NDArray[np.int64]:
    """The next prompt behind a completion, for loops that keep the messages themselves; see :class:`Rollout`.

    Args:
        messages: what the prompt was made of. Without them nothing can be proven, and there is no way to guess.
        previous_prompt_ids: int ``[P]``, the prompt that was sampled from; it must say what the template writes.
        previous_completion_ids: int ``[N]``, what was sampled, with the stop token, where one was.
        message, finish_reason: of the completion, see :meth:`Rollout.add_completion`.
        new_messages: what follows it.

    Returns:
        int64 ``[P2]``, which begins with the prompt and the completion, unless ``on_rewrite="split"`` and the template
        rewrites these.

    Raises:
        PromptMismatchError: the prompt is not the one that the template writes for ``messages``.
        ChatspanError: as :class:`Rollout` and its methods.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> question, answer = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}
        >>> shown = encoder.encode([question], add_generation_prompt=True).input_ids
        >>> sampled = encoder.tokenizer("4<|im_end|>")["input_ids"]
        >>> prompt_ids = chatspan.bridge_to_next_turn(encoder, [question], shown, sampled, [question], message=answer)
        >>> prompt_ids[: len(shown) + len(sampled)].tolist() == [*shown, *sampled]
        True
    """
    rollout = Rollout(
        encoder,
        messages,
        tools=tools,
        documents=documents,
        on_rewrite=on_rewrite,
        template_kwargs=template_kwargs,
        **keywords,
    )
    rollout._begin_with(previous_prompt_ids)
    rollout.add_completion(previous_completion_ids, message=message, finish_reason=finish_reason)
    return rollout.add_messages(new_messages)
