"""Many tokenizers, each loaded natively, or refused and left to transformers, and thrown away.

What tokenizers itself keeps of each that has encoded the texts of the test at load, some 0.2 MiB, is measured beside it
on as many others, and left out for both.
"""

from __future__ import annotations

from typing import Any

from cases import assistant, user
from chatspan import ChatEncoder
from chatspan.tokenize.admission import adversarial_texts
from tokenizers import AddedToken
from transformers import AutoTokenizer
from zoo import EXAMPLES

from attack.attacks import BY_NAME
from attack.fuzzers.plateau import plateau, resident_mib
from attack.tries import Attempt, Setting

_COUNT = 100
_MESSAGES = [user("Hi"), assistant("Yes.")]


def start(setting: Setting) -> Attempt:
    """A try is a part of the tokenizers."""
    parts = BY_NAME[setting.name].count or 1

    def part(number: int) -> float:
        before = resident_mib()
        for index in range(_COUNT // parts):
            tokenizer = one_more(f"<own {number}-{index}>", index)
            if not takes_blanks(index):
                tokenizer.backend_tokenizer.encode_batch(adversarial_texts(tokenizer), add_special_tokens=False)
        del tokenizer
        own = resident_mib() - before
        for index in range(_COUNT // parts):
            encoder = ChatEncoder(one_more(f"<{number}-{index}>", index))
            encoder.warm_up()
            assert encoder.backend == ("hf" if takes_blanks(index) else "native"), encoder.backend.reason
            encoder.encode(_MESSAGES, special_tokens="escape").mask()
        return 2 * own

    return plateau(part, parts, _COUNT // parts)


def takes_blanks(index: int) -> bool:
    """Whether a tokenizer is one of those with a token that no native one has."""
    return index % 5 == 0


def one_more(token: str, index: int) -> Any:
    """A tokenizer that is like no other."""
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    tokenizer.add_tokens([AddedToken(token, normalized=False, lstrip=takes_blanks(index))])
    return tokenizer
