"""Random tokenizers, and the project's own changed at random: ids and offsets are those of the tokenizer itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from random import Random
from typing import Any

from adversarial import adversarial_texts
from cases import CHATML, TRICKY_CONTENTS, assistant, user
from chatspan import ChatEncoder, ChatspanError
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from attack.fuzzers import small
from attack.tries import Attempt, Outcome, Setting, failed, refused, right, told_of

CONTROLS = ["<|im_start|>", "<|im_end|>"]
WORDS = [*"abcdefghij", "the", "train", "Köln", "é", "e\u0301", "🚆", "你好", "  ", "\n", "'s", "1234", "Größe", "ﬁ"]
_CORPUS = [" ".join(WORDS) + "\n" + text[:200] for text in TRICKY_CONTENTS.values() if "\0" not in text]
# Conversations that a tokenizer encodes.
_CONVERSATIONS = 6

_NORMALIZERS: list[Callable[[Random], Any]] = [
    *(lambda _, made=made: made() for made in (normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD)),
    *(lambda _, made=made: made() for made in (normalizers.Lowercase, normalizers.StripAccents, normalizers.Nmt)),
    lambda chance: normalizers.Strip(left=chance.random() < 0.5, right=chance.random() < 0.5),
    lambda chance: normalizers.Replace(chance.choice(["a", " ", "é", "  "]), chance.choice(["", "▁", "xx", "b"])),
    lambda chance: normalizers.Replace(Regex(chance.choice([" {2,}", "[0-9]", "\\s+"])), chance.choice(["", " ", "0"])),
    lambda chance: normalizers.Prepend(chance.choice(["▁", "x"])),
    lambda chance: normalizers.BertNormalizer(lowercase=chance.random() < 0.5),
    lambda chance: normalizers.ByteLevel(),
]
_PRE_TOKENIZERS: list[Callable[[Random], Any]] = [
    lambda chance: pre_tokenizers.ByteLevel(add_prefix_space=chance.random() < 0.3, use_regex=chance.random() < 0.8),
    lambda chance: pre_tokenizers.ByteLevel(add_prefix_space=False),
    lambda chance: pre_tokenizers.Metaspace(
        prepend_scheme=chance.choice(["always", "first", "never"]), split=chance.random() < 0.5
    ),
    lambda _: pre_tokenizers.Whitespace(),
    lambda _: pre_tokenizers.WhitespaceSplit(),
    lambda _: pre_tokenizers.BertPreTokenizer(),
    lambda chance: pre_tokenizers.Digits(individual_digits=chance.random() < 0.5),
    lambda chance: pre_tokenizers.Punctuation(),
    lambda _: pre_tokenizers.UnicodeScripts(),
    lambda chance: pre_tokenizers.Split(
        Regex(chance.choice(["\\s+", "[^\\s]+", "(?=[A-Z])", "\\p{N}{1,3}"])),
        chance.choice(["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]),
        invert=chance.random() < 0.3,
    ),
]


def start(setting: Setting) -> Attempt:
    """A try is one tokenizer, loaded natively where it can be, and some conversations."""
    example = json.loads(small.tokenizer().backend_tokenizer.to_str())

    def attempt(number: int) -> Outcome:
        chance = setting.random(number)
        try:
            with setting.judge():
                tokenizer = made(chance) if chance.random() < 0.5 else changed(example, chance)
                conversations = list(islice(_conversations(chance), _CONVERSATIONS))
                wanted = [own(tokenizer, messages) for messages in conversations]
        except (KeyboardInterrupt, MemoryError):
            raise
        # A panic of the library's own is no ``Exception``.
        except BaseException as error:
            return refused(f"by tokenizers itself: {type(error).__name__}")
        return compare(tokenizer, conversations, wanted)

    return attempt


def wrapped(backend: Tokenizer, **keywords: Any) -> Any:
    """As transformers has it, with a chat template."""
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=CHATML, eos_token=CONTROLS[1], **keywords)


def made(chance: Random) -> Any:
    """A tokenizer of random parts, trained on little."""
    kind = chance.choice(["bpe", "bpe", "bpe", "wordpiece", "unigram", "wordlevel"])
    unknown = {"unk_token": "[UNK]"} if kind != "bpe" or chance.random() < 0.3 else {}
    options: dict[str, Any] = {"special_tokens": [*unknown.values(), *CONTROLS], "show_progress": False}
    if kind == "bpe":
        extra = {name: True for name in ("byte_fallback", "ignore_merges", "fuse_unk") if chance.random() < 0.3}
        backend = Tokenizer(models.BPE(**unknown, **extra))
        if extra.get("byte_fallback"):
            options["special_tokens"] += [f"<0x{byte:02X}>" for byte in range(256)]
        trainer: Any = trainers.BpeTrainer(vocab_size=chance.choice([300, 600]), **options)
        if chance.random() < 0.7:
            trainer.initial_alphabet = pre_tokenizers.ByteLevel.alphabet()
    elif kind == "wordpiece":
        backend = Tokenizer(models.WordPiece(**unknown))
        trainer = trainers.WordPieceTrainer(vocab_size=300, **options)
    elif kind == "unigram":
        backend = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=200, unk_token="[UNK]", **options)
    else:
        backend = Tokenizer(models.WordLevel(**unknown))
        trainer = trainers.WordLevelTrainer(vocab_size=200, **options)
    with_parts(backend, chance)
    backend.train_from_iterator(_CORPUS, trainer)
    with_tokens(backend, chance)
    return wrapped(backend, **unknown)


def with_parts(backend: Tokenizer, chance: Random) -> None:
    """A normalizer, a pre-tokenizer and a post-processor, or none of them."""
    if chance.random() < 0.6:
        backend.normalizer = _sequence(normalizers.Sequence, _NORMALIZERS, chance)
    if chance.random() < 0.9:
        backend.pre_tokenizer = _sequence(pre_tokenizers.Sequence, _PRE_TOKENIZERS, chance)
    if chance.random() < 0.4:
        backend.post_processor = processors.ByteLevel(
            trim_offsets=chance.random() < 0.7, add_prefix_space=chance.random() < 0.3
        )


def _sequence(sequence: Any, makers: list[Callable[[Random], Any]], chance: Random) -> Any:
    parts = [chance.choice(makers)(chance) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
    return parts[0] if len(parts) == 1 and chance.random() < 0.7 else sequence(parts)


def with_tokens(backend: Tokenizer, chance: Random) -> None:
    """Added tokens with odd flags."""
    for _ in range(chance.choice([0, 1, 2, 5])):
        content = chance.choice(
            [*WORDS, "<think>", "<|im", "|>", "tra", "e\u0301t", "X" * 20, "<|im_end|><|im_start|>"]
        )
        flags = {name: chance.random() < 0.2 for name in ("single_word", "lstrip", "rstrip", "special")}
        backend.add_tokens([AddedToken(content, normalized=chance.random() < 0.5, **flags)])


def changed(example: dict[str, Any], chance: Random) -> Any:
    """The project's own tokenizer with some of its settings, tokens or merges changed."""
    found = json.loads(json.dumps(example))
    for _ in range(chance.choice([0, 1, 1, 2, 3])):
        change(found, chance)
    backend = Tokenizer.from_str(json.dumps(found))
    if chance.random() < 0.5:
        with_tokens(backend, chance)
    return wrapped(backend)


