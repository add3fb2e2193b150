"""Whether two engines cut texts into words alike, by a pattern that nobody has compared before.

HF's is Oniguruma, that of the native tokenizer PCRE2. The core takes patterns only of parts that mean the same in both.
What may differ is to which classes (``\\p{L}``, ``\\s``) a character belongs: each has its own version of Unicode, and
``\\p{Han}`` is the script in one, and all that the script uses in the other.
"""

from __future__ import annotations

import random
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatspan.errors import BackendMismatchError

if TYPE_CHECKING:
    from chatspan._core import NativeTokenizer

# Characters of a category that are looked at together, and groups that are cut at once.
_RUN, _GROUPS = 32, 200
# Of no use in a text: not assigned, private, half of a pair.
_LEFT_OUT = frozenset({"Cn", "Co", "Cs"})
# What case, blanks and line ends depend on.
_SPECIAL = "\u017f\u212a\u0130\u0131'’ \u00a0\u3000\u0085\u2028\x0b\x1c\r\n\t0٣½Ⅻ_-./<|>"
_MIXED, _LONGEST = 6_000, 10
# What was found, by the steps that cut.
_KNOWN: dict[bytes, str] = {}


def alike_characters(pre_tokenizer: Any, native: NativeTokenizer) -> str:
    """The characters that are of the same classes for both, and at which both cut alike.

    They are cut next to letters, digits, blanks, line ends and each other.

    Args:
        pre_tokenizer: that of :mod:`tokenizers`.

    Raises:
        BackendMismatchError: texts of these characters are cut differently; with one of them.
    """
    key = bytes(pre_tokenizer.__getstate__())
    if key not in _KNOWN:
        cut = _Cut(pre_tokenizer, native)
        others = str.maketrans(dict.fromkeys(_of_other_classes(native)))
        runs = (run.translate(others) for run in _runs())
        alike = "".join(cut.alike([run for run in runs if run]))
        cut.require_alike(_mixed(alike))
        _KNOWN[key] = alike
    return _KNOWN[key]


def _of_other_classes(native: NativeTokenizer) -> set[str]:
    """The characters that belong to a class of the patterns in one engine alone.

    Where several characters in a row belong to it, both cut only before and behind all of them.
    """
    # Loads late, with the tokenizer.
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    # The letter in front is of the same classes in both.
    text = "a" + "".join(_runs())
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    model = models.BPE({letter: at for at, letter in enumerate(sorted(in_bytes.alphabet()))}, [])
    found: set[str] = set()
    for each in native.classes():
        own = pre_tokenizers.Split(Regex(f"{each}++"), "isolated")
        made = Tokenizer(model)
        made.pre_tokenizer = pre_tokenizers.Sequence([own, in_bytes])
        theirs = type(native)(made.to_str(), cache_bytes=0).cut(text)
        if theirs is None:
            raise BackendMismatchError(f"the native tokenizer does not cut texts by {each}")
        is_border = np.zeros(len(text) + 1, dtype=bool)
        is_border[[end for _, (_, end) in own.pre_tokenize_str(text)]] = True
        is_border[np.searchsorted(_bytes_before(text), theirs)] ^= True
        found.update(text[at] for at in np.flatnonzero(np.logical_xor.accumulate(is_border)[:-1]).tolist())
    return found


class _Cut:
    def __init__(self, pre_tokenizer: Any, native: NativeTokenizer) -> None:
        self._own, self._native = pre_tokenizer, native

    def alike(self, runs: Sequence[str]) -> Iterator[str]:
        """Those of the runs at which both cut alike; of a run at which they do not, the characters at which they do."""
        each = iter(runs)
        while some := list(islice(each, _GROUPS)):
            for run, is_alike in zip(some, self._are_alike(some), strict=True):
                if is_alike:
                    yield run
                elif len(run) > 1:
                    yield from self.alike(list(run))

    def _are_alike(self, runs: Sequence[str]) -> list[bool]:
        texts = [f"a{run}a {run}1{run}\nA{run} {run[0]}\n" for run in runs]
        if self._is_alike("".join(texts)):
            return [True] * len(runs)
        return [self._is_alike(text) for text in texts]

    def _is_alike(self, text: str) -> bool:
        return np.array_equal(*self._both(text))

    def _both(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The byte behind each word, by HF's engine and by the native one."""
        bytes_before = _bytes_before(text)
        own = np.array([bytes_before[end] for _, (_, end) in self._own.pre_tokenize_str(text)], dtype=np.int64)
        found = self._native.cut(text)
        return own, np.array([-1]) if found is None else found.astype(np.int64)

    def require_alike(self, texts: Iterable[str]) -> None:
        """Refuses what a text is cut into differently.

        Raises:
            BackendMismatchError: with the first word that is another one.
        """
        for text in texts:
            own, found = self._both(text)
            if not np.array_equal(own, found):
                ends = zip([0, *own.tolist()], own.tolist(), found.tolist(), strict=False)
                start, *both = next((each for each in ends if each[1] != each[2]), (0, len(text), len(text)))
                theirs, ours = (text.encode()[start:end].decode("utf-8", "replace") for end in both)
                raise BackendMismatchError(
                    f"the native tokenizer cuts the word {ours!r:.60} out of {text!r:.90}, transformers' {theirs!r:.60}"
                )


def _bytes_before(text: str) -> NDArray[np.int64]:
    """How many bytes of UTF-8 stand before each character, and before the end."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    widths = 1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF).astype(np.int64)
    return np.concatenate(([0], np.cumsum(widths)))


@lru_cache(maxsize=1)
def _runs() -> tuple[str, ...]:
    """All characters of Unicode that a text may have, neighbours of a category together."""
    found: list[str] = []
    for category, group in groupby(map(chr, range(sys.maxunicode + 1)), unicodedata.category):
        if category not in _LEFT_OUT:
            run = "".join(group)
            found += [run[start : start + _RUN] for start in range(0, len(run), _RUN)]
    return tuple(found)


def _mixed(alike: str) -> Iterator[str]:
    """Short texts of a few characters of each category, the same ones each time."""
    draw = random.Random(0)
    known = set(alike)
    letters = [run[0] for run in draw.sample(_runs(), 60) if run[0] in known]
    letters += [letter for letter in _SPECIAL if letter in known]
    letters += [letter for letter in map(chr, range(0x21, 0x7F)) if letter in known]
    often = [letter for letter in " \n\r'1sStTlLveEmMdDa.," if letter in known]
    for _ in range(_MIXED // _LONGEST):
        words = ["".join(draw.choices((*letters, *often * 6), k=draw.randint(1, _LONGEST))) for _ in range(_LONGEST)]
        yield "".join(words)
