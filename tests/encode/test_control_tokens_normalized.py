"""Control tokens that a tokenizer's normalizer, or its model, makes of other text."""

from __future__ import annotations

from typing import Any

import pytest
from cases import user
from chatspan import ChatEncoder, ControlTokenError
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CONTROLS = ["<|im_start|>", "<|im_end|>", "<unk>"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<tool_call>"
LETTERS = [chr(code) for code in range(32, 127)] + ["\n", "é"]


def wrapped(tokenizer: Tokenizer) -> Any:
    own = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", unk_token="<unk>"
    )
    own.add_tokens([AddedToken("<tool_call>", normalized=True)])
    own.chat_template = TEMPLATE
    return own


def by_bytes(normalizer: Any) -> Any:
    vocab = {letter: index for index, letter in enumerate([*CONTROLS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return wrapped(tokenizer)


def by_unigrams(normalizer: Any) -> Any:
    """The model has the control tokens among its own, which have the best score."""
    tokenizer = Tokenizer(models.Unigram([*((token, 0.0) for token in CONTROLS), *((c, -5.0) for c in LETTERS)], 2))
    tokenizer.normalizer = normalizer
    return wrapped(tokenizer)


def with_byte_fallback() -> Any:
    """Bytes are special tokens here, as some trainers leave them."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {token: index for index, token in enumerate([*CONTROLS, *bytes_, *LETTERS[:-1]])}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.add_special_tokens(bytes_)
    return wrapped(tokenizer)


NORMALIZED = {
    "full width": (by_bytes(normalizers.NFKC()), "a＜tool_call＞b", "<tool_call>", "＜tool_call＞"),
    "capitals": (by_bytes(normalizers.Lowercase()), "a<TOOL_CALL>b", "<tool_call>", "<TOOL_CALL>"),
    "taken out": (by_bytes(normalizers.Replace("\u200d", "")), "<tool\u200d_call>", "<tool_call>", "<tool\u200d_call>"),
    "put in": (by_bytes(normalizers.Replace("§", "<tool_call>")), "a§b", "<tool_call>", "§"),
    "by a pattern": (by_bytes(normalizers.Replace(Regex("_+"), "_")), "<tool___call>", "<tool_call>", "<tool___call>"),
    "of the model": (by_unigrams(normalizers.NFKC()), "＜|im_end|＞", "<|im_end|>", "＜|im_end|＞"),
    "accents": (
        by_bytes(normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])),
        "<tóol_cåll>",
        "<tool_call>",
        "<tóol_cåll>",
    ),
}


def control_ids(tokenizer: Any, ids: Any) -> list[str]:
    return [token for token in tokenizer.convert_ids_to_tokens(ids) if token in tokenizer.get_added_vocab()]


@pytest.mark.parametrize("case", NORMALIZED)
def test_what_a_normalizer_makes_a_control_token_of_is_escaped(case: str) -> None:
    tokenizer, content, token, received = NORMALIZED[case]
    encoder = ChatEncoder(tokenizer)
    messages = [user("a"), user(f"x{content}y")]
    harmless = control_ids(tokenizer, encoder.encode([user("a"), user("xy")]).input_ids)
    as_rendered = encoder.encode(messages)
    assert control_ids(tokenizer, as_rendered.input_ids).count(token) == harmless.count(token) + 1
    escaped = encoder.encode(messages, special_tokens="escape")
    assert control_ids(tokenizer, escaped.input_ids) == harmless
    assert escaped.text == as_rendered.text
    with pytest.raises(ControlTokenError) as caught:
        encoder.encode(messages, special_tokens="error")
    assert (caught.value.message_index, caught.value.path, caught.value.received) == (1, ("content",), received)
    assert caught.value.start_char == escaped.text.index(received)
    if received != token:
        assert f"which read {received!r}" in str(caught.value)


def test_an_unknown_character_is_no_control_token_but_its_name_is() -> None:
    tokenizer = by_unigrams(None)
    encoder = ChatEncoder(tokenizer)
    unknown = encoder.encode([user("🚆")], special_tokens="error")
    assert unknown.input_ids.tolist().count(tokenizer.unk_token_id) == 1
    with pytest.raises(ControlTokenError, match="its text holds the control token '<unk>'"):
        encoder.encode([user("a<unk>")], special_tokens="error")
    escaped = encoder.encode([user("a<unk>")], special_tokens="escape")
    assert tokenizer.unk_token_id not in escaped.input_ids


def test_the_bytes_of_a_character_are_no_control_tokens() -> None:
    tokenizer = with_byte_fallback()
    encoder = ChatEncoder(tokenizer)
    assert "<0xC3>" in tokenizer.convert_ids_to_tokens(encoder.encode([user("é")], special_tokens="error").input_ids)
    with pytest.raises(ControlTokenError, match="its text holds the control token '<0xC3>'"):
        encoder.encode([user("<0xC3>")], special_tokens="error")
    escaped = encoder.encode([user("<0xC3>")], special_tokens="escape")
    assert "<0xC3>" not in tokenizer.convert_ids_to_tokens(escaped.input_ids)


def test_what_cannot_be_escaped_is_refused() -> None:
    """A control token of one character is one in plain text, too."""
    tokenizer = by_bytes(None)
    tokenizer.add_special_tokens({"additional_special_tokens": ["é", "~"]})
    encoder = ChatEncoder(tokenizer)
    with pytest.raises(ControlTokenError, match="it cannot be escaped: the tokenizer makes the control token from"):
        encoder.encode([user("a~b")], special_tokens="escape")
    assert "é" not in control_ids(tokenizer, encoder.encode([user("é")], special_tokens="escape").input_ids)


def test_blanks_that_a_token_takes_along_are_not_of_it() -> None:
    """Phi-3's control tokens take the blanks behind them, which may be a field's."""
    tokenizer = by_bytes(None)
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<|user|>", rstrip=True, lstrip=True)]})
    template = "{% for m in messages %}{{ m.content }}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    encoder = ChatEncoder(tokenizer, chat_template=template)
    encoding = encoder.encode([user("  Hi ")], special_tokens="error")
    assert control_ids(tokenizer, encoding.input_ids) == ["<|user|>"]
