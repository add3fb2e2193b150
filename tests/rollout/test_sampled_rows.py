"""Rows as the model met them: each turn behind the prompt that inference shows for it, by transformers' renders."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import chatspan
import numpy as np
import pytest
from cases import assistant, user
from chatspan import ChatEncoder, SampledRow
from prompts import SOURCES, row_of, switches, tokenizer_for
from turn_shapes import Messages, real_forms, words_of
from turns_sampled import Talk, talks
from zoo import ZOO_TOKENIZERS

# Drops the reasoning of all turns but the last, as Qwen3's does.
FORGETS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content and loop.last %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TWO_TURNS = [user("2 + 2?"), assistant("4"), user("And 3 + 3?"), assistant("6")]
THINKS = [user("2 + 2?"), assistant("4", reasoning_content="Add."), user("3 + 3?"), assistant("6")]

Say = Callable[[str], None]


def shown(encoder: ChatEncoder, row: SampledRow) -> list[tuple[str, bool]]:
    """A row's text, cut wherever what was sampled begins or ends."""
    edges = [0, *(np.flatnonzero(np.diff(row.sampled)) + 1).tolist(), len(row)]
    return [(encoder.decode(row.input_ids[start:end]), bool(row.sampled[start])) for start, end in pairwise(edges)]


def test_turns_that_go_on_from_each_other_share_a_row(small: Any) -> None:
    encoder = ChatEncoder(small)
    [row] = encoder.sampled_rows(TWO_TURNS)
    assert shown(encoder, row) == [
        ("<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n", False),
        ("4<|im_end|>", True),
        ("\n<|im_start|>user\nAnd 3 + 3?<|im_end|>\n<|im_start|>assistant\n", False),
        ("6<|im_end|>", True),
    ]
    assert encoder.decode(row.prompt_ids) == "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert encoder.decode(row.labels()[row.labels() != -100]) == "4<|im_end|>6<|im_end|>"
    assert {index: encoder.decode(row.input_ids[start:end]) for index, ((start, end),) in row.turns.items()} == {
        1: "4<|im_end|>",
        3: "6<|im_end|>",
    }
    assert encoder.decode(row.input_ids[row.message_index == 2]) == "<|im_start|>user\nAnd 3 + 3?<|im_end|>\n"
    assert repr(row) == "SampledRow(13 prompt tokens, 21 completion tokens, 4 of them sampled in 2 turns)"


def test_a_row_ends_where_the_template_drops_what_was_shown(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=FORGETS)
    first, second = encoder.sampled_rows(THINKS)
    assert shown(encoder, first)[-1] == ("<think>Add.</think>4<|im_end|>", True)
    assert shown(encoder, second) == [
        (
            "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
            "<|im_start|>user\n3 + 3?<|im_end|>\n<|im_start|>assistant\n",
            False,
        ),
        ("6<|im_end|>", True),
    ]
    assert first.cause is None
    assert second.cause is not None
    assert second.cause[:2] == ("reasoning_dropped", 1)
    assert (second.cause.shown[:11], second.cause.written[:11]) == ("<think>Add.", "4<|im_end|>")


def test_a_rewrite_can_be_an_error_with_its_place(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=FORGETS)
    with pytest.raises(
        chatspan.ReasoningDroppedError, match=r"'<think>Add\.</think>4.*was shown, but the tem"
    ) as raised:
        encoder.sampled_rows(THINKS, on_rewrite="error")
    error = raised.value
    assert (error.message_index, error.kind, error.start_char) == (1, "reasoning_dropped", 56)
    assert isinstance(error, chatspan.HistoryRewrittenError)


def test_sampled_ids_stand_verbatim_and_their_side_arrays_with_them(small: Any) -> None:
    encoder = ChatEncoder(small)
    # "4" in one token, "6" letter by letter with a blank that the usual tokenization has not.
    ids = [small("4<|im_end|>")["input_ids"], [*small("6")["input_ids"], *small("<|im_end|>")["input_ids"]]]
    messages = [
        {**message, "token_ids": ids[index // 2], "logprobs": [-0.5 - index] * len(ids[index // 2])}
        if message["role"] == "assistant"
        else message
        for index, message in enumerate(TWO_TURNS)
    ]
    [row] = encoder.sampled_rows(messages, per_token=("logprobs",))
    assert row.input_ids[row.sampled].tolist() == [*ids[0], *ids[1]]
    logprobs = row.logprobs
    assert logprobs is not None
    assert logprobs.dtype == np.float32
    assert logprobs[row.env_mask == 1].tolist() == [-1.5] * len(ids[0]) + [-3.5] * len(ids[1])
    assert not logprobs[row.env_mask == 0].any()
    cut = row.truncate(len(row) - 1)
    assert cut.input_ids.tolist() == row.input_ids[:-1].tolist()
    assert encoder.decode(cut.input_ids[slice(*cut.turns[3][0])]) == "6"
    left = row.truncate(4, "left")
    assert encoder.decode(left.input_ids[left.sampled]) == "6<|im_end|>"
    assert left.per_token["logprobs"].tolist() == row.per_token["logprobs"][-4:].tolist()


def test_a_stop_token_that_was_not_sampled_is_none_of_the_models(small: Any) -> None:
    encoder = ChatEncoder(small)
    messages = [user("Hi"), {**assistant("Hello"), "token_ids": small("Hello")["input_ids"]}, user("?"), assistant("!")]
    [row] = encoder.sampled_rows(messages)
    assert [text for text, own in shown(encoder, row) if own] == ["Hello", "!<|im_end|>"]


def test_a_turn_that_no_prompt_leads_to_is_named(small: Any) -> None:
    template = FORGETS.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>{% endif %}")
    encoder = ChatEncoder(small, chat_template=template)
    [row] = encoder.sampled_rows([user("2 + 2?"), assistant("4")])
    assert row.off_prompt[1].cause == "another_opening"
    with pytest.raises(chatspan.OpeningRewrittenError, match="message 1"):
        encoder.sampled_rows([user("2 + 2?"), assistant("4")], on_rewrite="error")


WRONG_CALLS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"messages": [user("Hi")]}, chatspan.MessageError, "no assistant message"),
    ({"messages": "Hi"}, chatspan.MessageError, "messages must be a list"),
    ({"messages": TWO_TURNS, "on_rewrite": "keep"}, chatspan.OptionError, "on_rewrite='keep'"),
    ({"messages": TWO_TURNS, "end_of_turn": "all"}, chatspan.OptionError, "end_of_turn='all'"),
    ({"messages": TWO_TURNS, "per_token": "logprobs"}, chatspan.OptionError, "per_token='logprobs'"),
    ({"messages": TWO_TURNS, "per_token": ("content",)}, chatspan.OptionError, "'content'"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG_CALLS)
