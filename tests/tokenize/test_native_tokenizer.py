"""The native tokenizer against transformers': equal ids and offsets, or transformers' own is used and says so."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from adversarial import adversarial_texts
from cases import assistant, user
from chatspan import (
    BackendError,
    BackendMismatchWarning,
    ChatEncoder,
    CollatorConfig,
    ComposerDataCollator,
    TextError,
    TokenizerError,
)
from chatspan.errors import BackendMismatchError
from chatspan.tokenize.backends import Backends
from chatspan.tokenize.hf import HFBackend
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast
from zoo import ZOO_TOKENIZERS

Lists = tuple[list[int], list[list[int]]]

MESSAGES = [user("Which train?"), assistant("EC 315, at 9."), user("Danke 🚆"), assistant("Bitte é")]


def lists(tokens: Any) -> Lists:
    return tokens.input_ids.tolist(), tokens.table.to_array().tolist()


def assert_equal(tokenizer: Any, backend: Any, texts: Sequence[str]) -> int:
    """The backend's ids and offsets are transformers'. Returns how many tokens."""
    own = HFBackend(tokenizer).encode_batch(texts)
    count = 0
    for text, mine, theirs in zip(texts, backend.encode_batch(texts), own, strict=True):
        assert lists(mine) == lists(theirs), text
        count += len(theirs.input_ids)
    return count


@pytest.fixture(scope="module", params=ZOO_TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest, zoo_tokenizer: Callable[[str], Any]) -> Any:
    return zoo_tokenizer(request.param)


@pytest.fixture(scope="module")
def native(tokenizer: Any) -> Backends:
    backends = Backends(tokenizer, "native", 2**20)
    backends.wait()
    return backends


def test_renders_of_real_conversations(
    tokenizer: Any, native: Backends, zoo_messages: Any, say: Any, request: Any
) -> None:
    conversations = zoo_messages[:: 1 if request.config.getoption("--all") else 10]
    encoder = ChatEncoder(tokenizer, backend="hf")
    texts = []
    for messages in conversations:
        try:
            texts.append(encoder.encode(messages).text)
        except ValueError:
            # The template refuses it, as for its tool messages.
            texts.append("\n".join(str(message.get("content") or "") for message in messages))
    count = assert_equal(tokenizer, native, texts)
    again = assert_equal(tokenizer, native, texts)
    name = tokenizer.name_or_path.rpartition("/")[2]
    say(f"native {name}: {count + again} tokens of real texts, the second half from the cache, 0 differences")


def test_adversarial_texts(tokenizer: Any, native: Backends, zoo_messages: Any, say: Any, request: Any) -> None:
    wanted = 5_000_000 // len(ZOO_TOKENIZERS) if request.config.getoption("--all") else 60_000
    words = [word for messages in zoo_messages[:40] for m in messages for word in (m.get("content") or "").split()]
    contents = [token.content for token in tokenizer.added_tokens_decoder.values()]
    count = 0
    texts = adversarial_texts(1, words, contents)
    while count < wanted:
        count += assert_equal(tokenizer, native, list(itertools.islice(texts, 200)))
    name = tokenizer.name_or_path.rpartition("/")[2]
    stats = native.stats()
    say(
        f"native {name}: {count} tokens of adversarial texts, 0 differences; "
        f"{stats['rows_fell_back']} of {stats['rows_native'] + stats['rows_hf']} texts left to transformers"
    )


def test_odd_texts(tokenizer: Any, native: Backends) -> None:
    contents = [token.content for token in tokenizer.added_tokens_decoder.values()][:50]
    assert_equal(tokenizer, native, ["", "\x00", "a\x00b", "".join(contents), " ".join(contents), "a" * 20_000])
    assert_equal(tokenizer, native, ["ab1 " * 250_000, "é" * 3000, "😀" * 3000])


def test_plain_text_is_that_of_transformers(tokenizer: Any, native: Backends) -> None:
    hf = HFBackend(tokenizer)
    for token in [token.content for token in tokenizer.added_tokens_decoder.values()][:60]:
        for text in (token, f"\n{token}", f"a {token}"):
            assert native.encode_plain(text) == hf.encode_plain(text), text


def test_tokens_are_those_of_the_vocabulary(tokenizer: Any, native: Backends) -> None:
    hf = HFBackend(tokenizer)
    for token_id in [*range(0, 2000, 7), *tokenizer.added_tokens_decoder, len(tokenizer) + 5000]:
        assert native.token(token_id) == hf.token(token_id)


def test_from_eight_threads(tokenizer: Any, native: Backends, zoo_messages: Any) -> None:
    texts = [m["content"] for messages in zoo_messages[:12] for m in messages if m.get("content")]
    wanted = [lists(tokens) for tokens in HFBackend(tokenizer).encode_batch(texts)]
    found: list[Any] = [None] * 8

    def work(index: int) -> None:
        found[index] = [lists(native.encode_batch([text])[0]) for text in texts]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 8


# --- what the encoder and the collator make of it, on the project's own tokenizer


def test_auto_is_native_once_it_is_loaded(small_copy: Any) -> None:
    encoder = ChatEncoder(small_copy)
    first = encoder.encode(MESSAGES)
    encoder.warm_up()
    second = encoder.encode(MESSAGES)
    assert encoder.backend == second.backend == "native"
    assert "those of transformers" in encoder.backend.reason
    assert second.explain().startswith("tokenized by native (ids and offsets are")
    assert (first.input_ids == second.input_ids).all()
    assert (first.offsets == second.offsets).all()
    assert (first.kind == second.kind).all()
    assert encoder.stats()["rows_native"] >= 1


def test_hf_when_asked_for(small: Any) -> None:
    encoder = ChatEncoder(small, backend="hf")
    assert encoder.encode(MESSAGES).explain().startswith('tokenized by hf (backend="hf")')
    assert encoder.backend == "hf"
    assert encoder.stats()["rows_hf"] == 1


def test_loading_in_the_background(small_copy: Any) -> None:
    encoder = ChatEncoder(small_copy)
    encoder.warm_up(background=True)
    assert encoder.backend == "native"


def test_tokens_that_are_added_later_are_seen(small_copy: Any) -> None:
    encoder = ChatEncoder(small_copy, backend="native")
    small_copy.add_tokens(["EC 315"])
    encoding = encoder.encode(MESSAGES)
    assert small_copy.convert_tokens_to_ids("EC 315") in encoding.input_ids
    assert encoding.backend == "native"


def test_a_word_that_becomes_an_added_token_is_seen_by_a_new_encoder_and_by_warm_up(small_copy: Any) -> None:
    first = ChatEncoder(small_copy, backend="native")
    size = len(small_copy)
    small_copy.add_tokens(["ch"])
    assert len(small_copy) == size
    wanted = small_copy.apply_chat_template(MESSAGES, return_dict=True)["input_ids"]
    assert ChatEncoder(small_copy, backend="native").encode(MESSAGES).input_ids.tolist() == wanted
    first.warm_up()
    assert first.encode(MESSAGES).input_ids.tolist() == wanted


def test_another_normalizer_is_seen(small_copy: Any) -> None:
    encoder = ChatEncoder(small_copy, backend="native")
    small_copy.backend_tokenizer.normalizer = normalizers.NFC()
    assert encoder.decode(encoder.encode([user("e\u0301"), assistant("ok")]).input_ids).startswith(
        "<|im_start|>user\né<"
    )
    small_copy.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(BackendError, match="the normalizer Lowercase"):
        encoder.encode(MESSAGES)


@pytest.mark.parametrize("option", ["truncation", "padding"])
def test_what_an_earlier_call_left_in_the_tokenizer_is_no_reason(option: str, small_copy: Any) -> None:
    """As the next call of the tokenizer takes it out."""
    small_copy(["a b c d e f", "b"], max_length=3, **{option: "max_length" if option == "padding" else True})
    assert getattr(small_copy.backend_tokenizer, option) is not None
    encoding = ChatEncoder(small_copy, backend="native").encode(MESSAGES)
    assert encoding.input_ids.tolist() == small_copy.apply_chat_template(MESSAGES, return_dict=True)["input_ids"]


def test_wrong_options_are_named(small: Any) -> None:
    with pytest.raises(ValueError, match=r"backend='rust': use \"auto\", \"native\" or \"hf\""):
        ChatEncoder(small, backend="rust")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cache_bytes=-1"):
        ChatEncoder(small, cache_bytes=-1)


def test_lone_surrogates_are_refused_with_their_message(small: Any) -> None:
    with pytest.raises(TextError, match="message 1 has a lone surrogate"):
        ChatEncoder(small, backend="native").encode([user("a"), assistant("b\ud800")])


def test_an_encoder_can_be_pickled(small_copy: Any) -> None:
    encoder = ChatEncoder(small_copy, backend="native")
    wanted = encoder.encode(MESSAGES)
    again = pickle.loads(pickle.dumps(encoder)).encode(MESSAGES)
    assert again.backend == "native"
    assert again.input_ids.tolist() == wanted.input_ids.tolist()


TRACES = [
    {
        "trace_id": str(index),
        "turns": [user(f"Go {index}"), {**assistant("Gone."), "tool_error": "late"}],
    }
    for index in range(8)
]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_collate_as_the_parent_does(method: str, small_copy: Any) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    config = CollatorConfig(hint_generator=hint, backend="native")
    collate = ComposerDataCollator(tokenizer=small_copy, config=config)
    wanted = [collate(TRACES[:4]), collate(TRACES[4:])]
    loader = DataLoader(TRACES, batch_size=4, num_workers=2, collate_fn=collate, multiprocessing_context=method)
    for mine, theirs in zip(loader, wanted, strict=True):
        assert mine.keys() == theirs.keys()
        assert all((mine[key] == theirs[key]).all() for key in mine)


def hint(error: Any, meta: Any) -> str:
    return f"Mind: {error}"


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_after_many_forks(small_copy: Any) -> None:
    encoder = ChatEncoder(small_copy, backend="native")
    conversations = [MESSAGES] * 16
    wanted = [encoding.input_ids.tolist() for encoding in encoder.encode_batch(conversations)]
    context = multiprocessing.get_context("fork")
    for _ in range(10):
        encoder.encode_batch(conversations)
        queue = context.SimpleQueue()
        child = context.Process(target=_encode, args=(encoder, conversations, queue))
        child.start()
        assert queue.get() == wanted
        child.join()


def _encode(encoder: ChatEncoder, conversations: Any, queue: Any) -> None:
    queue.put([encoding.input_ids.tolist() for encoding in encoder.encode_batch(conversations)])


# --- refusals


def changed(small: Any, path: str, value: Any) -> Any:
    """The project's tokenizer with another setting in its tokenizer.json."""
    tokenizer_json = json.loads(small.backend_tokenizer.to_str())
    *keys, last = path.split(".")
    place = tokenizer_json
    for key in keys:
        place = place[key]
    place[last] = value
    backend = Tokenizer.from_str(json.dumps(tokenizer_json))
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=small.chat_template, eos_token="<|im_end|>")


BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
TRUNCATION = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 400},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "<|im_end|>",
}
SETTINGS = {
    "truncation": ("truncation", TRUNCATION, "truncation is set inside the tokenizer"),
    "padding": ("padding", PADDING, "padding is set inside the tokenizer"),
    "dropout": ("model.dropout", 0.1, "dropout"),
    "prefix space": ("pre_tokenizer", BYTES, "the pre-tokenizer ByteLevel with add_prefix_space"),
    "trimmed with prefix space": ("post_processor", BYTES, "the post-processor ByteLevel with trim_offsets"),
    "other pre-tokenizer": ("pre_tokenizer", {"type": "Whitespace"}, "the pre-tokenizer Whitespace"),
    "other normalizer": ("normalizer", {"type": "NFKC"}, "the normalizer NFKC"),
    "two normalizers": (
        "normalizer",
        {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
        "a sequence of normalizers that begins with NFC",
    ),
    "suffix": ("model.end_of_word_suffix", "</w>", "end_of_word_suffix"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_known_to_go_wrong_are_refused(name: str, small: Any) -> None:
    path, value, reason = SETTINGS[name]
    assert_refused(changed(small, path, value), reason, ids=name != "dropout")


def assert_refused(tokenizer: Any, reason: str, *, ids: bool = True) -> None:
    """By ``auto`` with the reason, by ``native`` with an error; and the ids are transformers' all the same."""
    with pytest.raises(BackendError, match=reason):
        ChatEncoder(tokenizer, backend="native")
    encoder = ChatEncoder(tokenizer)
    assert encoder.backend == "hf"
    assert reason in encoder.backend.reason
    encoding = encoder.encode(MESSAGES)
    assert f"tokenized by hf ({encoder.backend.reason})" in encoding.explain()
    if ids:
        assert encoding.input_ids.tolist() == tokenizer.apply_chat_template(MESSAGES, return_dict=True)["input_ids"]


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_added_tokens_that_take_their_surroundings_are_refused(flag: str, small_copy: Any) -> None:
    small_copy.add_tokens([AddedToken("EC", **{flag: True}, normalized=False)])
    assert_refused(small_copy, f'the added token "EC" with {flag}')


def test_added_tokens_that_the_normalizer_changes_are_refused(small: Any) -> None:
    tokenizer = changed(small, "normalizer", {"type": "NFC"})
    tokenizer.add_tokens([AddedToken("cafe\u0301", normalized=True)])
    assert_refused(tokenizer, "which the normalizer changes")


def test_added_tokens_that_two_searches_find_otherwise_are_refused(small_copy: Any) -> None:
    """Transformers finds the second one first, though the first one begins before it."""
    small_copy.backend_tokenizer.add_tokens(
        [AddedToken("Which t", normalized=True), AddedToken("train", normalized=False)]
    )
    assert small_copy.tokenize("Which train")[-1] == "train"
    assert_refused(small_copy, 'the added token "Which t", which goes into "train"')


@pytest.mark.parametrize(
    ("model", "trainer"),
    [
        (models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer(special_tokens=["[UNK]"], show_progress=False)),
        (models.Unigram(), trainers.UnigramTrainer(unk_token="[UNK]", special_tokens=["[UNK]"], show_progress=False)),
    ],
    ids=["WordPiece", "Unigram"],
)
def test_other_models_are_refused(model: Any, trainer: Any, small: Any) -> None:
    backend = Tokenizer(model)
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator([message["content"] for message in MESSAGES], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=small.chat_template, unk_token="[UNK]", eos_token="[UNK]"
    )
    assert_refused(tokenizer, "only BPE is native")


def test_trimmed_offsets_are_those_of_transformers(small: Any) -> None:
    trim = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
    tokenizer = changed(small, "post_processor", json.loads(trim.__getstate__()))
    backend = Backends(tokenizer, "native", 0)
    assert_equal(tokenizer, backend, [" a  b \n c", "<|im_end|> x", " ", "é  😀 "])


def test_a_tokenizer_that_differs_is_refused_with_the_first_difference(small_copy: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("chatspan.tokenize.admission.adversarial_texts", lambda tokenizer: ["fine", "wrong"])
    small_copy.add_tokens(["no other tokenizer has this one"])

    class Differs(HFBackend):
        def encode_batch(self, texts: Any, segments: Any = None) -> Any:
            return super().encode_batch([text.replace("wrong", "wring") for text in texts], segments)

    monkeypatch.setattr("chatspan.tokenize.native.HFBackend", Differs)
    with pytest.raises(BackendMismatchError, match="the native tokenizer differs from transformers' on 'wrong': token"):
        ChatEncoder(small_copy, backend="native")
    with pytest.warns(BackendMismatchWarning, match="on 'wrong'"):
        assert ChatEncoder(small_copy).backend == "hf"


def test_what_cannot_be_told_for_certain_is_left_to_transformers(small: Any) -> None:
    """A token that is looked for in the composed text, and a text that is not composed."""
    tokenizer = changed(small, "normalizer", {"type": "NFC"})
    tokenizer.add_tokens([AddedToken("EC", normalized=True)])
    encoder = ChatEncoder(tokenizer, backend="native")
    encoding = encoder.encode([user("EC e\u0301"), assistant("no")])
    assert "cannot determine this text's offsets" in encoding.explain()
    assert encoder.stats()["rows_fell_back"] == 1
    assert_equal(tokenizer, encoder._pipeline._backends, ["EC e\u0301", "EC é", "E\u0327C"])
    assert Counter(tokens.backend for tokens in encoder._pipeline._backends.encode_batch(["EC é", "e\u0301"])) == {
        "native": 1,
        "hf": 1,
    }


def test_a_backend_without_offsets_is_refused(small_copy: Any, monkeypatch: Any) -> None:
    def patched(self: Any, texts: Any) -> Any:
        raise NotImplementedError("no character offsets")

    monkeypatch.setattr(HFBackend, "_pairs", patched)
    small_copy.add_tokens(["yet another one"])
    encoder = ChatEncoder(small_copy)
    for _ in range(2):
        with pytest.raises(TokenizerError, match=r"returns no offsets \(no character offsets\): load it without"):
            encoder.encode(MESSAGES)
        assert encoder.backend == "hf"


def test_a_tokenizer_of_its_own_way_is_asked_in_its_own_way(small: Any) -> None:
    class Shouting(PreTrainedTokenizerFast):
        def __call__(self, text: Any, **kwargs: Any) -> Any:
            return super().__call__([each.replace("Which", "WHICH") for each in text], **kwargs)

    tokenizer = Shouting(tokenizer_object=small.backend_tokenizer, chat_template=small.chat_template)
    encoder = ChatEncoder(tokenizer)
    assert encoder.backend == "hf"
    assert "has its own way of encoding" in encoder.backend.reason
    assert "WHICH" in tokenizer.decode(encoder.encode(MESSAGES).input_ids)
