"""The process in which tokenizers are timed side by side, on one thread: ``peers.py`` starts it.

Reads what to do from stdin and writes what it found to stdout, as JSON. Each text is encoded once by each library, so
that whoever remembers texts gains nothing. Ids are compared afterwards, with those of HF's ``tokenizers``; whoever has
others, at whatever text, has no times. A time is the processor's time that the process took with all its threads: what
else the machine does is not in it, and a second thread would not make it less.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    # Before anything asks how many CPUs there are.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np
from chatspan import BackendError
from chatspan.tokenize.backends import Backends
from peer_libraries import Call, LeftOut, call_of
from tokenizers import Tokenizer
from transformers import AutoTokenizer

OURS = "chatspan"


def main() -> None:
    """What is asked for on stdin, onto stdout."""
    # Whatever a library prints is not what is asked for.
    answer, sys.stdout = sys.stdout, sys.stderr
    json.dump(measured(**json.load(sys.stdin)), answer)


def measured(
    folder: str, texts: Mapping[str, Sequence[Sequence[str]]], chat: Sequence[Sequence[Any]], peers: Sequence[str]
) -> dict[str, Any]:
    """Seconds by kind, library and round, and why there are none.

    Args:
        folder: a tokenizer's.
        texts: by kind portions of texts; the first is for warming up.
        chat: portions of conversations, to be rendered with the tokenizer's template.
        peers: the libraries to compare with.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rendered = [[tokenizer.apply_chat_template(each, tokenize=False) for each in portion] for portion in chat]
    calls, left_out = _calls(tokenizer, Path(folder) / "tokenizer.json", peers)
    kinds = {}
    for kind, portions in {"chat": rendered, **texts}.items():
        kinds[kind] = _of_kind(calls, portions, Path(folder) / "tokenizer.json")
    return {"kinds": kinds, "left_out": left_out}


def _calls(tokenizer: Any, path: Path, peers: Sequence[str]) -> tuple[dict[str, Call], dict[str, str]]:
    """What encodes a text, by library; and the reasons of those that do not."""
    backends = Backends(tokenizer, "native", 0)
    try:
        native = backends.wait()
    except BackendError as error:
        return {}, {OURS: str(error)}
    calls: dict[str, Call] = {OURS: lambda text: native.encode_batch([text])[0]}
    left_out = {}
    for name in peers:
        try:
            calls[name] = call_of(name, path)
        except LeftOut as error:
            left_out[name] = str(error)
    return calls, left_out


def _of_kind(calls: Mapping[str, Call], portions: Sequence[Sequence[str]], path: Path) -> dict[str, Any]:
    found: dict[str, list[list[Any]]] = {name: [] for name in calls}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for portion in portions:
        for name in order:
            # One that it knows, after which the processor's caches hold its tables as they do amid a data set.
            calls[name](portions[0][0])
            # Python keeps a string's UTF-8 with it, once somebody has asked for it: the first one would pay for all.
            own = [text.encode().decode() for text in portion]
            start = time.process_time()
            encoded = [calls[name](text) for text in own]
            seconds[name].append(time.process_time() - start)
            found[name].append(encoded)
        order.reverse()
    texts = list(chain.from_iterable(portions))
    reference = Tokenizer.from_file(str(path)).encode_batch(texts, add_special_tokens=False)
    unequal = {}
    for name, of_portions in found.items():
        for text, hf, each in zip(texts, reference, chain.from_iterable(of_portions), strict=True):
            difference = _difference(text, hf, each)
            if difference is not None:
                unequal[name] = difference
                break
    return {
        # Without the first, for which each still makes its tables.
        "bytes": [sum(len(text.encode()) for text in portion) for portion in portions[1:]],
        "seconds": {name: times[1:] for name, times in seconds.items() if name not in unequal},
        "unequal": unequal,
    }


def _difference(text: str, reference: Any, encoded: Any) -> str | None:
    """The first id that is not the reference's, or offset if there are any."""
    ids = np.array(reference.ids)
    theirs = np.asarray(encoded.input_ids if hasattr(encoded, "table") else encoded).astype(np.int64)
    both = min(len(ids), len(theirs))
    others = np.flatnonzero(ids[:both] != theirs[:both])
    if len(others) or len(ids) != len(theirs):
        at = int(others[0]) if len(others) else both
        start = reference.offsets[at][0] if at < len(ids) else len(text)
        shown = [str(each[at]) if at < len(each) else "none" for each in (theirs, ids)]
        return f"token {at} is {shown[0]}, not {shown[1]}, at {text[start : start + 12]!r}"
    if hasattr(encoded, "table"):
        offsets = encoded.table.to_array()
        wrong = np.flatnonzero((offsets != np.array(reference.offsets)).any(axis=1))
        if len(wrong):
            at = int(wrong[0])
            return f"token {at} has the offsets {offsets[at].tolist()}, not {list(reference.offsets[at])}"
    return None


if __name__ == "__main__":
    main()
