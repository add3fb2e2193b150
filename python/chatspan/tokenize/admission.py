"""The test that a native tokenizer has to pass before it is used: equal ids and offsets on texts made to break it."""

from __future__ import annotations

import random
from typing import Any

from chatspan.errors import BackendMismatchError

_SCRIPTS = (
    "The quick brown fox jumps over the lazy dog",
    "Größe façade naïve Ångström Œuvre Straße İstanbul ĳ ŉ ǆ",
    "Ελληνικά Русский Українська Հայերեն ქართული",
    "العَرَبِيَّة עִבְרִית فارسی اردو",
    "हिन्दी বাংলা தமிழ் తెలుగు ไทย ພາສາລາວ ខ្មែរ မြန်မာ",
    "日本語のテキスト カタカナ 中文文本 繁體字 한국어 조선말",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒳𝟙𝟚𝟛 ⅷ Ⅻ ½ ² ₃ ① ﬁ ﬄ ＡＢＣ １２３",
)
_DIGITS = (
    "1",
    "12",
    "123",
    "1234567",
    "3.14159",
    "1,000,000",
    "٠١٢٣٤٥",
    "१२३४",
    "2026-11-24T09:00:00Z",
    "0x1F",
    "1e-9",
)
_BLANKS = (
    *(" " * n for n in (1, 2, 3, 4, 7, 8, 16, 33)),
    *("\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", "\t", "\t\t\t", " \n ", "\n  ", "  \n\n  x", "x \t\n"),
    *("\u00a0", "\u2003\u2003", "\u3000", "\u1680", "\u0085", "\u2028", "\u2029", "\x0b\x0c", "\x1c\x1f"),
)
_INVISIBLE = (
    "\u200b",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u00ad",
    "\x00",
    "\x07",
    "\x7f",
    "\ufffd",
    "\U0010fffd",
    "\ue000",
)
_EMOJI = ("😀", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽", "❤️", "☎", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "😀😀😀x😀")
# What NFC composes, reorders, replaces, or leaves alone against expectation.
_COMPOSING = (
    *("e\u0301", "a\u0308\u0323", "a\u0323\u0308", "\u0301x", "x\u0307\u0323y", "\u212b", "\u2126", "\u0344", "\u0958"),
    *(
        "\u1100\u1161\u11a8",
        "\uac00\u11a8",
        "\uf900",
        "\u2adc",
        "o\u0308\u0304",
        "cafe\u0301s",
        "\u0b47\u0b56",
        "\u1e9b\u0323",
    ),
)
_CODE = (
    "it's IT'S we'll WE'LL they've don’t 'tis rock'n'roll I'M y'all'd've 's't",
    'def f(x: int) -> str:\n    return f"{x!r}"  # ok\n\n\nclass A:\n\tpass\n',
    '{"name": "rebook", "arguments": {"train": "IC 900", "n": [1, -2.5e3, null]}}',
    "https://example.org/a/b?c=d&e=%20#f user@example.org C:\\dir\\file.txt ./a.out",
    "camelCaseHTTPServer snake_case_name SCREAMING_CASE kebab-case XMLHttpRequest2",
    "!!! ??? ... --- === *** ~~~ ### ``` <<>> [[]] {{}} (()) \\\\ || && $$ @@ ^^ ;; ::",
    "<think>\nno\n</think>\n\n<tool_call>\n{}\n</tool_call> [INST] <s> </s> <|x|> <0x0A> ▁▁a ▁ Ġ Ċ Ã©",
    "a" * 120,
    "ab" * 60 + " " + "xyz" * 30,
    "hel lo wor ld ing ation s ' s \" . , tokeniz ation un believ able",
)
_TOKENS_TRIED = 24


def _numbers() -> str:
    """Each that there is, of which two libraries may know other ones."""
    return "".join(filter(str.isnumeric, map(chr, (*range(0x3000), *range(0xFF10, 0xFF1A), *range(0x10000, 0x1FBFA)))))


def adversarial_texts(tokenizer: Any) -> list[str]:
    """A few KB of texts, the same ones each time: each difficulty by itself, with its neighbours, and all mixed."""
    pieces = [*_SCRIPTS, _numbers(), *_DIGITS, *_BLANKS, *_INVISIBLE, *_EMOJI, *_COMPOSING, *_CODE]
    draw = random.Random(0)
    contents = [token.content for token in tokenizer.added_tokens_decoder.values()]
    tokens = contents if len(contents) <= _TOKENS_TRIED else draw.sample(contents, _TOKENS_TRIED)
    texts = ["", *pieces, *(f"x{piece}y" for piece in pieces if len(piece) < 12)]
    for token in tokens:
        texts += [token, f"a{token}b", f" {token} \n", token + token, token[:-1], token[1:], f"e\u0301{token}\u0301"]
    for separator in ("", " ", "\n"):
        mixed = [piece for piece in [*pieces, *tokens] if len(piece) < 80]
        draw.shuffle(mixed)
        texts.append(separator.join(mixed))
    return texts


def require_equal(tokenizer: Any, hf: Any, native: Any) -> None:
    """Encodes the adversarial texts with both backends.

    Raises:
        BackendMismatchError: with the first difference.
    """
    texts = adversarial_texts(tokenizer)
    pairs = zip(hf.encode_batch(texts), native.encode_batch(texts), strict=True)
    for text, (own, other) in zip(texts, pairs, strict=True):
        mine = [*zip(own.input_ids.tolist(), map(tuple, own.table.to_array().tolist()), strict=True)]
        theirs = [*zip(other.input_ids.tolist(), map(tuple, other.table.to_array().tolist()), strict=True)]
        if mine == theirs:
            continue
        differing = (i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b)
        at = next(differing, min(len(mine), len(theirs)))
        shown = [
            f"{hf.token(tokens[at][0])!r} at {tokens[at][1]}" if at < len(tokens) else "nothing"
            for tokens in (mine, theirs)
        ]
        raise BackendMismatchError(
            f"the native tokenizer differs from transformers' on {text!r:.60}: token {at} is {shown[1]}, "
            f"transformers' is {shown[0]}"
        )
