"""Byte-level tokenizers with patterns of single families, and those made of other libraries' files.

The patterns are those of the models' own ``tokenizer.json``, as ``llama-vocab.cpp`` of llama.cpp notes them.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chatspan
import pytest
from adversarial import adversarial_texts
from chatspan.errors import BackendError, BackendMismatchError
from chatspan.tokenize import cuts
from chatspan.tokenize.backends import Backends
from chatspan.tokenize.hf import HFBackend
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_END = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_DIGITS = "one by one"
FAMILIES: dict[str, Sequence[str]] = {
    "Bailing": [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "Seed-Coder": [
        _CONTRACTIONS + "|" + _WORDS + r"|\p{N}{1}| ?[^\s\p{L}\p{N}" + "\r\n]+|\\s*[\r\n]+" + r"|\s+(?!\S)|\s+"
    ],
    "EXAONE-MoE": [
        _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "MiniCPM5": [r"\p{N}{1,3}", _CONTRACTIONS + "|" + _WORDS + r"|\p{N}+" + _SIGNS + _END],
    "Laguna": [r"[^\n]+|[\n]+", _CONTRACTIONS + "|" + _WORDS + r"|\p{N}" + _SIGNS + _END],
    "DeepSeek-Coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", _DIGITS],
    "BLOOM": [r" ?[^(\s|.,!?…。，、।۔،)]+"],
    "GPT-2 as a Split": [r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"],
    "AFMoE, words": [
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
        + _END
    ],
}
DOCS = [path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parents[2] / "docs").glob("*.md"))[:8]]
WORDS = sorted({word for text in DOCS for word in text.split()})[::7]
TEMPLATE = "{% for message in messages %}<s>{{ message.role }}\n{{ message.content }}</s>\n{% endfor %}"
# What engines may take for another class, and what patterns look for.
PIECES = st.sampled_from(
    ["'s", "'LL", "'ſ", " ", "  ", "\n", "\r\n", "\n\n ", "12345", "½", "é", "e\u0301", "日本", "한", "\u180e"]
)


def steps_of(patterns: Sequence[str]) -> list[Any]:
    return [
        pre_tokenizers.Digits(individual_digits=True)
        if pattern == _DIGITS
        else pre_tokenizers.Split(Regex(pattern), "isolated")
        for pattern in patterns
    ]


def trained(patterns: Sequence[str], trim: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    bytes_step = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps_of(patterns), bytes_step])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim, add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(DOCS, trainer)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer


@pytest.fixture(scope="module", params=FAMILIES)
def backends(request: pytest.FixtureRequest) -> tuple[Backends, HFBackend]:
    tokenizer = trained(FAMILIES[request.param], trim=request.param in ("Laguna", "BLOOM"))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=TEMPLATE)
    native = Backends(fast, "native", 0)
    native.wait()
    return native, HFBackend(fast)


def same(backends: tuple[Backends, HFBackend], text: str) -> str:
    mine, theirs = (each.encode_batch([text])[0] for each in backends)
    assert mine.input_ids.tolist() == theirs.input_ids.tolist(), text
    assert mine.table.to_array().tolist() == theirs.table.to_array().tolist(), text
    return str(mine.backend)


@given(text=st.lists(PIECES | st.text(max_size=3) | st.sampled_from(WORDS), max_size=12).map("".join))
def test_ids_and_offsets_are_transformers(backends: tuple[Backends, HFBackend], text: str) -> None:
    same(backends, text)


def test_difficult_texts(backends: tuple[Backends, HFBackend], pytestconfig: pytest.Config) -> None:
    texts = adversarial_texts(3, WORDS, ["<s>", "</s>"])
    for _ in range(3000 if pytestconfig.getoption("--all") else 150):
        same(backends, next(texts))


def test_a_long_text_is_cut_as_a_short_one(backends: tuple[Backends, HFBackend]) -> None:
    """It is cut in parts, side by side."""
    draw = random.Random(5)
    words = [*WORDS, " ", "  ", "\n", "\n\n", "1234567", "'s", "日本語", "é"]
    text = "".join(draw.choices(words, k=40_000)) + " " * 3000 + "1" * 3000 + "\n" * 3000 + "x"
    assert len(text) > 200_000
    assert same(backends, text) == "native"


def test_all_characters_are_looked_at(backends: tuple[Backends, HFBackend]) -> None:
    """What both cut alike is encoded natively; what they do not, and what is no character, by transformers."""
    assert same(backends, "Grüße, 日本語 한국어 😀 \u0301x 1½2") == "native"
    assert same(backends, "private \ue000") == same(backends, "not assigned \U000e0080") == "hf"
    # White space for one engine alone.
    same(backends, "a \u180e b\u180e\n")


def test_a_class_that_is_another_set_in_one_engine() -> None:
    """Han is the script in one, and in the other all that the script uses."""
    tokenizer = trained([r"\p{Han}+|\s+|[^\s\p{Han}]+"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=TEMPLATE)
    both = Backends(fast, "native", 0), HFBackend(fast)
    assert same(both, "日本語 한국어 Straße") == "native"
    assert same(both, "日、本") == same(both, "「日」") == "hf"


class _Cuts:
    """A pre-tokenizer that also cuts before and behind some letters."""

    def __init__(self, own: Any, letters: str) -> None:
        self._own, self._letters = own, letters

    def __getstate__(self) -> bytes:
        return f"cuts at {self._letters}".encode()

    def pre_tokenize_str(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        ends = {end for _, (_, end) in self._own.pre_tokenize_str(text)}
        ends |= {at + more for at, letter in enumerate(text) if letter in self._letters for more in (0, 1)} - {0}
        return [("", (0, end)) for end in sorted(ends)]


def test_a_character_of_another_class_is_found() -> None:
    tokenizer = trained(FAMILIES["Laguna"])
    native = chatspan._core.NativeTokenizer(tokenizer.to_str(), cache_bytes=0)
    assert native.is_unproven()
    assert native.encode_batch(["Hi"], None) == [None]
    alike = cuts.alike_characters(_Cuts(tokenizer.pre_tokenizer, "ßя한"), native)
    assert len(alike) > 130_000
    assert not set("ßя한") & set(alike)
    assert set("àáбю할ABC 日") <= set(alike)
    native.set_alike(alike)
    assert [row is None for row in native.encode_batch(["Hi Jürgen", "Straße"], None)] == [False, True]


def test_a_difference_that_no_character_explains_is_refused() -> None:
    tokenizer = trained(FAMILIES["Laguna"])
    native = chatspan._core.NativeTokenizer(tokenizer.to_str(), cache_bytes=0)

    class AfterThree(_Cuts):
        def pre_tokenize_str(self, text: str) -> list[tuple[str, tuple[int, int]]]:
            own: list[tuple[str, tuple[int, int]]] = self._own.pre_tokenize_str(text)
            return own[:3] + own[-1:] if "aa." in text else own

    with pytest.raises(BackendMismatchError, match=r"the native tokenizer cuts the word .* out of .*, transformers' "):
        cuts.alike_characters(AfterThree(tokenizer.pre_tokenizer, "!"), native)


@pytest.mark.parametrize(
    "pattern",
    [r"\w+|\W+", r"(?<=a)b", r"[a-z&&[^b]]+", r"\s+$|\S+", r"(?i)the|.", r"\d{1,3}(?=(?:\d{3})*\b)", r"(?i:ss|st)|."],
)
def test_patterns_that_engines_read_differently_are_refused(pattern: str) -> None:
    fast = PreTrainedTokenizerFast(tokenizer_object=trained([pattern]), chat_template=TEMPLATE)
    with pytest.raises(BackendError, match="which two engines may read differently"):
        chatspan.ChatEncoder(fast, backend="native")


KIMI = (
    r"[\p{Han}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
    rf"{_CONTRACTIONS}?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
    rf"{_CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def ranks(pattern: str) -> list[bytes]:
    """The tokens of a trained tokenizer, in the order of its merges."""
    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
    vocab = {token: number for token, number in trained([pattern]).get_vocab().items() if token not in ("<s>", "</s>")}
    return [bytes(byte_of[letter] for letter in token) for token in sorted(vocab, key=lambda token: vocab[token])]


def test_a_file_of_tiktoken(tmp_path: Path) -> None:
    """As Kimi has: transformers makes a fast tokenizer of it, whose ids are tiktoken's."""
    tiktoken = pytest.importorskip("tiktoken")
    converters = pytest.importorskip("transformers.convert_slow_tokenizer")
    tokens = ranks(KIMI)
    path = tmp_path / "tiktoken.model"
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)))
    made = converters.TikTokenConverter(str(path), pattern=KIMI, extra_special_tokens=["<s>", "</s>"]).converted()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, chat_template=TEMPLATE)
    native, hf = Backends(fast, "native", 0), HFBackend(fast)
    special = {"<s>": len(tokens), "</s>": len(tokens) + 1}
    theirs = tiktoken.Encoding(
        "x", pat_str=KIMI, mergeable_ranks={t: r for r, t in enumerate(tokens)}, special_tokens=special
    )
    texts = adversarial_texts(7, WORDS, ["<s>", "</s>"])
    for text in (next(texts) for _ in range(300)):
        same((native, hf), text)
        assert native.encode_batch([text])[0].input_ids.tolist() == theirs.encode(text, allowed_special="all"), text


def test_a_tekken_file(tmp_path: Path) -> None:
    pytest.importorskip("transformers.integrations.mistral.tokenizer", reason="transformers 5 reads tekken.json itself")
    tokens = ranks(TEKKEN)
    special = ["<unk>", "<s>", "</s>", "[INST]"]
    vocab = [{"rank": r, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for r, t in enumerate(tokens)]
    count = {"num_vocab_tokens": len(tokens), "default_vocab_size": len(tokens) + 20, "default_num_special_tokens": 20}
    file = {
        "config": {"pattern": TEKKEN, "version": "v11", **count},
        "vocab": vocab,
        "special_tokens": [{"rank": r, "token_str": token, "is_control": True} for r, token in enumerate(special)],
    }
    (tmp_path / "tekken.json").write_text(json.dumps(file))
    config = {"tokenizer_class": "TokenizersBackend", "chat_template": TEMPLATE}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    fast = AutoTokenizer.from_pretrained(tmp_path)
    native, hf = Backends(fast, "native", 0), HFBackend(fast)
    texts = adversarial_texts(9, WORDS, special)
    for text in (next(texts) for _ in range(300)):
        same((native, hf), text)
