"""Text → ids and offsets in Rust, for tokenizers that are proven to come out as transformers' own."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Union

from chatspan._core import NativeRender, Segments, look_up_numpy
from chatspan.errors import BackendError
from chatspan.forks import loading
from chatspan.tokenize.admission import require_equal
from chatspan.tokenize.ahead import made_ahead
from chatspan.tokenize.cuts import alike_characters
from chatspan.tokenize.hf import HFBackend
from chatspan.tokenize.tokens import Tokens

try:
    from chatspan._core import NativeTokenizer
except ImportError:
    # A build without the tokenizer's crates.
    NativeTokenizer = None  # type: ignore[assignment,misc]


class NativeBackend:
    """A tokenizer made in Rust, and transformers' own for the texts that it leaves to that one."""

    name = "native"

    def __init__(self, native: NativeTokenizer, hf: HFBackend, fell_back: Counter[str]) -> None:
        self.core = native
        self._hf = hf
        self._fell_back = fell_back

    def encode_batch(
        self, texts: Sequence[str | NativeRender], segments: Sequence[Segments] | None = None
    ) -> list[Tokens]:
        """The tokens of texts or renders, on all cores; with segments also whose each is."""
        rows = self.core.encode_batch(list(texts), None if segments is None else list(segments))
        left = [index for index, row in enumerate(rows) if row is None]
        own = iter(self._hf.encode_batch([texts[index] for index in left]))
        self._fell_back["rows"] += len(left)
        return [next(own) if row is None else Tokens(row[0], row[1], self.name, row[2]) for row in rows]

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text in which there are no control tokens."""
        ids = self.core.encode_plain(text)
        return self._hf.encode_plain(text) if ids is None else ids

    def token(self, token_id: int) -> str | None:
        """The token of an id, as it stands in the vocabulary."""
        return self.core.token(token_id)


class State(NamedTuple):
    """A tokenizer's settings at some time.

    Attributes:
        quick: what is looked at before each row; see :func:`quick_state`.
        next_id: the id that the next added token would get.
        added: the added tokens, by what they are and do.
    """

    quick: tuple[Any, ...]
    next_id: int
    added: tuple[Any, ...]


def state_of(tokenizer: Any) -> State:
    """A tokenizer's settings now. Takes milliseconds where there are thousands of added tokens."""
    backend = tokenizer.backend_tokenizer
    found = backend.get_added_tokens_decoder()
    added = tuple((index, repr(token)) for index, token in found.items())
    next_id = max(backend.get_vocab_size(False), max(found, default=-1) + 1)
    return State(quick_state(tokenizer, next_id), next_id, added)


def quick_state(tokenizer: Any, next_id: int) -> tuple[Any, ...]:
    """What changes when tokens are added that are not in the vocabulary, or a part of the tokenizer is another one."""
    backend = tokenizer.backend_tokenizer
    parts = (backend.normalizer, backend.pre_tokenizer, backend.post_processor)
    return (
        id(backend),
        backend.id_to_token(next_id),
        backend.encode_special_tokens,
        getattr(tokenizer, "split_special_tokens", False),
        *(None if part is None else part.__getstate__() for part in parts),
        *tokenizer.special_tokens_map.values(),
    )


def known_native(tokenizer: Any, state: State, cache_bytes: int) -> NativeTokenizer | None:
    """The native tokenizer of an HF tokenizer in this state, if it was loaded before.

    Raises:
        BackendError: it was refused before.
    """
    known = _OF_TOKENIZER.get(tokenizer)
    return _checked(known[1]) if known is not None and known[0] == (state, cache_bytes) else None


def load_native(tokenizer: Any, state: State, cache_bytes: int) -> NativeTokenizer:
    """The native tokenizer of an HF tokenizer in the state that it is in. The same one for the same ``tokenizer.json``.

    Raises:
        BackendError: with the reason.
    """
    native = known_native(tokenizer, state, cache_bytes)
    if native is not None:
        return native
    with loading():
        found = _find(tokenizer, HFBackend(tokenizer), cache_bytes)
        _OF_TOKENIZER[tokenizer] = ((state, cache_bytes), found)
    return _checked(found)


def _find(tokenizer: Any, hf: HFBackend, cache_bytes: int) -> Found:
    """The native tokenizer, known by its ``tokenizer.json`` or made and tested now; or why there is none."""
    if NativeTokenizer is None:
        return BackendError("this build of chatspan has no native tokenizers")
    if getattr(tokenizer, "split_special_tokens", False) or tokenizer.backend_tokenizer.encode_special_tokens:
        return BackendError("split_special_tokens: control tokens are encoded as text")
    tokenizer_json = _json_of(tokenizer)
    key = (hashlib.sha256(tokenizer_json.encode()).hexdigest(), cache_bytes)
    known: Found | None = _REFUSED.get(key) or _LOADED.get(key)
    if known is not None:
        return known
    try:
        native = made_ahead(tokenizer_json, cache_bytes)
        if native is None:
            native = NativeTokenizer(tokenizer_json, cache_bytes=cache_bytes)
        if native.is_unproven():
            native.set_alike(alike_characters(tokenizer.backend_tokenizer.pre_tokenizer, native))
        require_equal(tokenizer, hf, NativeBackend(native, hf, Counter()))
        _warm_up(native)
    except BackendError as error:
        if len(_REFUSED) >= _MOST_REFUSED:
            _REFUSED.clear()
        # Another one, since its frames hold the tokenizer, which would then be kept for ever.
        refused = _REFUSED[key] = type(error)(error.message)
        return refused
    _LOADED[key] = native
    return native


def _json_of(tokenizer: Any) -> str:
    """The ``tokenizer.json``, without truncation and padding that an earlier call left and the next one takes out.

    What the tokenizer had from the beginning stays, to be refused.
    """
    text: str = tokenizer.backend_tokenizer.to_str()
    rest = text.find('"added_tokens"')
    head = json.loads(text[:rest].rstrip().rstrip(",") + "}")
    # PreTrainedTokenizerFast notes what it finds in the JSON as these arguments.
    for name, argument in (("truncation", "truncation_strategy"), ("padding", "pad_to_multiple_of")):
        if argument not in tokenizer.init_kwargs:
            head[name] = None
    return json.dumps(head)[:-1] + ", " + text[rest:]


def _warm_up(native: NativeTokenizer) -> None:
    """Has the core make its tables of words, which else the first rows wait 0.1 s for."""
    text = "\n".join(f"The number of words in text {index} is not known." for index in range(500))
    # By itself, since a row of a batch does without the table of whole words; then a batch, which wakes the threads.
    native.encode_batch([text], None)
    native.encode_batch([text, text], None)


def _checked(found: Found) -> NativeTokenizer:
    if isinstance(found, BackendError):
        raise type(found)(found.message)
    return found


Found = Union["NativeTokenizer", BackendError]
# By the hash of the tokenizer.json and the size of the cache: what some tokenizer uses, and what was refused.
_LOADED: weakref.WeakValueDictionary[tuple[str, int], Any] = weakref.WeakValueDictionary()
_REFUSED: dict[tuple[str, int], BackendError] = {}
_MOST_REFUSED = 256
# A native tokenizer stays for as long as the tokenizer that it was made of.
_OF_TOKENIZER: weakref.WeakKeyDictionary[Any, tuple[tuple[State, int], Found]] = weakref.WeakKeyDictionary()
# Now, since a fork cuts short what another thread looks up.
look_up_numpy()
