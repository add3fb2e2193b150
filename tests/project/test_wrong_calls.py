"""Calls that are wrong in ways that people write them: each error says what was received and what to give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from chatspan import (
    ChatCollator,
    ChatEncoder,
    ChatspanError,
    ComposerDataCollator,
    SelfDistillationCollator,
)
from chatspan.loss import sdpo_loss

U = {"role": "user", "content": "2 + 2?"}
A = {"role": "assistant", "content": "4"}
CYCLE: dict[str, Any] = {}
CYCLE["a"] = CYCLE
LOGITS = torch.zeros(1, 3, 4)


@dataclass
class Message:
    role: str = "user"
    content: str = "x"


def sampled(ids: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda t: ChatEncoder(t).encode([U, {**A, "token_ids": ids}], **options)


def refusing(t: Any) -> Any:
    return ChatEncoder(t, chat_template="{{ raise_exception('no') }}")


# (what it shows, the call with a tokenizer, the class of its error, what the error says)
CALLS: list[tuple[str, Callable[[Any], Any], str, str]] = [
    (
        "prompt 1",
        lambda t: ChatEncoder(t).encode([U], add_generation_prompt=1),
        "OptionError",
        "add_generation_prompt=1: expected True or False",
    ),
    (
        "prompt None",
        lambda t: ChatEncoder(t, backend="hf").encode([U], add_generation_prompt=None),
        "OptionError",
        "=None: expected True",
    ),
    (
        "prompt of a batch",
        lambda t: ChatEncoder(t).encode_batch([[U], [U]], add_generation_prompt="yes"),
        "OptionError",
        "conversation 0: add_generation_prompt='yes'",
    ),
    (
        "going on at 3",
        lambda t: ChatEncoder(t).encode([U, A], continue_final_message=3),
        "OptionError",
        "continue_final_message=3: expected",
    ),
    (
        "nothing to go on with",
        lambda t: ChatEncoder(t).encode([U, {"role": "assistant", "x": "y"}], continue_final_message=True),
        "ChatspanError",
        'no "content"',
    ),
    (
        "cyclic tools",
        lambda t: ChatEncoder(t).encode([U], tools=[CYCLE]),
        "OptionError",
        "tools has values nested too deeply, or a value that holds itself",
    ),
    (
        "cyclic documents",
        lambda t: ChatEncoder(t).encode([U], documents=[CYCLE]),
        "OptionError",
        "documents has values nested",
    ),
    (
        "a cyclic keyword",
        lambda t: ChatEncoder(t).encode([U], enable_thinking=CYCLE),
        "OptionError",
        "enable_thinking has values nested",
    ),
    (
        "a cyclic message",
        lambda t: ChatEncoder(t).encode([{**U, "x": CYCLE}]),
        "MessageError",
        "message 0 has values nested",
    ),
    (
        "documents that are one",
        lambda t: ChatEncoder(t).encode([U], documents={"title": "a", "text": "b"}),
        "OptionError",
        "documents must be a list, got dict: expected [document, …]",
    ),
    (
        "documents that are texts",
        lambda t: ChatEncoder(t).encode([U], documents=["a"]),
        "OptionError",
        "documents[0] is str: pass a dict; templates read its 'title' and 'text'",
    ),
    (
        "a mock in a message",
        lambda t: ChatEncoder(t).encode([{**U, "x": MagicMock()}]),
        "MessageError",
        "message 0 has values nested too deeply",
    ),
    (
        "a tool without types",
        lambda t: ChatEncoder(t).encode([U], tools=[lambda x: x]),
        "OptionError",
        "cannot make a JSON schema from the tool '<lambda>'",
    ),
    (
        "an object that is refused",
        lambda t: refusing(t).encode([Message()]),
        "TemplateError",
        "the chat template raised",
    ),
    ("ids 3", sampled(3), "RolloutError", "at least one, got 3: pass the ids"),
    ("ids that are text", sampled("abc"), "RolloutError", "got 'abc'"),
    ("a huge id", sampled([10**30]), "RolloutError", f"token_ids has {10**30}, which is not an id"),
    ("a negative id", sampled([-5], token_ids_check=False), "RolloutError", "token_ids has -5, which is not an id"),
    ("batch None", lambda t: ChatEncoder(t).encode_batch(None), "MessageError", "got None: expected"),
    (
        "batch 5",
        lambda t: ChatEncoder(t).encode_batch(5),
        "MessageError",
        "conversations must be a list of conversations, got int",
    ),
    ("batch text", lambda t: ChatEncoder(t).encode_batch("abc"), "MessageError", "got the text 'abc'"),
    (
        "batch of one conversation",
        lambda t: ChatEncoder(t).encode_batch([U, A]),
        "MessageError",
        "conversation 0: messages must be a list of at least one message, got one message",
    ),
    ("a text", lambda t: ChatEncoder(t).encode("text"), "MessageError", "got the text 'text': pass a list"),
    (
        "a row",
        lambda t: ChatEncoder(t).encode({"messages": [U]}),
        "MessageError",
        'got a row: pass its messages, row["messages"]',
    ),
    ("one message", lambda t: ChatEncoder(t).encode(U), "MessageError", "got one message: pass a list, [message]"),
    ("no messages", lambda t: ChatEncoder(t).encode([]), "MessageError", "got an empty list"),
    ("messages None", lambda t: ChatEncoder(t).encode(None), "MessageError", "got None"),
    ("template 5", lambda t: ChatEncoder(t, chat_template=5), "OptionError", "chat_template=5: pass a template"),
    (
        "templates of 5",
        lambda t: ChatEncoder(t, chat_template={"default": 5}),
        "OptionError",
        "chat_template['default'] is int: pass",
    ),
    (
        "no templates",
        lambda t: ChatEncoder(t, chat_template={}),
        "TokenizerError",
        "no 'default'; the names that it has: none",
    ),
    (
        "too large a cache",
        lambda t: ChatEncoder(t, cache_bytes=2**70),
        "OptionError",
        f"cache_bytes={2**70}: expected the number of bytes, at most",
    ),
    (
        "a negative cache",
        lambda t: ChatEncoder(t, cache_bytes=-1),
        "OptionError",
        "cache_bytes=-1: expected the number of bytes",
    ),
    (
        "mask of 0",
        lambda t: ChatEncoder(t).encode([U, A]).mask(messages=0),
        "OptionError",
        "messages=0: pass a collection",
    ),
    ("mask of 5", lambda t: ChatEncoder(t).encode([U, A]).mask(what=5), "OptionError", "what=5: use"),
    (
        "a name",
        lambda t: ChatEncoder("Qwen/Qwen3-8B"),
        "TokenizerError",
        "use AutoTokenizer.from_pretrained('Qwen/Qwen3-8B')",
    ),
    ("a path", lambda t: ChatCollator(Path("models")), "TokenizerError", "use AutoTokenizer.from_pretrained('models')"),
    ("nothing", lambda t: ChatEncoder(None), "TokenizerError", "use AutoTokenizer.from_pretrained(name)"),
    ("a processor", lambda t: ChatEncoder(SimpleNamespace(tokenizer=t)), "TokenizerError", "use processor.tokenizer"),
    ("distillation of a name", lambda t: SelfDistillationCollator("gpt2"), "TokenizerError", "use AutoTokenizer"),
    (
        "distillation of a processor",
        lambda t: SelfDistillationCollator(SimpleNamespace(tokenizer=t)),
        "TokenizerError",
        "use processor.tokenizer",
    ),
    (
        "a dict of options",
        lambda t: ComposerDataCollator(t, {"layout": "indexed"}),
        "OptionError",
        "config is dict: use",
    ),
    ("a length that is true", lambda t: ChatEncoder(t).encode([U], max_length=True), "OptionError", "max_length=True"),
    (
        "cut to nothing",
        lambda t: ChatEncoder(t).encode([U], truncation="left"),
        "OptionError",
        "truncation='left' has no effect without a length: set max_length",
    ),
    (
        "a batch cut to nothing",
        lambda t: ChatEncoder(t).encode_batch([[U]], truncation="right"),
        "OptionError",
        "set max_length",
    ),
    ("rows cut to nothing", lambda t: ChatCollator(t, truncation="left"), "OptionError", "set max_length"),
    ("a map cut to nothing", lambda t: ChatEncoder(t).as_map_fn(truncation="left"), "OptionError", "set max_length"),
    (
        "logits of numpy",
        lambda t: sdpo_loss(np.zeros((1, 3, 4)), LOGITS, {}),
        "LossError",
        "student_logits is ndarray, not a tensor: pass a torch tensor",
    ),
    (
        "an output",
        lambda t: sdpo_loss(LOGITS, SimpleNamespace(logits=LOGITS), {}),
        "LossError",
        "teacher_logits is SimpleNamespace, the whole output of a model: pass its logits",
    ),
    ("a dict of an output", lambda t: sdpo_loss({"logits": LOGITS}, LOGITS, {}), "LossError", "pass its logits"),
    (
        "a batch of SFT",
        lambda t: sdpo_loss(LOGITS, LOGITS, ChatCollator(t)([{"messages": [U, A]}])),
        "LossError",
        "it is one of supervised fine-tuning",
    ),
    ("no batch", lambda t: sdpo_loss(LOGITS, LOGITS, [1]), "LossError", "batch is list: pass the dict"),
]


@pytest.mark.parametrize(("call", "error", "words"), [each[1:] for each in CALLS], ids=[each[0] for each in CALLS])
@pytest.mark.filterwarnings("ignore:the chat template does not read")
def test_wrong_calls(small: Any, call: Callable[[Any], Any], error: str, words: str) -> None:
    with pytest.raises(ChatspanError) as found:
        call(small)
    assert error in [kind.__name__ for kind in type(found.value).__mro__]
    assert words in str(found.value)


def test_a_length_and_no_cut_stay_fine(small: Any) -> None:
    assert len(ChatEncoder(small).encode([U, A], max_length=4, truncation="left")) == 4
    ChatCollator(small, max_length=400)
    ChatCollator(small, truncation="error")