def test_wrong_calls(small: Any, call: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ChatEncoder(small).sampled_rows(**call)


def test_side_arrays_of_another_length_are_an_error_with_their_message(small: Any) -> None:
    ids = small("4<|im_end|>")["input_ids"]
    messages = [user("2 + 2?"), {**assistant("4"), "token_ids": ids, "logprobs": [0.0]}]
    with pytest.raises(chatspan.RolloutError, match=r"message 1 \(assistant\): logprobs has 1 values") as raised:
        ChatEncoder(small).sampled_rows(messages, per_token=("logprobs",))
    assert raised.value.message_index == 1


@pytest.fixture(scope="module")
def counts(say: Say) -> Iterator[Counter[str]]:
    found: Counter[str] = Counter()
    yield found
    say(f"rows as sampled, by transformers' prompts: {listed(found)}")


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))


@functools.cache
def encoder_of(name: str) -> ChatEncoder:
    return ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name])


def rows_of_any_end(encoder: ChatEncoder, talk: Talk, counts: Counter[str]) -> list[SampledRow]:
    """The rows of a conversation; none where the template writes no end, or refuses a part of the conversation."""
    turns = [index for index, message in enumerate(talk.messages) if message["role"] == "assistant"]
    if any(talk.render(index + 1) is None for index in turns):
        counts["conversations of which the template refuses a part"] += 1
        with pytest.raises(chatspan.TemplateError):
            encoder.sampled_rows(talk.messages, **talk.keywords)
        return []
    with contextlib.suppress(chatspan.TurnBoundaryError):
        return encoder.sampled_rows(talk.messages, **talk.keywords)
    counts["conversations without ends"] += 1
    with contextlib.suppress(chatspan.TurnBoundaryError):
        return encoder.sampled_rows(talk.messages, end_of_turn="next_header", **talk.keywords)
    counts["conversations whose ends cannot be told"] += 1
    return []


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_every_template(name: str, counts: Counter[str], pytestconfig: pytest.Config) -> None:
    numbers = range(len(switches(name)))
    encoder = encoder_of(name)
    for number in numbers if pytestconfig.getoption("--all") else sorted({numbers[0], numbers[-1]}):
        for _, talk in talks(name, number):
            rows = rows_of_any_end(encoder, talk, counts)
            if rows:
                assert_as_met(encoder, rows, talk, counts)


def assert_as_met(encoder: ChatEncoder, rows: list[SampledRow], talk: Talk, counts: Counter[str]) -> None:
    """Each turn once, behind its prompt, with its own words."""
    counts["rows"] += len(rows)
    turns = [index for row in rows for index in row.turns]
    assert turns == [index for index, message in enumerate(talk.messages) if message["role"] == "assistant"]
    for row in rows:
        counts.update({f"row begins: {row.cause.cause}": 1} if row.cause else {})
        for index, ranges in row.turns.items():
            counts["turns"] += 1
            prompt, before = talk.prompt(index), row.input_ids[: ranges[0][0]]
            if index in row.off_prompt:
                counts["turns that no prompt leads to"] += 1
                whole = talk.render(index + 1)
                assert prompt is None or not whole.startswith(prompt)
            else:
                assert encoder.decode(before) == prompt
                own = talk.tokenizer(prompt, add_special_tokens=False)["input_ids"]
                counts["prompts of other ids, of the same text"] += own != before.tolist()
            said = "".join(encoder.decode(row.input_ids[start:end]) for start, end in ranges)
            assert words_of(said) == words_of(talk.render(index + 1) or "", index)
        assert [bool(each) for each in row.sampled] == [
            any(start <= at < end for ranges in row.turns.values() for start, end in ranges) for at in range(len(row))
        ]


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
@pytest.mark.filterwarnings("ignore")
def test_real_conversations(
    name: str,
    zoo_tokenizer: Callable[[str], Any],
    zoo_messages: list[Messages],
    say: Say,
    pytestconfig: pytest.Config,
) -> None:
    """Every assistant's token is trained once, behind the prompt that transformers renders for its turn."""
    encoder = ChatEncoder(zoo_tokenizer(name))
    found: Counter[str] = Counter()
    for messages in zoo_messages[:: 1 if pytestconfig.getoption("--all") else 20]:
        row = row_of(encoder.tokenizer, encoder.tokenizer.chat_template, messages, {}, real_forms)
        if row is None:
            found["refused by transformers"] += 1
            continue
        talk = Talk(encoder.tokenizer, encoder.tokenizer.chat_template, row.messages, {})
        assert_as_met(encoder, encoder.sampled_rows(row.messages), talk, found)
    say(f"rows as sampled of real conversations, {name}: {listed(found)}")
