"""Sizes that no memory has, or that are lies. As a program: each case in this process, which may take so much memory;
what it came to is a line of JSON."""

from __future__ import annotations

import faulthandler
import json
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chatspan
import numpy as np
from chatspan import ChatCollator, ChatEncoder, CollatorConfig, ComposerDataCollator, TemplateLimits
from chatspan._core import pad_rows
from hostile_objects import LyingList, cyclic_list, deep
from transformers import AutoTokenizer

# Room that is asked for; torch alone asks for some gigabytes.
BYTES = 12 << 30
SECONDS = 60

U = {"role": "user", "content": "2 + 2?"}
A = {"role": "assistant", "content": "4"}
ROW = {"messages": [U, A]}
TRACE = {"trace_id": "t", "turns": [U, {**A, "tool_error": "x"}, U, A]}
N_TIMES = "{{ messages[0].content * messages[0].n }}"


def composed(t: Any, **options: Any) -> Any:
    return ComposerDataCollator(t, CollatorConfig(hint_generator=lambda *_: "Hint.", **options))([TRACE])


def rendered(t: Any, source: str, n: int = 10**12, **options: Any) -> Any:
    return ChatEncoder(t, chat_template=source, backend="hf", **options).encode([{**U, "n": n}])


# What it comes to, and the call with a tokenizer.
CASES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "columns by the billion": (
        "MemoryError: no memory for 1 rows of 2147483647 columns",
        lambda t: ChatCollator(t, pad_to_multiple_of=2**31 - 1)([ROW]),
    ),
    "more columns than any text has": (
        r"OptionError: pad_to_multiple_of=1099511627776: expected the number of tokens, at most 2147483647, or None",
        lambda t: ChatCollator(t, pad_to_multiple_of=2**40)([ROW]),
    ),
    "more columns than a number holds": (
        "OptionError: pad_to_multiple_of=",
        lambda t: composed(t, pad_to_multiple_of=2**70),
    ),
    "an array of any width": (
        "MemoryError: no memory for 1 rows of 4611686018427387904 columns",
        lambda t: pad_rows([([np.arange(3)], 0)], 2**62, False),
    ),
    "many lengths": ("fine", lambda t: ChatCollator(t, max_length=2**70)([ROW])),
    "a cache of all memory": ("fine", lambda t: ChatEncoder(t, backend="native", cache_bytes=2**63 - 1).encode([U, A])),
    "a text times n": ("TemplateError: .* its limit bytes=1073741824", lambda t: rendered(t, N_TIMES)),
    "a text times n, with the most bytes": (
        "TemplateError: .* its limit bytes=2147483647",
        lambda t: rendered(t, N_TIMES, template_limits=TemplateLimits(bytes=2**31 - 1)),
    ),
    "a range": (
        "TemplateError: .*Range too big",
        lambda t: rendered(t, "{% for i in range(messages[0].n) %}x{% endfor %}"),
    ),
    "a width": ("TemplateError: .*MemoryError", lambda t: rendered(t, "{{ messages[0].content | center(10**12) }}")),
    "an indent": (
        "TemplateError: .* its limit bytes",
        lambda t: rendered(t, "{{ messages[0] | tojson(indent=messages[0].n) }}"),
    ),
    "a list that says 2**33": (
        "MessageError: messages claim 8589934592 items, but yield 2",
        lambda t: ChatEncoder(t).encode(LyingList([U, A], 2**33)),
    ),
    "a list in a message that says 2**33": (
        "MessageError: message 0 cannot be read, .* claims 8589934592 items, but yields 1",
        lambda t: ChatEncoder(t).encode([{**U, "x": LyingList([1], 2**33)}]),
    ),
    "a billion conversations": (
        "MessageError: conversation 0: messages must be a list",
        lambda t: ChatEncoder(t).encode_batch(range(10**12)),
    ),
    "ids that say 2**33": (
        "OptionError: ids are 8589934592, more than any text has",
        lambda t: ChatEncoder(t).decode(LyingList([1, 2], 2**33)),
    ),
    "one pair, many times": (
        "MemoryError: ",
        lambda t: chatspan.token_mask([(0, 1)], np.broadcast_to(np.zeros((1, 2), np.int64), (2**50, 2))),
    ),
    "a special token that holds itself": (
        "OptionError: x_token has values nested too deeply",
        lambda t: ChatEncoder(t, backend="hf").encode([U], x_token=cyclic_list()),
    ),
    "a special token that is deep": (
        "OptionError: x_token has values nested too deeply",
        lambda t: ChatEncoder(t, backend="hf").encode([U], x_token=deep()),
    ),
    "a message that is deep": (
        "MessageError: message 0 has values nested too deeply",
        lambda t: ChatEncoder(t, backend="hf").encode([{**U, "x": deep()}]),
    ),
}


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    tokenizer = AutoTokenizer.from_pretrained(Path("examples") / "tokenizer")
    ChatEncoder(tokenizer, backend="native").encode([U, A])
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    faulthandler.enable()
    for name in names:
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            CASES[name][1](tokenizer)
            ended = "fine"
        except BaseException as error:
            ended = f"{type(error).__name__}: {error}"
        print(json.dumps([name, ended]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
