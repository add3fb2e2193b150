"""Many threads with one encoder at once: each gets what it would get alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from chatspan import ChatCollator, ChatEncoder
from zoo import EXAMPLES, read_jsonl

THREADS, ROUNDS = 16, 12


def conversations() -> list[list[dict[str, Any]]]:
    traces = read_jsonl(EXAMPLES / "sample_traces.jsonl")
    own = [[{"role": turn["role"], "content": turn["content"]} for turn in trace["turns"]] for trace in traces]
    more = [
        [{"role": "user", "content": f"{n} " * n}, {"role": "assistant", "content": "é😀" * n}] for n in range(1, 40)
    ]
    return [*own[:30], *more]


def found_of(encoder: ChatEncoder, collate: ChatCollator, messages: Any) -> Any:
    encoding, batch = encoder.encode(messages), encoder.encode_batch([messages, messages[:1]])
    rows = collate([{"messages": messages}, {"messages": messages}])
    return (
        encoding.text,
        encoding.input_ids.tolist(),
        encoder.decode(encoding.input_ids[encoding.mask(what="content")]),
        encoder.decode(encoding.input_ids[encoding.mask()]),
        [each.input_ids.tolist() for each in batch],
        {name: value.tolist() for name, value in rows.items()},
    )


@pytest.mark.parametrize("backend", ["native", "hf"])
def test_sixteen_threads_get_what_one_gets(small: Any, backend: Any) -> None:
    given = conversations()
    alone = ChatEncoder(small, backend=backend), ChatCollator(small, backend=backend)
    expected = [found_of(*alone, messages) for messages in given]
    # New ones, so that all threads are there when templates and tokenizer are made ready.
    encoder, collate = ChatEncoder(small, backend=backend), ChatCollator(small, backend=backend)
    together = Barrier(THREADS)

    def work(thread: int) -> list[bool]:
        together.wait()
        places = [(thread * 7 + number) % len(given) for number in range(ROUNDS)]
        return [found_of(encoder, collate, given[at]) == expected[at] for at in places]

    with ThreadPoolExecutor(THREADS) as pool:
        same = list(pool.map(work, range(THREADS)))
    assert same == [[True] * ROUNDS] * THREADS
    if backend == "native":
        assert encoder.stats()["rows_hf"] == 0
