"""What verl's agent loops ask for tokens: prompts that go on with what was sampled, for any chat template."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from chatspan.encoder import ChatEncoder
from chatspan.errors import OptionError, RolloutError, quoted
from chatspan.options import one_of
from chatspan.rollout.answered import add_turn
from chatspan.rollout.histories import Histories
from chatspan.rollout.rollout import Rollout

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Merged:
    """Tokens behind others, and what became of these: verl's ``MergeResult``.

    Attributes:
        token_ids: all of them.
        appended_token_count: how many were added at the end: those that were sampled, or those of new messages.
        kind: ``"assistant"``, they were sampled; ``"context"``, a template wrote them.
        inserted_token_ids: what was added in front of these: what the template writes behind the turn, and was not
            sampled.
        removed_prefix_token_count: how many were taken away; none ever are.
    """

    token_ids: list[int]
    appended_token_count: int
    kind: Literal["assistant", "context"] = "context"
    inserted_token_ids: list[int] = field(default_factory=list)
    removed_prefix_token_count: int = 0


class _Sampled(NamedTuple):
    """A prompt, and what was sampled from it."""

    rollout: Rollout
    token_ids: list[int]


class TokenBuilder:
    """In place of a ``ContinuousTokenBuilder`` of verl: the same methods, for any chat template.

    verl chooses a builder by the model's type, and renders new messages behind made-up ones. Here the conversation
    itself is rendered, and the origin of its characters proves how it goes on, see :class:`chatspan.Rollout`.

    Args:
        tokenizer: an HF fast tokenizer.
        chat_template_kwargs: verl's ``data.apply_chat_template_kwargs``.
        on_rewrite: where the template changes what was shown, as templates do that drop earlier reasoning: ``"keep"``,
            what was shown and sampled stays, as verl's own builders do; or ``"error"``.

    Raises:
        TokenizerError: the tokenizer has no chat template, or returns no offsets.
        OptionError: another ``on_rewrite``: verl takes one row of a rollout.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from chatspan.verl import TokenBuilder
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> builder, question = TokenBuilder(tokenizer), {"role": "user", "content": "2 + 2?"}
        >>> shown = builder.build_initial_tokens([question])
        >>> sampled = tokenizer("4<|im_end|>", add_special_tokens=False)["input_ids"]
        >>> merged = builder.merge_assistant_tokens(shown, sampled)
        >>> history = [question, {"role": "assistant", "content": "4"}]
        >>> new = [{"role": "user", "content": "Sure?"}]
        >>> merged = builder.merge_context_tokens(history, [*history, *new], merged.token_ids)
        >>> tokenizer.decode(merged.inserted_token_ids)
        '\\n'
        >>> tokenizer.decode(merged.token_ids[-merged.appended_token_count :])
        '<|im_start|>user\\nSure?<|im_end|>\\n<|im_start|>assistant\\n'
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        on_rewrite: Literal["keep", "error"] = "keep",
    ) -> None:
        if not one_of(on_rewrite, ("keep", "error")):
            raise OptionError(
                f'on_rewrite={quoted(on_rewrite)}: use "keep" or "error": verl takes one row of a rollout'
            )
        self.tokenizer = tokenizer
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self.on_rewrite: Literal["keep", "error"] = on_rewrite
        self._encoder = ChatEncoder(tokenizer)
        self._histories: Histories[Rollout | _Sampled] = Histories()

    @classmethod
    def supports_multimodal(cls) -> bool:
        """``False``: what a processor makes of images is not known here."""
        return False

    def build_initial_tokens(
        self, messages: Messages, *, tools: Sequence[Any] | None = None, mm_inputs_out: Any = None, **media: Any
    ) -> list[int]:
        """The ids of the first prompt.

        Raises:
            OptionError: images, videos or audios.
            MessageError, TemplateError: of the messages, see :meth:`chatspan.ChatEncoder.encode`.
        """
        if given := [name for name, value in media.items() if value]:
            raise OptionError(f"{given[0]} were given: this builder renders text; use verl's own for media")
        rollout = Rollout(
            self._encoder,
            messages,
            tools=tools or None,
            on_rewrite=self.on_rewrite,
            template_kwargs=self.chat_template_kwargs,
        )
        return self._remembered(rollout)

    def merge_assistant_tokens(self, runtime_token_ids: Sequence[int], assistant_token_ids: Sequence[int]) -> Merged:
        """The tokens with what was sampled behind them, which may be a part of a turn that goes on."""
        token_ids, sampled = [*runtime_token_ids, *assistant_token_ids], list(assistant_token_ids)
        history = self._histories.find(runtime_token_ids)
        if isinstance(history, _Sampled):
            self._histories.remember(token_ids, _Sampled(history.rollout, [*history.token_ids, *sampled]))
        elif history is not None:
            self._histories.remember(token_ids, _Sampled(history, sampled))
        return Merged(token_ids, len(sampled), "assistant")

    def merge_context_tokens(
        self,
        previous_messages: Messages,
        updated_messages: Messages,
        runtime_token_ids: Sequence[int],
        *,
        tools: Sequence[Any] | None = None,
    ) -> Merged:
        """The tokens with new messages behind them, and the prompt of the next turn.

        Args:
            previous_messages: all up to the turn that was sampled last. What that turn says is read of its tokens, and
                nothing but the ids of its calls taken from here: verl's parsers leave the stop token in a content.
            updated_messages: these, and the new ones.
            runtime_token_ids: the prompts and turns so far, as the methods of this builder gave them.

        Raises:
            RolloutError: tokens that are not of this builder; or see :meth:`chatspan.Rollout.add_messages`.
        """
        new = updated_messages[len(previous_messages) :]
        if not new or list(updated_messages[: len(previous_messages)]) != list(previous_messages):
            raise RolloutError("updated_messages must begin with previous_messages and have more: pass both unchanged")
        history = self._histories.find(runtime_token_ids)
        if history is None:
            raise RolloutError(
                f"{len(runtime_token_ids)} tokens are unknown here: the prompt was cut "
                "to rollout.prompt_length, or not made by this builder; raise rollout.prompt_length"
            )
        rollout = copy.copy(history.rollout if isinstance(history, _Sampled) else history)
        if isinstance(history, _Sampled):
            calls = previous_messages[-1].get("tool_calls") or () if previous_messages else ()
            call_ids = [call.get("id") for call in calls]
            add_turn(rollout, history.token_ids, new, call_ids=[] if None in call_ids else call_ids)
        else:
            rollout.add_messages(new)
        shown = rollout.last_shown
        first_new = len(rollout.messages) - len(new)
        # Behind the turn stand its end, and then what is of new messages or of none.
        is_turns = (shown.message_index >= 0) & (shown.message_index < first_new)
        inserted = int(is_turns.argmin()) if not is_turns.all() else len(is_turns)
        return Merged(self._remembered(rollout), len(shown.ids) - inserted, "context", shown.ids[:inserted].tolist())

    def align_response_metadata(
        self,
        merge_result: Merged,
        response_mask: Sequence[int],
        response_logprobs: Sequence[float] | None = None,
        *,
        assistant_logprobs: Sequence[float] | None = None,
    ) -> tuple[list[int], list[float] | None]:
        """The mask and the log-probs of a response with what was merged: 1 and its own for what was sampled, else 0.

        Raises:
            RolloutError: log-probs that are missing, or of another number of tokens.
        """
        count = merge_result.appended_token_count
        is_sampled = merge_result.kind == "assistant"
        inserted = len(merge_result.inserted_token_ids)
        mask = [*response_mask, *[0] * inserted, *[int(is_sampled)] * count]
        if response_logprobs is None:
            if assistant_logprobs is not None:
                raise RolloutError("assistant_logprobs without response_logprobs: pass those of the tokens before, too")
            return mask, None
        added = list(assistant_logprobs or []) if is_sampled else [0.0] * count
        if len(added) != count:
            raise RolloutError(f"{len(added)} assistant_logprobs for {count} sampled tokens: pass one per token")
        return mask, [*response_logprobs, *[0.0] * inserted, *added]

    def _remembered(self, rollout: Rollout) -> list[int]:
        token_ids: list[int] = rollout.prompt_ids.tolist()
        self._histories.remember(token_ids, rollout)
        return token_ids
