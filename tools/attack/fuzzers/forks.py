"""Forks while threads encode, collate and load tokenizers: the child encodes as transformers does, and ends."""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from cases import TEMPLATES, TRICKY_CONTENTS, assistant, user
from chatspan import ChatCollator, ChatEncoder
from tokenizers import AddedToken
from transformers import AutoTokenizer
from zoo import EXAMPLES

from attack.fuzzers import small
from attack.tries import Attempt, Outcome, Setting, failed, right, told_of

# What a child may take, which is a thousand times of what it needs.
_SECONDS = 8
_CONVERSATIONS = [
    [user(text[:2000]), assistant(f"{name} {number}")]
    for number, (name, text) in enumerate(TRICKY_CONTENTS.items())
    if "\0" not in text
]


def start(setting: Setting) -> Attempt:
    """A try is one fork at a random moment of what some threads do."""

    def attempt(number: int) -> Outcome:
        chance = setting.random(number)
        template = chance.choice([TEMPLATES["chatml"], TEMPLATES["trimming"], TEMPLATES["twice"]])
        tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
        if chance.random() < 0.5:
            # No other one is like it: its native tokenizer is made, and tested, while the process forks.
            tokenizer.add_tokens([AddedToken(f"<{number}>", normalized=False)])
        wanted = [small.ids_of(tokenizer, each, {"chat_template": template}) for each in _CONVERSATIONS]
        backend = chance.choice(["auto", "auto", "native", "hf"])
        encoder = ChatEncoder(tokenizer, chat_template=template, backend=backend)
        if chance.random() < 0.5:
            encoder.warm_up()
        with _Busy(encoder, chance) as busy:
            time.sleep(chance.choice([0, 0.001, 0.01, 0.05, 0.2]) * chance.random())
            found = in_a_fork(lambda: _work(encoder, chance), setting.folder / f"{number}.txt")
        if isinstance(found, str):
            return failed(f"{backend}, {busy.said}: {found}")
        if found != wanted:
            return failed(f"{backend}: {small.first_difference(wanted, found)}")
        return right(busy.said)

    return attempt


class _Busy:
    """Threads that encode, collate or load until the end of a ``with``."""

    def __init__(self, encoder: ChatEncoder, chance: Random) -> None:
        ways: dict[str, Callable[[], object]] = {
            "encode": lambda: encoder.encode(_CONVERSATIONS[0]),
            "encode_batch": lambda: encoder.encode_batch(_CONVERSATIONS),
            "load": lambda: ChatEncoder(AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")).warm_up(background=True),
            "collate": lambda: ChatCollator(encoder.tokenizer, chat_template=encoder.chat_template)(
                [{"messages": each} for each in _CONVERSATIONS]
            ),
        }
        chosen = chance.sample(list(ways), chance.choice([0, 1, 1, 2, 3]))
        self.said = f"beside {', '.join(sorted(chosen)) or 'nothing'}"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._again, args=(ways[name],)) for name in chosen]

    def _again(self, way: Callable[[], object]) -> None:
        while not self._over.is_set():
            way()

    def __enter__(self) -> _Busy:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def _work(encoder: ChatEncoder, chance: Random) -> list[list[int]]:
    """What a child does."""
    if chance.random() < 0.5:
        return [encoder.encode(each).input_ids.tolist() for each in _CONVERSATIONS]
    return [each.input_ids.tolist() for each in encoder.encode_batch(_CONVERSATIONS)]


def in_a_fork(work: Callable[[], Any], words: Path) -> Any:
    """What comes of work in a forked process; a text that says why nothing did.

    Args:
        words: a file for what the child says where it hangs.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _be_a_child(work, writing, words)
    os.close(writing)
    data, deadline = b"", time.monotonic() + _SECONDS
    try:
        while select.select([reading], [], [], max(deadline - time.monotonic(), 0))[0]:
            part = os.read(reading, 1 << 16)
            if not part:
                break
            data += part
        else:
            os.kill(child, signal.SIGKILL)
            return f"the child hangs: no end after {_SECONDS} s\n{words.read_text('utf-8', 'replace')[:1500]}"
    finally:
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return json.loads(data) if data else f"the child ended with {status} and said nothing"


def _be_a_child(work: Callable[[], Any], writing: int, words: Path) -> None:
    try:
        with words.open("w") as file:
            faulthandler.dump_traceback_later(_SECONDS - 2, file=file)
            try:
                said = work()
            except BaseException as error:
                said = told_of(error)
            data = json.dumps(said).encode()
            while data:
                data = data[os.write(writing, data) :]
    finally:
        os._exit(0)