def change(found: dict[str, Any], chance: Random) -> None:
    """Changes one thing of a ``tokenizer.json``."""
    model = found["model"]
    how = chance.choice(["part", "part", "merges", "merges", "vocab", "flag", "token", "token", "post"])
    if how == "part":
        name, makers = chance.choice([("normalizer", _NORMALIZERS), ("pre_tokenizer", _PRE_TOKENIZERS)])
        part = chance.choice(makers)(chance) if chance.random() < 0.8 else None
        found[name] = None if part is None else json.loads(part.__getstate__())
    elif how == "merges":
        merges = model["merges"]
        one, other = chance.randrange(len(merges)), chance.randrange(len(merges))
        if chance.random() < 0.5:
            del merges[min(one, other) : min(one, other) + chance.choice([1, 5, 50])]
        else:
            merges[one], merges[other] = merges[other], merges[one]
    elif how == "vocab":
        one, other = chance.sample(list(model["vocab"]), 2)
        model["vocab"][one], model["vocab"][other] = model["vocab"][other], model["vocab"][one]
    elif how == "flag":
        name = chance.choice(["byte_fallback", "ignore_merges", "fuse_unk", "continuing_subword_prefix"])
        model[name] = "##" if name == "continuing_subword_prefix" else not model.get(name)
    elif how == "token":
        token = chance.choice(found["added_tokens"])
        name = chance.choice(["single_word", "lstrip", "rstrip", "normalized", "special"])
        token[name] = not token[name]
    else:
        processor = processors.ByteLevel(trim_offsets=chance.random() < 0.5, add_prefix_space=chance.random() < 0.5)
        found["post_processor"] = json.loads(processor.__getstate__())


def _conversations(chance: Random) -> Any:
    contents = list(TRICKY_CONTENTS.values())
    for text in adversarial_texts(chance.randrange(1 << 30), WORDS, [*CONTROLS, "<think>"]):
        other = chance.choice(contents) if chance.random() < 0.3 else text[: chance.randrange(1, 200)]
        yield [user(text), assistant(other[:3000])]


def own(tokenizer: Any, messages: Any) -> tuple[str, list[int], list[tuple[int, int]]]:
    """The text, ids and offsets that transformers gives."""
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    batch = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return text, batch["input_ids"], [(start, end) for start, end in batch["offset_mapping"]]


def compare(tokenizer: Any, conversations: list[Any], wanted: list[Any]) -> Outcome:
    """What chatspan makes of conversations, beside what the tokenizer itself does."""
    said = f"tokenizer {_settings(tokenizer)}\n"
    try:
        encoder = ChatEncoder(tokenizer)
        encoder.warm_up()
        encodings = encoder.encode_batch(conversations)
    except ChatspanError as error:
        return refused(f"{type(error).__name__}")
    except BaseException as error:
        return failed(f"{said}{told_of(error)}")
    for (text, ids, offsets), encoding in zip(wanted, encodings, strict=True):
        found = [(start, end) for start, end in encoding.offsets.tolist()]
        if encoding.text != text:
            return failed(f"{said}another text: {small.first_difference(text, encoding.text)}")
        if encoding.input_ids.tolist() != ids:
            difference = small.first_difference(ids, encoding.input_ids.tolist())
            return failed(f"{said}other ids by {encoding.backend} of {text!r:.300}: {difference}")
        if found != offsets:
            return failed(f"{said}other offsets by {encoding.backend}: {small.first_difference(offsets, found)}")
    by = {str(encoding.backend) for encoding in encodings}
    return right("native" if by == {"native"} else "hf" if by == {"hf"} else "some texts native")


def _settings(tokenizer: Any) -> str:
    found = json.loads(tokenizer.backend_tokenizer.to_str())
    model = {name: value for name, value in found["model"].items() if name not in ("vocab", "merges")}
    return json.dumps({**found, "model": model, "decoder": None})[:1200]
