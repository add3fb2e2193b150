"""Very many encodes by one encoder, no two alike: of texts, of a template's keywords, of rows that fail.

Words are of a vocabulary, as in any language. Words that never come again, such as the number of each encode, would
fill the native tokenizer's table of words, which has a bound of its own, far beyond these encodes.
"""

from __future__ import annotations

import string

from cases import CHATML, assistant, user
from chatspan import ChatEncoder, ChatspanError

from attack.attacks import BY_NAME
from attack.fuzzers import small
from attack.fuzzers.plateau import plateau
from attack.tries import Attempt, Setting

_ENCODES = 200_000
# Of so many encodes one has a keyword with a value that none had before, and one fails.
_WITH_KEYWORD, _FAILING = 40, 50
_TEMPLATE = "{{ today }}\n" + CHATML
# So small that it is full at half of the encodes.
_CACHE_BYTES = 2**21
_WORDS = 5000


def start(setting: Setting) -> Attempt:
    """A try is a part of the encodes."""
    encoder = ChatEncoder(small.tokenizer(), chat_template=_TEMPLATE, backend="native", cache_bytes=_CACHE_BYTES)
    parts = BY_NAME[setting.name].count or 1

    chance = setting.random(-1)
    words = ["".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 9))) for _ in range(_WORDS)]

    def part(number: int) -> float:
        chance = setting.random(number)
        for index in range(_ENCODES // parts):
            count = number * (_ENCODES // parts) + index
            # Of each number two words of its own.
            told = f"{words[count % _WORDS]} {words[count // _WORDS]}"
            one(encoder, f"{' '.join(chance.choices(words, k=8))} {told}", told, count)
        return 0

    return plateau(part, parts, _ENCODES // parts)


def one(encoder: ChatEncoder, text: str, day: str, number: int) -> None:
    """One encode, its mask and its labels."""
    messages = [user(text), assistant("Yes.")]
    if number % _FAILING == 0:
        try:
            encoder.encode([{"role": "user", "content": number}, *messages], today="", max_length=1 + number % 3)
        except ChatspanError:
            return
    today = day if number % _WITH_KEYWORD == 0 else "today"
    special_tokens = "escape" if number % 3 == 0 else "as_rendered"
    encoder.encode(messages, today=today, special_tokens=special_tokens).labels()  # type: ignore[arg-type]
