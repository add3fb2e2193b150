"""Messages that somebody changes while they are read, or that lie: what comes out is what they were at one time, or an
error that says which message it is."""

from __future__ import annotations

import copy
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import chatspan
import pytest
from chatspan import ChatCollator, ChatEncoder, ChatspanError, MessageError, OptionError, RolloutError, RowError
from hostile_objects import LyingDict, LyingList, Sequence

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ m.x | tojson if m.x is defined }}<|im_end|>\n"
    "{% endfor %}"
)
# The core lacks `autoescape`.
TEMPLATES = {"native": TEMPLATE, "jinja2": TEMPLATE + "{% autoescape false %}{% endautoescape %}"}
ANSWER = {"role": "assistant", "content": "4"}


class Dumped:
    """An object that is written as ``"dumped"``, and changes something when it is."""

    def __init__(self, change: Callable[[], object] = lambda: None) -> None:
        self.change = change

    def model_dump(self) -> str:
        self.change()
        return "dumped"


class Text(str):
    """A text that is made plain by code of Python's."""


def message(x: Any) -> dict[str, Any]:
    return {"role": "user", "content": "2 + 2?", "x": x}


@pytest.fixture(params=TEMPLATES)
def encoder(request: pytest.FixtureRequest, small: Any) -> ChatEncoder:
    encoder = ChatEncoder(small, chat_template=TEMPLATES[request.param], backend="hf")
    encoder.encode([message("a"), ANSWER])
    assert encoder.stats()[f"renders_{request.param}"] == 1
    return encoder


def own_render(encoder: ChatEncoder, messages: list[Any]) -> str:
    text = encoder.tokenizer.apply_chat_template(messages, tokenize=False, chat_template=encoder.chat_template)
    assert isinstance(text, str)
    return text


# What an object's own method does to the containers that it is in: the value, and the change of it and its message.
CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any, dict[str, Any], list[Any]], object]]] = {
    "its dict loses all": (lambda: {"a": Dumped(), "b": "y"}, lambda x, m, ms: x.clear()),
    "its dict grows": (lambda: {"a": Dumped(), "b": "y"}, lambda x, m, ms: x.update((str(i), 1) for i in range(99))),
    "its dict has other keys": (lambda: {"a": Dumped(), "b": "y"}, lambda x, m, ms: x.update(c=x.pop("b"))),
    "its list loses all": (lambda: [Dumped(), "b", "c"], lambda x, m, ms: x.clear()),
    "its list grows": (lambda: [Dumped(), "b", "c"], lambda x, m, ms: x.extend("abc")),
    "its message loses all": (lambda: {"a": Dumped(), "b": "y"}, lambda x, m, ms: m.clear()),
    "its message grows": (lambda: {"a": Dumped()}, lambda x, m, ms: m.update((f"k{i}", 1) for i in range(99))),
    "the messages are gone": (lambda: [Dumped(), "b"], lambda x, m, ms: ms.clear()),
    "messages are added": (lambda: [Dumped(), "b"], lambda x, m, ms: ms.extend([ANSWER] * 50)),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_method_that_changes_what_it_is_in_changes_nothing_of_the_render(encoder: ChatEncoder, case: str) -> None:
    make, change = CHANGES[case]
    value = make()
    messages = [message(value), dict(ANSWER)]
    expected = own_render(encoder, messages)
    dumped = value["a"] if isinstance(value, dict) else value[0]
    dumped.change = lambda: change(value, messages[0], messages)
    assert '"dumped"' in expected
    assert encoder.encode(messages).text == expected


@contextmanager
def changing(change: Callable[[int], object]) -> Iterator[None]:
    """A thread changes something all the time, and gets its turn often."""
    stop, before = threading.Event(), sys.getswitchinterval()

    def run() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            change(count)

    thread = threading.Thread(target=run)
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)


def test_a_list_that_a_thread_exchanges_is_read_as_it_was_at_one_time(encoder: ChatEncoder) -> None:
    one = [{"role": "user", "content": "one"}] * 20
    other = [{"role": "user", "content": "other"}] * 3
    messages = list(one)
    renders = {own_render(encoder, one), own_render(encoder, other)}

    def exchange(count: int) -> None:
        messages[:] = one if count % 2 else other

    with changing(exchange):
        assert {encoder.encode(messages).text for _ in range(150)} <= renders


def test_keys_that_a_thread_adds_and_takes_are_there_or_not(encoder: ChatEncoder) -> None:
    """With values that only Python's code makes plain, so that the thread gets its turn while they are read."""
    x: dict[str, Any] = {f"k{i}": Text("v") for i in range(50)}

    def change(count: int) -> None:
        x[f"n{count % 40}"] = Text("z")
        x.pop(f"n{count * 3 % 40}", None)

    with changing(change):
        for _ in range(150):
            text = encoder.encode([message(x), ANSWER]).text
            assert re.fullmatch(
                r'\{("k\d+": "v"(, )?){50}(, "n\d+": "z")*\}', text[text.index("{") : text.index("}") + 1]
            )


