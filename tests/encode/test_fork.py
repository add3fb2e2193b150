"""Processes that fork while their threads encode, load or compile: the child encodes as transformers does, and ends.

Each child has an alarm that kills it: one that hangs is a failure, and no test that hangs.
"""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jinja2.lexer
import pytest
from cases import assistant, user
from chatspan import ChatCollator, ChatEncoder, forks
from chatspan.encoding import Encoding
from chatspan.render.native import template
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]
SECONDS = 30
CHATS = [[user(f"Which train to Köln, {index}?"), assistant(f"EC {index}, at 9. 🚆")] for index in range(4)]


def ids_of(tokenizer: Any, chats: Any = CHATS) -> list[list[int]]:
    """What transformers makes of them."""
    return [tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"] for chat in chats]


def encode(encoder: ChatEncoder, chats: Any = CHATS) -> list[list[int]]:
    return [encoding.input_ids.tolist() for encoding in encoder.encode_batch(chats)]


def in_child(work: Callable[[], object], fork: Callable[[], int] = os.fork) -> int:
    """What a forked process ends with: 0, 1 after an error, minus the alarm if it hung."""
    process = fork()
    if process == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@contextmanager
def busy(*works: Callable[[], object]) -> Iterator[None]:
    """Threads that do something all the time."""
    stop = threading.Event()

    def again_and_again(work: Callable[[], object]) -> None:
        while not stop.is_set():
            work()

    threads = [threading.Thread(target=again_and_again, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> Iterator[tuple[threading.Event, list[str]]]:
    """A thread that stands inside of the core, while it renders, until the event is set; and what it has done."""
    inside, go, done = threading.Event(), threading.Event(), []
    shouting = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    renders = ChatEncoder(tokenizer, chat_template=shouting, backend="hf")

    def upper(text: str) -> str:
        inside.set()
        go.wait(SECONDS)
        done.append(text)
        return text.upper()

    # The core asks Python what is no ASCII.
    monkeypatch.setitem(template._ANSWERS, "upper", upper)
    thread = threading.Thread(target=renders.encode, args=([user("straße")],))
    thread.start()
    try:
        assert inside.wait(SECONDS)
        yield go, done
    finally:
        go.set()
        thread.join()


@pytest.mark.parametrize(("backend", "work"), [("native", "batch"), ("native", "row"), ("hf", "row")])
def test_children_encode_as_transformers_does(backend: Any, work: str, small_copy: Any, pytestconfig: Any) -> None:
    encoder, wanted = ChatEncoder(small_copy, backend=backend), ids_of(small_copy)
    encoder.warm_up()

    def in_the_child() -> None:
        found: list[list[list[int]]] = []
        threads = [threading.Thread(target=lambda: found.append(encode(encoder))) for _ in range(2)]
        for thread in threads:
            thread.start()
        found.append(encode(encoder))
        for thread in threads:
            thread.join()
        assert found == [wanted] * 3
        assert [encoder.encode(chat).input_ids.tolist() for chat in CHATS] == wanted
        assert encoder.backend == backend

    works = {"batch": lambda: encoder.encode_batch(CHATS), "row": lambda: encoder.encode(CHATS[0])}
    with busy(*[works[work]] * 8):
        ends = [in_child(in_the_child) for _ in range(200 if pytestconfig.getoption("--all") else 6)]
    assert ends == [0] * len(ends)
    assert encode(encoder) == wanted


def test_children_of_children(small_copy: Any) -> None:
    encoder, wanted = ChatEncoder(small_copy, backend="native"), ids_of(small_copy)
    encoder.warm_up()

    def forks_again(levels: int) -> None:
        assert encode(encoder) == wanted
        if levels:
            with busy(*[lambda: encoder.encode_batch(CHATS)] * 3):
                assert in_child(lambda: forks_again(levels - 1)) == 0
            assert encode(encoder) == wanted

    for _ in range(2):
        forks_again(2)


@pytest.fixture
def default_sigterm() -> Iterator[None]:
    """As a pool ends its workers; other tests of the process may have had Ray catch it."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    if before is not None:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("default_sigterm")
def test_pools_and_loaders_of_a_process_that_encodes(small_copy: Any) -> None:
    encoder, wanted = ChatEncoder(small_copy, backend="native"), ids_of(small_copy)
    collate = ChatCollator(small_copy, backend="native")
    collate.warm_up()
    context = multiprocessing.get_context("fork")
    with busy(*[lambda: encoder.encode_batch(CHATS)] * 4):
        with context.Pool(3) as pool:
            found = pool.map_async(functools.partial(encode, encoder), [CHATS] * 6).get(SECONDS)
        rows = [{"messages": chat} for chat in CHATS]
        loader = DataLoader(
            rows, batch_size=1, num_workers=2, collate_fn=collate, multiprocessing_context=context, timeout=SECONDS
        )
        batches = [batch["input_ids"][0].tolist() for batch in loader]
    assert found == [wanted] * 6
    assert batches == wanted


def test_a_process_that_forks_while_it_loads(small_copy: Any) -> None:
    wanted = ids_of(small_copy)
    for index in range(4):
        # A tokenizer of its own each time, which is not loaded yet.
        small_copy.add_tokens([f"<new {index}>"])
        encoder = ChatEncoder(small_copy)
        encoder.warm_up(background=True)

        def loads(encoder: ChatEncoder = encoder) -> None:
            assert encode(encoder) == wanted
            encoder.warm_up()
            assert encoder.backend == "native"
            assert encode(encoder) == wanted

        assert in_child(loads) == 0
        loads()


def test_a_process_that_forks_before_the_loading_begins(small_copy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, wanted = ChatEncoder(small_copy), ids_of(small_copy)

    def loads() -> None:
        encoder.warm_up()
        assert encoder.backend == "native"
        assert encode(encoder) == wanted

    ends, start = [], threading.Thread.start

    def forks_first(thread: threading.Thread) -> None:
        if thread.name == "chatspan-load":
            ends.append(in_child(loads))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", forks_first)
    encoder.warm_up(background=True)
    assert ends == [0]
    loads()


def characters(text: str) -> Any:
    """A tokenizer of the kind of Gemma's, trained on a text."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    fallback = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=fallback, show_progress=False, max_token_length=12)
    tokenizer.train_from_iterator([text.replace(" ", "▁")], trainer)
    # The bytes are no added tokens: that was for the trainer.
    plain = Tokenizer.from_str(tokenizer.to_str())
    return PreTrainedTokenizerFast(tokenizer_object=plain, chat_template="{{ messages[0].content }}")


def test_long_texts_in_a_child(small_copy: Any) -> None:
    """They are cut side by side, on threads that a child does not have."""
    text = "Which train goes to Köln, and when does it leave? " * 4000
    for tokenizer in (characters(text[:2000]), small_copy):
        encoder, wanted = ChatEncoder(tokenizer, backend="native"), ids_of(tokenizer, [[user(text)]])
        assert encode(encoder, [[user(text)]]) == wanted

        def again(encoder: ChatEncoder = encoder, wanted: Any = wanted) -> None:
            assert encode(encoder, [[user(text)]]) == wanted
            assert in_child(lambda: encode(encoder, [[user(text)]])) == 0

        assert in_child(again) == 0
        again()


@pytest.mark.parametrize("value", ["true", "1", None])
def test_threads_of_transformers_are_not_in_the_child(
    value: str | None, small_copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the value set ``tokenizers`` takes them to be there."""
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if value is not None:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", value)
    encoder, wanted = ChatEncoder(small_copy, backend="hf"), ids_of(small_copy)
    assert encode(encoder) == wanted

    def by_both() -> None:
        assert encode(encoder) == wanted
        assert [each.ids for each in small_copy.backend_tokenizer.encode_batch(["a train", "a train"])]

    assert in_child(by_both) == 0
    assert os.environ.get("TOKENIZERS_PARALLELISM") == value


def test_a_fork_waits_for_what_is_being_done(small_copy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, wanted = ChatEncoder(small_copy, backend="native"), ids_of(small_copy)
    encoder.warm_up()
    with held(monkeypatch, small_copy) as (go, done):
        threading.Timer(0.2, go.set).start()

        def is_done() -> None:
            assert "straße" in done
            assert encode(encoder) == wanted

        assert in_child(is_done) == 0


def by_c() -> int:
    """Forks as C code does that tells Python afterwards only."""
    python = ctypes.PyDLL(None)
    process: int = python.fork()
    if process == 0:
        python.PyOS_AfterFork_Child()
    return process


@pytest.mark.parametrize("fork", [os.fork, by_c])
def test_what_a_fork_cannot_wait_for_goes_to_transformers(
    fork: Callable[[], int], small_copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, wanted = ChatEncoder(small_copy, backend="native"), ids_of(small_copy)
    encoder.warm_up()
    monkeypatch.setattr(forks, "PATIENCE", 0.05)

    def says_so() -> None:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            encodings = encoder.encode_batch(CHATS) + encoder.encode_batch(CHATS)
            encoder.warm_up(background=True)
            encoder.warm_up()
        assert [encoding.input_ids.tolist() for encoding in encodings] == wanted * 2
        assert [str(each.message) for each in said if each.category is RuntimeWarning] == [
            "this process was forked while another thread was encoding, and the fork could not wait for it: the locks "
            "of the native tokenizer may be held by a thread that no longer exists; transformers' own tokenizer is used"
        ]
        assert encoder.backend == "hf"
        assert "forked while another thread was encoding" in encoder.backend.reason
        assert encodings[0].explain().count(encoder.backend.reason) == 1
        assert encoder.stats()["rows_hf"] >= 8

    def says_so_and_forks() -> None:
        says_so()
        # A child of this one has lost it, too.
        assert in_child(lambda: encoder.backend.reason.index("forked")) == 0

    with held(monkeypatch, small_copy):
        assert in_child(says_so_and_forks, fork) == 0
    # Not so the parent, nor children that find nobody at work.
    assert encoder.backend == "native"
    for after in (os.fork, by_c):
        assert in_child(lambda: [encode(encoder), encoder.backend].index("native"), after) == 0


def test_locks_that_python_code_holds(small_copy: Any) -> None:
    """That of Jinja2's lexers, and those of cached properties before Python 3.12."""
    encoder, wanted = ChatEncoder(small_copy, backend="native"), ids_of(small_copy)
    encoder.warm_up()
    computing, go = threading.Event(), threading.Event()

    class Slow:
        def segment_list(self) -> tuple[()]:
            computing.set()
            go.wait(SECONDS)
            return ()

    slow = object.__new__(Encoding)
    vars(slow)["_attributed"] = Slow()

    def holds() -> None:
        with jinja2.lexer._lexer_cache._wlock:  # type: ignore[attr-defined]
            assert slow.segments == ()

    def needs_them() -> None:
        assert encode(encoder) == wanted
        assert [segment.kind.name for segment in encoder.encode(CHATS[0]).segments].count("CONTENT") == 2
        another = ChatEncoder(small_copy, chat_template="{% for m in messages %}{{ m.content }};{% endfor %}")
        assert another.encode(CHATS[0]).text == "Which train to Köln, 0?;EC 0, at 9. 🚆;"

    thread = threading.Thread(target=holds)
    thread.start()
    try:
        assert computing.wait(SECONDS)
        assert in_child(needs_them) == 0
    finally:
        go.set()
        thread.join()
