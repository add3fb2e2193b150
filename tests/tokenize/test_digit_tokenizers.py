"""Byte-level tokenizers that cut digits first, as StarCoder, SmolLM and Command-R do, against transformers' own."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from chatspan.tokenize.backends import Backends
from chatspan.tokenize.hf import HFBackend
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "In 2026, 1,024 trains ran; 33 were late. x1y22z333 ٣٤٥ ½ Ⅻ ①②",
    "def f(n: int = 1024): return 0x1F + 1e-9\n",
] * 4
PIECES = st.sampled_from(
    ["12", "٣", "½", "Ⅻ", "一", "x", " ", "  ", "\n", "'s", "1a", "🚆", "é", "e\u0301", "<|im_end|>"]
)


def trained(individual: bool, trim: bool) -> Any:
    """A small tokenizer; without ``individual`` a run of digits is cut off as a whole."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=individual), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim, add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens(["<|im_end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template="{{ messages[0].content }}")


@pytest.fixture(scope="module", params=[(True, False), (False, False), (True, True)], ids=str)
def backends(request: pytest.FixtureRequest) -> tuple[Any, HFBackend]:
    tokenizer = trained(*request.param)
    native = Backends(tokenizer, "native", 0)
    native.wait()
    return native.loaded(), HFBackend(tokenizer)


def same(backends: tuple[Any, HFBackend], text: str) -> None:
    mine, theirs = ((each.encode_batch([text])[0]) for each in backends)
    assert mine.input_ids.tolist() == theirs.input_ids.tolist()
    assert mine.table.to_array().tolist() == theirs.table.to_array().tolist()


@given(text=st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join))
def test_ids_and_offsets_are_transformers(backends: tuple[Any, HFBackend], text: str) -> None:
    same(backends, text)


def test_every_number_of_unicode_is_cut_as_there(backends: tuple[Any, HFBackend]) -> None:
    numbers = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isnumeric()]
    assert len(numbers) > 1800
    for start in range(0, len(numbers), 200):
        same(backends, "".join(f"a{number}{number}b {number}" for number in numbers[start : start + 200]))