def test_the_comparison_with_transformers_is_of_the_same_messages(small: Any) -> None:
    """The first render of an encoder is compared with the tokenizer's own, which is made later."""
    contents = ("one", "another one")
    messages = [{"role": "user", "content": contents[0]}, dict(ANSWER)]

    def change(count: int) -> None:
        messages[0]["content"] = contents[count % 2]
        messages[:] = messages[:2] if count % 3 else [*messages, ANSWER]

    with changing(change):
        for _ in range(40):
            assert ChatEncoder(small, chat_template=TEMPLATE, backend="hf").encode(messages).text.count("one<|im_end|>")


class Raising(Mapping[str, Any]):
    """A mapping that changes whenever it is gone through."""

    def __getitem__(self, key: str) -> Any:
        return {"role": "user", "content": "Hi"}[key]

    def __iter__(self) -> Iterator[str]:
        yield "role"
        raise RuntimeError("dictionary changed size during iteration")

    def __len__(self) -> int:
        return 2


class Broken:
    def model_dump(self) -> Any:
        raise KeyError("no dump")


U = {"role": "user", "content": "2 + 2?"}
# Messages and options, the error's class and what it says.
LIES: list[tuple[str, Any, type[ChatspanError], str]] = [
    ("too long a list", ([LyingList([U, ANSWER], 2**62)], {}), MessageError, f"claim {2**62} items, but yield 2"),
    ("too short a list", ([LyingList([U, ANSWER], 1)], {}), MessageError, "claim 1 items, but yield more: pass"),
    (
        "a list without length",
        ([LyingList([U], -1)], {}),
        MessageError,
        "messages cannot be read, an object in it rais",
    ),
    ("numbers without end", ([range(10**15)], {}), MessageError, "message 0 is int, not a dict"),
    ("a mapping that changes", ([[U, Raising()]], {}), MessageError, "message 1 changed while it was read (dictionary"),
    (
        "a lying list in a message",
        ([[U, message(LyingList([1], 2**62))]], {}),
        MessageError,
        "message 1 cannot be read",
    ),
    ("a lying dict in a message", ([[message(LyingDict())]], {}), MessageError, "KeyError: 'no items'"),
    (
        "an object that raises",
        ([[U, message(Broken())]], {}),
        MessageError,
        "message 1 cannot be read, an object in it",
    ),
    ("a tool that raises", ([[U]], {"tools": [{"f": Broken()}]}), OptionError, "tools cannot be read, an object in it"),
    ("documents that raise", ([[U]], {"documents": [{"f": Broken()}]}), OptionError, "documents cannot be read"),
    ("no documents", ([[U]], {"documents": 5}), OptionError, "documents must be a list, got"),
    ("a keyword that raises", ([[U]], {"enable_thinking": Broken()}), OptionError, "enable_thinking cannot be read"),
    ("keywords that change", ([[U]], {"template_kwargs": Raising()}), OptionError, "template_kwargs changed while"),
    (
        "ids without end",
        ([[U, {**ANSWER, "token_ids": range(10**15)}]], {}),
        RolloutError,
        "is not one of the tokenizer's",
    ),
]


@pytest.mark.parametrize(("given", "error", "words"), [each[1:] for each in LIES], ids=[each[0] for each in LIES])
@pytest.mark.filterwarnings("ignore:the chat template does not read")
def test_lies_are_errors_with_their_place(
    encoder: ChatEncoder, given: Any, error: type[ChatspanError], words: str
) -> None:
    [messages], options = given
    with pytest.raises(error) as raised:
        encoder.encode(messages, **options)
    assert words in str(raised.value)
    with pytest.raises(error) as in_batch:
        encoder.encode_batch([[U, ANSWER], messages], **options)
    # Keywords are those of the call.
    assert in_batch.value.conversation_index == (None if "template_kwargs" in options else 0 if options else 1)


def test_rows_that_lie_or_change_are_errors_with_their_place(small: Any) -> None:
    collate = ChatCollator(small)
    for messages, words in (
        (LyingList([U, ANSWER], 2**62), f"LyingList claims {2**62} items, but yields 2"),
        ([U, {**ANSWER, "x": Broken()}], "KeyError: 'no dump'"),
        ([U, Raising()], "RuntimeError: dictionary changed size during iteration"),
    ):
        with pytest.raises(RowError, match=re.escape(words)) as raised:
            collate([{"messages": [U, ANSWER]}, {"messages": messages}])
        assert raised.value.row_index == 1


def test_pairs_that_lie_are_errors_with_their_place() -> None:
    with pytest.raises(chatspan.OffsetsError, match=f"claims {2**62} items, but yields 1"):
        chatspan.Offsets(LyingList([(0, 1)], 2**62))
    with pytest.raises(chatspan.SpanError, match="span 1: expected a pair of whole numbers"):
        chatspan.token_mask([(0, 1)], [(0, 1), Sequence(2**62, 1)])
    with pytest.raises(chatspan.OptionError, match=f"text_length={2**70}: expected the number of characters"):
        chatspan.Offsets([(0, 1)], text_length=2**70)


def test_an_encoding_stays_when_its_messages_change_later(encoder: ChatEncoder) -> None:
    messages = [message([1, 2]), dict(ANSWER)]
    encoding = encoder.encode(messages)
    before = copy.deepcopy((encoding.text, encoding.spans, encoding.roles))
    messages[0].clear()
    messages.clear()
    assert (encoding.text, encoding.spans, encoding.roles) == before
    assert encoder.decode(encoding.input_ids[encoding.mask(what="content")]) == "4"
