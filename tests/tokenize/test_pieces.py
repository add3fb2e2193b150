"""A render tokenized in pieces: the ids are transformers' own, and each token's characters are where they belong."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from chatspan.render.jinja.template import compiled
from chatspan.tokenize.backends import Backends
from chatspan.tokenize.control_tokens import control_tokens, find_control_tokens
from chatspan.tokenize.pieces import Piece
from chatspan.tokenize.pieces import encode_pieces as encode_pieces_with
from transformers.utils import chat_template_utils
from zoo import ZOO_TOKENIZERS

WORDS = ("a", " ", "\n", "\n\n", " b", "é", "🚆", "👩‍👩‍👧", "你好", "  x ", "foo-bar 123", "'s", "\t")
START, END = "\U000f0000", "\U000f0001"  # transformers' marks around a control token in a field


@pytest.fixture(params=["small", *ZOO_TOKENIZERS])
def tokenizer(request: pytest.FixtureRequest, small: Any) -> Any:
    if request.param == "small":
        return small
    load: Callable[[str], Any] = request.getfixturevalue("zoo_tokenizer")
    return load(request.param)


@pytest.fixture(params=["hf", "native"])
def encode_pieces(request: pytest.FixtureRequest) -> Callable[..., Any]:
    loaded: dict[int, Any] = {}

    def encode(tokenizer: Any, text: str, pieces: list[Piece]) -> tuple[list[int], list[tuple[int, int]]]:
        backend = loaded.setdefault(id(tokenizer), Backends(tokenizer, request.param, 0)).wait()
        tokens = encode_pieces_with(tokenizer, backend, text, pieces)
        return tokens.input_ids.tolist(), [(start, end) for start, end in tokens.table.to_array().tolist()]

    return encode


def random_text(tokenizer: Any, chance: random.Random) -> tuple[str, str, list[Piece]]:
    """A text behind a word, the same with transformers' marks, and the pieces that are marked."""
    controls = control_tokens(tokenizer, tokenizer.get_chat_template())
    text, marked, pieces = "a", "a", []
    for _ in range(chance.randint(1, 6)):
        if chance.random() < 0.6:
            word = "".join(chance.choices(WORDS, k=chance.randint(1, 4)))
            text, marked = text + word, marked + word
            continue
        token, escaped = chance.choice(controls), chance.random() < 0.7
        if escaped:
            pieces.append(Piece(len(text), len(text) + len(token)))
        text, marked = text + token, marked + (START + token + END if escaped else token)
    return text, marked, pieces


def test_ids_are_those_of_marked_chats(tokenizer: Any, encode_pieces: Any) -> None:
    if not hasattr(chat_template_utils, "encode_marked_chat"):
        pytest.skip("this version of transformers cannot sanitize chats")
    chance = random.Random(0)
    for _ in range(40):
        text, marked, pieces = random_text(tokenizer, chance)
        ids, _ = encode_pieces(tokenizer, text, pieces)
        assert ids == chat_template_utils.encode_marked_chat(tokenizer, marked), text


def test_offsets_stay_on_their_side_and_miss_nothing(tokenizer: Any, encode_pieces: Any) -> None:
    chance = random.Random(1)
    for _ in range(40):
        text, _, pieces = random_text(tokenizer, chance)
        _, offsets = encode_pieces(tokenizer, text, pieces)
        covered = {at for start, end in offsets for at in range(start, end)}
        assert "".join(text[at] for at in sorted(covered)) == text
        assert offsets == sorted(offsets)
        for piece in pieces:
            for start, end in offsets:
                inside = piece.start_char <= start and end <= piece.end_char
                assert inside or end <= piece.start_char or start >= piece.end_char, text[start:end]


def test_given_tokens_are_taken_as_they_are(tokenizer: Any, encode_pieces: Any) -> None:
    text = "say hello to all"
    letters = [tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "hello"]
    piece = Piece(4, 9, (letters, [(at, at + 1) for at in range(4, 9)]))
    ids, offsets = encode_pieces(tokenizer, text, [piece])
    first = offsets.index((4, 5))
    assert ids[first : first + 5] == letters
    assert [text[start:end] for start, end in offsets[first : first + 5]] == list("hello")
    assert "".join(text[start:end] for start, end in offsets) == text


def test_no_pieces_is_the_text_as_always(tokenizer: Any, encode_pieces: Any) -> None:
    text = "Hello 🚆 there\n\nyou"
    own = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert encode_pieces(tokenizer, text, []) == (own["input_ids"], own["offset_mapping"])


def test_the_tokenizer_is_left_as_it_was(small_copy: Any, encode_pieces: Any) -> None:
    token = "<|im_end|>"
    before = small_copy.backend_tokenizer.encode_special_tokens
    encode_pieces(small_copy, f"a{token}", [Piece(1, 1 + len(token))])
    assert small_copy.backend_tokenizer.encode_special_tokens == before
    assert small_copy(token, add_special_tokens=False)["input_ids"] == [small_copy.convert_tokens_to_ids(token)]


def test_control_tokens_are_those_of_transformers(tokenizer: Any, encode_pieces: Any) -> None:
    if not hasattr(tokenizer, "_get_control_tokens"):
        pytest.skip("this version of transformers cannot sanitize chats")
    source = tokenizer.get_chat_template()
    assert control_tokens(tokenizer, compiled(source).literal_text) == tokenizer._get_control_tokens(source)


def test_the_longest_control_token_is_found_and_only_inside_of_the_ranges() -> None:
    text = "<a><a><ab> <a>"
    found = find_control_tokens(text, [(3, 10)], ("<a>", "<a><ab>"))
    assert [text[start:end] for start, end in found] == ["<a><ab>"]
    assert find_control_tokens(text, [(0, 2), (12, 14)], ("<a>",)) == []
