"""Mistakes that people make, one a line: each error says what was received, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import assistant, user
from chatspan import (
    ChatCollator,
    ChatEncoder,
    ComposerDataCollator,
    DistillationConfig,
    OptionError,
    SelfDistillationCollator,
)
from chatspan.loss import sdpo_loss
from training import model_of
from transformers import AutoTokenizer
from zoo import EXAMPLES

CHAT = [user("Hi"), assistant("Yes")]
ROW: dict[str, Any] = {"messages": CHAT}
PAIR = {**ROW, "teacher_messages": [user("Hi. Say yes."), assistant("Yes")]}
STRICT = "{% for m in messages %}{{ m.role + m['content'] }}{% endfor %}"


def without_template(tokenizer: Any) -> Any:
    bare = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    bare.chat_template = None
    return bare


class OnlyTokenizer:
    """As a processor without a chat template of its own."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer


def loss_of_a_batch(tokenizer: Any, batch: Any, *, whole: bool = False) -> Any:
    output = model_of(tokenizer)(batch["input_ids"])
    logits = output if whole else output.logits
    return sdpo_loss(logits, logits, batch)


# What is done, the error's class, and what it says was received and is to be done.
MISTAKES: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "a name in place of a tokenizer": (
        lambda t: ChatEncoder("Qwen/Qwen3-0.6B"),
        "TokenizerError",
        r"the name 'Qwen/Qwen3-0.6B', not a tokenizer: use AutoTokenizer.from_pretrained\('Qwen/Qwen3-0.6B'\)",
    ),
    "a path in place of a tokenizer": (
        lambda t: ChatCollator(Path("models/qwen")),
        "TokenizerError",
        r"the name 'models/qwen', not a tokenizer: use AutoTokenizer.from_pretrained\('models/qwen'\)",
    ),
    "None in place of a tokenizer": (
        lambda t: SelfDistillationCollator(None),
        "TokenizerError",
        r"tokenizer is None: use AutoTokenizer.from_pretrained\(name\)",
    ),
    "a processor that renders nothing": (
        lambda t: ChatEncoder(OnlyTokenizer(t)),
        "TokenizerError",
        "OnlyTokenizer has no apply_chat_template: use processor.tokenizer",
    ),
    "a tokenizer without a template": (
        lambda t: ChatEncoder(without_template(t)),
        "TokenizerError",
        "has no chat template: set tokenizer.chat_template, or pass chat_template",
    ),
    "a text to encode": (
        lambda t: ChatEncoder(t).encode("Hi"),
        "MessageError",
        r"got the text 'Hi': pass a list such as",
    ),
    "a row to encode": (lambda t: ChatEncoder(t).encode(ROW), "MessageError", r"got a row: pass its messages, row\["),
    "tools of a wrong form": (
        lambda t: ChatEncoder(t).encode(CHAT, tools={"name": "f"}),  # type: ignore[arg-type]
        "OptionError",
        "tools must be a list, got dict",
    ),
    "content missing": (
        lambda t: ChatEncoder(t, chat_template=STRICT).encode([{"role": "user"}, CHAT[1]]),
        "ChatspanError",
        "message 0.*content",
    ),
    "one row to a collator": (lambda t: ChatCollator(t)(ROW), "RowError", "got dict: put it in a list"),  # type: ignore[arg-type]
    "messages to a collator": (
        lambda t: ChatCollator(t)(CHAT),
        "RowError",
        r"it is one message, not a row: pass \{'messages': \[...\]\} with all messages",
    ),
    "lists of messages to a collator": (
        lambda t: ChatCollator(t)([CHAT]),
        "RowError",
        r"got a list of messages where a row was expected: pass \{'messages': \[...\]\}",
    ),
    "a batch in a batch": (
        lambda t: ChatCollator(t)([[ROW, ROW]]),
        "RowError",
        "got a list of rows where a row was expected: a batch in a batch; pass the rows in one list",
    ),
    "an empty batch": (lambda t: ChatCollator(t)([]), "RowError", "the batch is empty: pass at least one row"),
    "columns that a trainer took away": (
        lambda t: ChatCollator(t)([{"input_ids": [1], "labels": [1]}]),
        "RowError",
        "got 'input_ids', 'labels'.*remove_unused_columns=False",
    ),
    "roles of ShareGPT": (
        lambda t: ChatCollator(t)([{"messages": [{"role": "human", "content": "a"}, {"role": "gpt", "content": "b"}]}]),
        "EmptyRowError",
        "its roles: 'human', 'gpt': format=\"sharegpt\"",
    ),
    "a length that is too small": (
        lambda t: ChatCollator(t, max_length=3)([ROW]),
        "TruncationError",
        'tokens are more than max_length=3; use truncation="left" or "right" to cut them',
    ),
    "truncation without a length": (
        lambda t: ChatCollator(t, truncation="left"),
        "OptionError",
        "truncation='left' has no effect without a length: set max_length",
    ),
    "truncation as transformers has it": (
        lambda t: ChatCollator(t, truncation=True, max_length=5),  # type: ignore[arg-type]
        "OptionError",
        "truncation=True: use one of 'error', 'left', 'right'",
    ),
    "a keyword of another name": (
        lambda t: ChatCollator(t, max_len=5),  # type: ignore[call-arg]
        "TypeError",
        "unexpected keyword argument 'max_len': did you mean 'max_length'",
    ),
    "a weight of a misspelt role": (
        lambda t: DistillationConfig(loss_on={"asistant": 1.0}),
        "OptionError",
        "'asistant' is not a role; did you mean 'assistant'",
    ),
    "no teacher": (
        lambda t: SelfDistillationCollator(t)([ROW]),
        "TraceError",
        "it has no 'teacher_messages'; its columns",
    ),
    "a misspelt teacher": (
        lambda t: SelfDistillationCollator(t)([{**ROW, "teacher_mesages": CHAT}]),
        "TraceError",
        "it has no 'teacher_messages'; did you mean 'teacher_mesages'",
    ),
    "a dict as config": (
        lambda t: ComposerDataCollator(t, {"layout": "indexed"}),  # type: ignore[arg-type]
        "OptionError",
        "config is dict: use DistillationConfig",
    ),
    "a batch of fine-tuning in the loss": (
        lambda t: loss_of_a_batch(t, ChatCollator(t)([ROW])),
        "LossError",
        "it is one of supervised fine-tuning; pass the batch of ComposerDataCollator or SelfDistillationCollator",
    ),
    "a model's whole output in the loss": (
        lambda t: loss_of_a_batch(t, SelfDistillationCollator(t)([PAIR]), whole=True),
        "LossError",
        "the whole output of a model: pass its logits, output.logits",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_what_to_do(small: Any, name: str) -> None:
    call, kind, said = MISTAKES[name]
    with torch.no_grad(), pytest.raises(Exception, match=said) as raised:
        call(small)
    assert kind in {each.__name__ for each in type(raised.value).__mro__}


@pytest.mark.parametrize("value", ["no", None, 1, np.zeros((2, 2))], ids=["a text", "nothing", "a number", "an array"])
def test_a_switch_is_true_or_false(small: Any, value: Any) -> None:
    encoder = ChatEncoder(small)
    encoding = encoder.encode([user("Hi"), assistant("Yes.")])
    sampled = [user("Hi"), {**assistant("Yes."), "token_ids": small("Yes.<|im_end|>")["input_ids"]}]
    for name, call in {
        "include_media": lambda: encoding.mask(include_media=value),
        "token_ids_check": lambda: encoder.encode(sampled, token_ids_check=value),
        "add_generation_prompt": lambda: encoder.encode(sampled[:1], add_generation_prompt=value),
        "background": lambda: encoder.warm_up(background=value),
    }.items():
        with pytest.raises(OptionError, match=f"{name}=(.|\n)*: expected True or False"):
            call()
    with pytest.raises(OptionError, match="include_media="):
        encoding.labels(include_media=value)
