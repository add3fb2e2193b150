"""Tokenizers over characters, as SentencePiece makes them: every form that is admitted, against transformers' own."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from adversarial import adversarial_texts
from cases import assistant, user
from chatspan import BackendError, ChatEncoder
from chatspan.tokenize.backends import Backends
from chatspan.tokenize.hf import HFBackend
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

_CORPUS = (
    "Which train goes to Cologne, the EC 315 or the IC 900? The EC 315, at 9:05, from platform 12.",
    "def f(x: int) -> str:\n    return f'{x!r}'  # ok\n\n\nclass A:\n\tpass\n",
    "<p>It's here</p> <p>and there</p> <b> </b>",
    "Straße über naïve Größe, façade, Ångström",
    "日本語のテキスト 中文文本 Русский текст и слова",
)
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, _REPLACE]}
_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


def _metaspace(scheme: str, *, split: bool) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


# The normalizer and the pre-tokenizer of each form.
FORMS: dict[str, tuple[Any, Any]] = {
    "Llama-2": (_PREPEND, None),
    "Yi": (_REPLACE, None),
    "Gemma": (_REPLACE, _SPLIT),
    **{
        f"Metaspace {scheme}{' split' if split else ''}": (None, _metaspace(scheme, split=split))
        for scheme in ("always", "first", "never")
        for split in (False, True)
    },
}
# Looked for in the text as it is, and in the normalized text. Two of them overlap.
RAW, NORMALIZED = ("<|im_start|>", "<|im_end|>", "\n\n", "end|>x"), ("EC", "x<|im")


def _model(*, over_blanks: bool) -> dict[str, Any]:
    """Merges of words, or, as no training with words makes them, over the blanks between words."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if over_blanks:
        backend.normalizer = normalizers.Replace(" ", "▁")
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokens = ["<unk>", *fallback]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=tokens, show_progress=False, max_token_length=12)
    backend.train_from_iterator([text for text in _CORPUS for _ in range(20)], trainer)
    made: dict[str, Any] = json.loads(backend.to_str())
    # The bytes are tokens of the model; what is looked for in a text are control tokens alone.
    return {**made, "added_tokens": [], "normalizer": None, "pre_tokenizer": None}


def _tokenizer(form: str, template: str, *, over_blanks: bool, with_normalized: bool = True) -> Any:
    normalizer, pre_tokenizer = FORMS[form]
    made = {**_model(over_blanks=over_blanks), "normalizer": normalizer, "pre_tokenizer": pre_tokenizer}
    backend = Tokenizer.from_str(json.dumps(made))
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in RAW])
    if with_normalized:
        backend.add_tokens([AddedToken(token, normalized=True) for token in NORMALIZED])
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template)


@pytest.fixture(scope="module", params=[(form, over) for form in FORMS for over in (False, True)], ids=str)
def pair(request: pytest.FixtureRequest, small: Any) -> tuple[HFBackend, Backends]:
    """Transformers' own way, and the native one."""
    form, over_blanks = request.param
    # Llama-2's normalizer changes every token that is looked for behind it.
    tokenizer = _tokenizer(form, small.chat_template, over_blanks=over_blanks, with_normalized=form != "Llama-2")
    return HFBackend(tokenizer), Backends(tokenizer, "native", 2**16)


def assert_equal(pair: tuple[HFBackend, Backends], texts: list[str]) -> None:
    hf, native = pair
    for text, mine, theirs in zip(texts, native.encode_batch(texts), hf.encode_batch(texts), strict=True):
        assert mine.backend == "native", text
        assert mine.input_ids.tolist() == theirs.input_ids.tolist(), text
        assert mine.table.to_array().tolist() == theirs.table.to_array().tolist(), text


_WORDS = [word for text in _CORPUS for word in text.split()]
_PARTS = st.one_of(
    st.sampled_from([*_WORDS, *RAW, *NORMALIZED]),
    st.sampled_from(
        [" ", "  ", "▁", "\n", "\t", "<|", "|>", "<0x0A>", "<unk>", "é", "e\u0301", "😀", "本", "> ", ">▁</"]
    ),
    st.text(max_size=6),
    st.builds(
        lambda word, times: word * times, st.sampled_from(["a", "ab ", " ", "日本", "-", "😀"]), st.integers(1, 90)
    ),
)
_TEXTS = st.lists(st.lists(_PARTS, max_size=12).map("".join), min_size=1, max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(texts=_TEXTS)
def test_ids_and_offsets_are_those_of_transformers(pair: tuple[HFBackend, Backends], texts: list[str]) -> None:
    assert_equal(pair, texts)
    hf, native = pair
    assert [native.encode_plain(text) for text in texts] == [hf.encode_plain(text) for text in texts]


def test_adversarial_texts(pair: tuple[HFBackend, Backends]) -> None:
    assert_equal(pair, ["", " ", " a", "▁a", "a", "<|im_end|> a", "<|im_end|>a", "x" * 20_000, "ab1 " * 5000])
    assert_equal(pair, list(itertools.islice(adversarial_texts(2, _WORDS, [*RAW, *NORMALIZED]), 200)))


def test_a_character_without_a_token_is_left_to_transformers(small: Any) -> None:
    made = _model(over_blanks=False)
    made["model"]["byte_fallback"] = False
    backend = Tokenizer.from_str(json.dumps({**made, "normalizer": _REPLACE}))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=small.chat_template, unk_token="<unk>")
    native = Backends(tokenizer, "native", 0)
    texts = ["the EC 315", "the 🚆 EC"]
    assert [tokens.backend for tokens in native.encode_batch(texts)] == ["native", "hf"]
    own = HFBackend(tokenizer).encode_batch(texts)
    for mine, theirs in zip(native.encode_batch(texts), own, strict=True):
        assert mine.input_ids.tolist() == theirs.input_ids.tolist()


def test_a_token_that_is_looked_for_behind_a_prefix_is_refused(small: Any) -> None:
    tokenizer = _tokenizer("Llama-2", small.chat_template, over_blanks=False)
    with pytest.raises(BackendError, match="which the normalizer changes"):
        ChatEncoder(tokenizer, backend="native")
    assert ChatEncoder(tokenizer).backend == "hf"


def test_an_encoder_of_each_form_is_native(small: Any) -> None:
    messages = [user("Which train?"), assistant("EC 315, at 9. 🚆"), user("Danke"), assistant("Bitte é")]
    for form in FORMS:
        tokenizer = _tokenizer(form, small.chat_template, over_blanks=False, with_normalized=False)
        encoding = ChatEncoder(tokenizer, backend="native").encode(messages)
        assert encoding.backend == "native"
        assert encoding.input_ids.tolist() == tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
