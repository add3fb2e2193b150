"""The project's own small tokenizer, and what transformers makes of conversations with it."""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers import AutoTokenizer
from zoo import EXAMPLES


@functools.cache
def tokenizer() -> Any:
    """Byte-level BPE, ChatML."""
    return AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")


class OverTime(BaseException):
    """A judge that does not come to an end."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Stops what takes longer, if it is Python.

    Raises:
        OverTime: it did.
    """

    def stop(*_: Any) -> None:
        raise OverTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ids_of(tokenizer: Any, messages: Any, keywords: Mapping[str, Any]) -> Any:
    """The ids that transformers gives."""
    return tokenizer.apply_chat_template(messages, **keywords, tokenize=True, return_dict=True)["input_ids"]


def first_difference(wanted: Sequence[Any], found: Sequence[Any]) -> str:
    """Where two sequences begin to differ, for a person to read."""
    pairs = zip(wanted, found, strict=False)
    at = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(wanted), len(found)))
    around = slice(max(at - 10, 0), at + 20)
    return f"from {at} on, {wanted[around]!r} by transformers, {found[around]!r} by chatspan"
