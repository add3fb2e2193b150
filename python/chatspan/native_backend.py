"""Text → ids and offsets in Rust, for tokenizers that are proven to come out as transformers' own."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Any, Union

from chatspan import _core
from chatspan._core import Segments
from chatspan.admission import require_equal
from chatspan.errors import BackendError
from chatspan.hf_backend import HFBackend
from chatspan.tokens import Tokens


class NativeBackend:
    """A tokenizer made in Rust, and transformers' own for the texts that it leaves to that one."""

    name = "native"

    def __init__(self, native: _core.NativeTokenizer, hf: HFBackend, fell_back: Counter[str]) -> None:
        self.core = native
        self._hf = hf
        self._fell_back = fell_back

    def encode_batch(self, texts: Sequence[str], segments: Sequence[Segments] | None = None) -> list[Tokens]:
        """The tokens of texts, on all cores; with segments also whose each is."""
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


def known_native(tokenizer: Any, cache_bytes: int) -> _core.NativeTokenizer | None:
    """The native tokenizer of an HF tokenizer, if it was loaded before and that one has not changed since.

    Raises:
        BackendError: it was refused before.
    """
    known = _OF_TOKENIZER.get(tokenizer)
    if known is None or known[0] != (*state_of(tokenizer), cache_bytes):
        return None
    return _checked(known[1])


def load_native(tokenizer: Any, cache_bytes: int) -> _core.NativeTokenizer:
    """The native tokenizer of an HF tokenizer, as that one is now. The same one for the same ``tokenizer.json``.

    Raises:
        BackendError: with the reason.
    """
    hf = HFBackend(tokenizer)
    if not hf.is_plain:
        raise BackendError(f"{type(tokenizer).__name__} encodes in a way of its own")
    native = known_native(tokenizer, cache_bytes)
    if native is not None:
        return native
    state = (*state_of(tokenizer), cache_bytes)
    with _LOCK.held:
        found = _find(tokenizer, hf, cache_bytes)
        _OF_TOKENIZER[tokenizer] = (state, found)
    return _checked(found)


def _find(tokenizer: Any, hf: HFBackend, cache_bytes: int) -> Found:
    """The native tokenizer, known by its ``tokenizer.json`` or made and tested now; or why there is none."""
    if not hasattr(_core, "NativeTokenizer"):
        return BackendError("this build of chatspan has no native tokenizers")
    backend = tokenizer.backend_tokenizer
    if getattr(tokenizer, "split_special_tokens", False) or backend.encode_special_tokens:
        return BackendError("split_special_tokens: control tokens are encoded as text")
    json = backend.to_str()
    key = (hashlib.sha256(json.encode()).hexdigest(), cache_bytes)
    known: Found | None = _REFUSED.get(key) or _LOADED.get(key)
    if known is not None:
        return known
    try:
        native = _core.NativeTokenizer(json, cache_bytes=cache_bytes)
        require_equal(tokenizer, hf, NativeBackend(native, hf, Counter()))
        _warm_up(native)
    except BackendError as error:
        _REFUSED[key] = error
        return error
    _LOADED[key] = native
    return native


def _warm_up(native: _core.NativeTokenizer) -> None:
    """Has the core make its tables of words, which else the first rows wait 0.1 s for."""
    text = "\n".join(f"The number of words in text {index} is not known." for index in range(500))
    # By itself, since a row of a batch does without the table of whole words; then a batch, which wakes the threads.
    native.encode_batch([text], None)
    native.encode_batch([text, text], None)


def _checked(found: Found) -> _core.NativeTokenizer:
    if isinstance(found, BackendError):
        raise type(found)(found.message)
    return found


def state_of(tokenizer: Any) -> tuple[Any, ...]:
    """What changes when tokens are added to a tokenizer, or its backend is another one."""
    backend = tokenizer.backend_tokenizer
    return (id(backend), backend.get_vocab_size(True), *tokenizer.special_tokens_map.values())


class _Lock:
    """A lock that a forked process has anew: whoever held it is not there."""

    def __init__(self) -> None:
        self.held = threading.RLock()


_LOCK = _Lock()
Found = Union["_core.NativeTokenizer", BackendError]
# By the hash of the tokenizer.json and the size of the cache: what some tokenizer uses, and what was refused.
_LOADED: weakref.WeakValueDictionary[tuple[str, int], Any] = weakref.WeakValueDictionary()
_REFUSED: dict[tuple[str, int], BackendError] = {}
# A native tokenizer stays for as long as the tokenizer that it was made of.
_OF_TOKENIZER: weakref.WeakKeyDictionary[Any, tuple[tuple[Any, ...], Found]] = weakref.WeakKeyDictionary()


def _before_fork() -> None:
    """Nothing is loaded while a process forks, and the core's threads, which wait actively for 50 µs, are asleep."""
    _LOCK.held.acquire()
    if _LOADED:
        time.sleep(0.002)


def _after_fork_in_child() -> None:
    _LOCK.held = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _LOCK.held.release(),
        after_in_child=_after_fork_in_child,
    )
