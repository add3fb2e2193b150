"""Sampled ids stand in place of their turn, and everything follows them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from cases import CHATML, TEMPLATES, assistant, user
from chatspan import ChatEncoder, RolloutError, TurnBoundaryError
from chatspan.tokenize.token_offsets import token_offsets
from hypothesis import given
from hypothesis import strategies as st
from zoo import ZOO_TOKENIZERS

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30) | st.text(
    alphabet="ab 🚆é\n你", max_size=30
)


def letters(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that no tokenizer gives: each character by itself."""
    return [i for letter in text for i in tokenizer(letter, add_special_tokens=False)["input_ids"]]


def test_sampled_ids_are_taken_as_they_are(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=CHATML)
    sampled = [*letters(small, "Hello 🚆!"), small.convert_tokens_to_ids("<|im_end|>")]
    messages = [user("Hi"), assistant("Hello 🚆!", token_ids=sampled), user("Go on."), assistant("ok")]
    encoding = encoder.encode(messages)
    assert encoding.input_ids[encoding.mask(messages=[1])].tolist() == sampled
    plain = encoder.encode([{k: v for k, v in m.items() if k != "token_ids"} for m in messages])
    assert encoding.text == plain.text
    assert len(encoding) > len(plain)
    content = encoding.mask(what="content", messages=[1])
    assert encoding.input_ids[content].tolist() == sampled[:-1]
    after = encoding.mask(["user", "assistant"], "content", messages=[2, 3])
    assert encoder.decode(encoding.input_ids[after]) == "Go on.ok"


def test_ids_from_before_the_template_trimmed(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=TEMPLATES["trimming"])
    sampled = small(" \nYes. \n<|im_end|>", add_special_tokens=False)["input_ids"]
    encoding = encoder.encode([user("Hi"), assistant(" \nYes. \n", token_ids=sampled)])
    assert encoding.text.endswith("\n\nYes.<|im_end|>")
    tail = encoding.input_ids[-len(sampled) :].tolist()
    assert tail == sampled


def test_ids_of_another_text_are_refused(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=CHATML)
    sampled = small("Hallo!<|im_end|>", add_special_tokens=False)["input_ids"]
    messages = [user("Hi"), assistant("Hello!", token_ids=sampled)]
    with pytest.raises(RolloutError, match=r"from its character 1 on they say 'allo!.*the render says 'ello!") as got:
        encoder.encode(messages)
    assert got.value.message_index == 1
    taken = encoder.encode(messages, token_ids_check=False)
    assert taken.input_ids[taken.message_index == 1][-len(sampled) - 1 : -1].tolist() == sampled
    with pytest.raises(RolloutError, match="at least one"):
        encoder.encode([user("Hi"), assistant("Hello!", token_ids=[])])
    endless = ChatEncoder(small, chat_template="{% for m in messages %}{{ m.role + m.content }}{% endfor %}")
    with pytest.raises(TurnBoundaryError):
        endless.encode(messages)


@given(TEXT)
def test_offsets_of_ids_are_those_of_the_tokenizer(small: Any, text: str) -> None:
    encoded = small(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = encoded["input_ids"]
    found = token_offsets(small, ids, text)
    assert len(found) == len(ids)
    assert [(max(0, s), e) for s, e in found] == found
    assert all(first[0] <= second[0] and first[1] <= second[1] for first, second in itertools.pairwise(found))
    if text:
        assert found[0][0] == 0
        assert found[-1][1] == len(text)


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
def test_real_tokenizers_take_their_own_turns_back(
    name: str, zoo_tokenizer: Callable[[str], Any], zoo_messages: list[Any]
) -> None:
    tokenizer = zoo_tokenizer(name)
    encoder = ChatEncoder(tokenizer)
    for content in ("Hello 🚆 there", "你好。\n\n- one\n- two", "a  b\tc"):
        messages = [user("Hi"), assistant(content), user("And?"), assistant("é" + content)]
        whole = encoder.encode(messages)
        turns = [whole.input_ids[whole.mask(messages=[index])].tolist() for index in (1, 3)]
        again = encoder.encode(
            [messages[0], {**messages[1], "token_ids": turns[0]}, messages[2], {**messages[3], "token_ids": turns[1]}]
        )
        assert again.input_ids.tolist() == whole.input_ids.tolist()
        assert again.mask().tolist() == whole.mask().tolist()
        assert again.kind.tolist() == whole.kind.tolist()
