"""What is compared: the collator on either route, and transformers' own masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from chatspan import CollatorConfig, ComposerDataCollator
from chatspan.distillation.examples.traces import read_traces
from inputs import Trace

_HINT = "The call before this turn failed. Read what the error says, and try a call that avoids it."

# The line with which a template writes an assistant's content, and the same line with a generation block around it.
_TAGGED = "{% generation %}{{- message.content }}{% endgeneration %}"
_BY_ROLE = f"{{%- if message.role == 'assistant' %}}{_TAGGED}{{%- else %}}{{{{- message.content }}}}{{%- endif %}}"
_GENERATION_REWRITES = {
    # Qwen2.5
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}": (
        "{{- '<|im_start|>' + message.role + '\\n' }}" + _BY_ROLE + "{{- '<|im_end|>' + '\\n' }}"
    ),
    # examples/tokenizer
    "{%- if message.content is string %}\n        {{- message.content }}": (
        "{%- if message.content is string %}\n        " + _BY_ROLE
    ),
}


class PrefixDeltaView:
    """The same tokenizer without what says that it gives offsets, so the collator takes the prefix-delta route."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.pad_token_id = tokenizer.pad_token_id
        self.eos_token_id = tokenizer.eos_token_id

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._tokenizer(*args, **kwargs)

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        return self._tokenizer.apply_chat_template(*args, **kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        return self._tokenizer.decode(*args, **kwargs)


def collator(tokenizer: Any, *, with_hints: bool) -> ComposerDataCollator:
    """A collator with hints that every template takes (some allow a system message only at the start), or with none."""
    config = CollatorConfig(
        hint_generator=lambda error, meta: _HINT if with_hints else "", hint_placement="append_to_previous"
    )
    collate = ComposerDataCollator(tokenizer=tokenizer, config=config)
    collate.warm_up()
    return collate


def messages_of(trace: Trace) -> list[dict[str, Any]]:
    """What the collator gives the chat template for a trace's student."""
    config = CollatorConfig(hint_generator=lambda error, meta: "")
    return list(read_traces([trace], config)[0].plain.messages)


def generation_template(tokenizer: Any) -> str | None:
    """The tokenizer's template with generation tags around assistants' contents; ``None`` for one not known here."""
    template = tokenizer.chat_template
    for line, tagged in _GENERATION_REWRITES.items():
        if template.count(line) == 1:
            return str(template.replace(line, tagged))
    return None


def hf_masked(tokenizer: Any, template: str, trace: Trace) -> Callable[[], dict[str, torch.Tensor]]:
    """transformers' ids and assistant mask of a trace, as tensors."""
    messages = messages_of(trace)
    if tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template) != (
        tokenizer.apply_chat_template(messages, tokenize=False)
    ):
        raise SystemExit("the template with generation tags renders another text than the tokenizer's own")

    def call() -> dict[str, torch.Tensor]:
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, chat_template=template
        )
        return {key: torch.tensor([values]) for key, values in encoded.items()}

    return call


def hf_plain(tokenizer: Any, trace: Trace) -> Callable[[], dict[str, torch.Tensor]]:
    """transformers' ids of a trace, as tensors, without any mask of roles."""
    messages = messages_of(trace)

    def call() -> dict[str, torch.Tensor]:
        encoded = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)
        return {key: torch.tensor([values]) for key, values in encoded.items()}

    return call


def require_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], names: Iterable[str]) -> None:
    """Refuses to time two sides that do not give the same."""
    for name in names:
        if not torch.equal(one[name], other[name]):
            raise SystemExit(f"{name} differs between the sides, so their times say nothing")
