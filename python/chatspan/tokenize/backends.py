"""Which tokenizer encodes: the native one where it is proven to be equal, else transformers' own."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol, get_args

from chatspan._core import NativeRender, Segments
from chatspan.errors import BackendError, BackendMismatchError, OptionError, TokenizerError, quoted
from chatspan.forks import LOST, is_lost, warn_of_loss
from chatspan.options import BackendOption, one_of
from chatspan.tokenize.hf import HFBackend
from chatspan.tokenize.native import NativeBackend, State, known_native, load_native, quick_state, state_of
from chatspan.tokenize.tokens import LabelledTokens, Tokens

DEFAULT_CACHE_BYTES = 64 * 2**20
_MOST_BYTES = 2**63 - 1


class Backend(Protocol):
    """What turns text into tokens."""

    name: str

    def encode_batch(
        self, texts: Sequence[str | NativeRender], segments: Sequence[Segments] | None = None
    ) -> list[Tokens]:
        """The tokens of texts or renders; with segments perhaps also whose each is."""

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text in which there are no control tokens."""

    def token(self, token_id: int) -> str | None:
        """The token of an id, as it stands in the vocabulary."""


class BackendName(str):
    """``"native"`` or ``"hf"``.

    Attributes:
        reason: why it is this one.
    """

    __slots__ = ("reason",)
    reason: str

    def __new__(cls, name: str, reason: str) -> BackendName:
        self = str.__new__(cls, name)
        self.reason = reason
        return self

    def __reduce__(self) -> Any:
        return (BackendName, (str.__str__(self), self.reason))

    def __repr__(self) -> str:
        return f"{str.__str__(self)} ({self.reason})"


class BackendMismatchWarning(UserWarning):
    """A native tokenizer came out differently in the test at load, so that transformers' own is used."""


class Backends:
    """The backend of a tokenizer, which is loaded when it is first needed.

    With ``"auto"`` the native one is loaded beside the work: until it is there, transformers' own encodes.

    Raises:
        OptionError: there is no such option.
    """

    def __init__(self, tokenizer: Any, option: BackendOption, cache_bytes: int) -> None:
        if not one_of(option, get_args(BackendOption)):
            raise OptionError(f'backend={quoted(option)}: use "auto", "native" or "hf"')
        if not isinstance(cache_bytes, int) or isinstance(cache_bytes, bool) or cache_bytes < 0:
            raise OptionError(f"cache_bytes={quoted(cache_bytes)}: expected the number of bytes, 0 for no cache")
        if cache_bytes > _MOST_BYTES:
            raise OptionError(f"cache_bytes={quoted(cache_bytes)}: expected the number of bytes, at most {_MOST_BYTES}")
        # What it was made with, by which another one does the same.
        self.arguments = (tokenizer, option, cache_bytes)
        self._tokenizer, self._option, self._cache_bytes = self.arguments
        self._hf = HFBackend(tokenizer)
        self._fell_back: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._settled: tuple[State | None, Backend, str] | None = None
        self._thread: threading.Thread | None = None
        self._mismatch: str | None = None
        self._names: dict[str, BackendName] = {}

    def __reduce__(self) -> Any:
        # What was loaded is loaded anew where it is needed.
        return (Backends, self.arguments)

    def encode_batch(
        self, texts: Sequence[str | NativeRender], segments: Sequence[Segments] | None = None
    ) -> list[Tokens]:
        """The tokens of texts or renders, by the backend that is there."""
        backend = self.current()
        found = backend.encode_batch(texts, segments)
        names = self._names
        for tokens in found:
            name = tokens.backend
            self._rows[name] += 1
            reason = self._why(name, backend)
            if name not in names or names[name].reason != reason:
                names[name] = BackendName(name, reason)
        return [tokens._replace(backend=names[tokens.backend]) for tokens in found]

    def label_batch(
        self, renders: Sequence[NativeRender], segments: Sequence[Segments], messages: Sequence[list[int]], **how: Any
    ) -> LabelledTokens | None:
        """Rows by the native tokenizer, see :meth:`NativeTokenizer.label_batch`; ``None`` where it is
        not there, or has no labels for one of them.
        """
        backend = self.current()
        if not isinstance(backend, NativeBackend):
            return None
        found = backend.core.label_batch(list(renders), list(segments), list(messages), **how)
        counts = [count for count in found.counts() if count is not None]
        if len(counts) < len(renders):
            return None
        self._rows["native"] += len(counts)
        return LabelledTokens(found, counts)

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text in which there are no control tokens."""
        return self.current().encode_plain(text)

    def token(self, token_id: int) -> str | None:
        """The token of an id, as it stands in the vocabulary."""
        return self.current().token(token_id)

    def _why(self, name: str, backend: Backend) -> str:
        """Why a row was encoded by the backend of this name."""
        if self._option == "hf":
            return 'backend="hf"'
        if is_lost():
            return LOST
        if name != backend.name:
            return "the native tokenizer cannot determine this text's offsets with certainty"
        return "the native tokenizer is still being loaded" if self._settled is None else self._settled[2]

    def current(self) -> Backend:
        """The backend to encode with now."""
        if self._is_hf():
            return self._hf
        if not self._is_settled():
            if self._option == "native":
                return self.wait()
            if not self._take_known():
                self.start()
                return self._hf
        self._warn()
        return self._settled[1] if self._settled is not None else self._hf

    def loaded(self) -> Backend:
        """The backend to encode with now, waited for: for who has others change the tokenizer meanwhile.

        A processor's call sets the padding, at which tokenizers before 0.23 fail while another thread uses them.
        """
        return self.current() if self._is_hf() or self._is_settled() else self.wait()

    def wait(self) -> Backend:
        """The backend to stay with, loaded; the tokenizer is looked at anew.

        Raises:
            BackendError: ``backend="native"`` cannot be; with the reason.
        """
        if self._is_hf():
            return self._hf
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if self._settled is None or self._settled[0] != self._state():
            self._settle()
        self._warn()
        assert self._settled is not None
        return self._settled[1]

    def start(self) -> None:
        """Loads beside the work."""
        if not is_lost() and (self._thread is None or not self._thread.is_alive()):
            # Not a daemon: one would be torn off inside of the core when the process ends.
            thread = threading.Thread(target=self._settle, name="chatspan-load")
            thread.start()
            # Another thread, or a forked process, waits only for one that has begun.
            self._thread = thread

    @property
    def choice(self) -> BackendName:
        """Which backend it is, and why; waits for it."""
        backend = self.wait()
        return BackendName(backend.name, self._why(backend.name, backend))

    @property
    def known(self) -> str:
        """Which backend it is, as far as that is known without loading."""
        if self._option == "hf":
            return "hf"
        return f"{self._option}, not loaded yet" if self._settled is None else self._settled[1].name

    def stats(self) -> dict[str, int]:
        """How many rows went which way, and how the cache of the native tokenizer did."""
        found = {
            "rows_native": self._rows["native"],
            "rows_hf": self._rows["hf"],
            "rows_fell_back": self._fell_back["rows"],
        }
        backend = None if self._settled is None or is_lost() else self._settled[1]
        cache = backend.core.cache_stats() if isinstance(backend, NativeBackend) else {}
        return {**found, **{f"cache_{name}": cache.get(name, 0) for name in ("hits", "misses", "entries", "bytes")}}

    def _is_hf(self) -> bool:
        """Whether it is transformers' own that encodes, whatever is loaded."""
        if is_lost():
            warn_of_loss()
            return True
        return self._option == "hf"

    def _take_known(self) -> bool:
        """Whether the native tokenizer, or that it is refused, is known already."""
        state = self._state()
        try:
            known = state is None or known_native(self._tokenizer, state, self._cache_bytes) is not None
        except BackendError:
            known = True
        if known:
            self._settle()
        return known

    def _is_settled(self) -> bool:
        if self._settled is None:
            return False
        state = self._settled[0]
        return state is None or state.quick == quick_state(self._tokenizer, state.next_id)

    def _state(self) -> State | None:
        return state_of(self._tokenizer) if self._hf.is_plain else None

    def _settle(self) -> None:
        state = self._state()
        try:
            if state is None:
                raise BackendError(f"{type(self._tokenizer).__name__} has its own way of encoding")
            native = load_native(self._tokenizer, state, self._cache_bytes)
        except (BackendError, TokenizerError) as error:
            if self._option == "native":
                raise
            self._mismatch = error.message if isinstance(error, BackendMismatchError) else None
            self._settled = (state, self._hf, error.message)
        else:
            reason = "ids and offsets are those of transformers in the test at load"
            self._settled = (state, NativeBackend(native, self._hf, self._fell_back), reason)

    def _warn(self) -> None:
        """Says so where the caller is, and not in the thread that loads."""
        if self._mismatch is not None:
            warnings.warn(f"{self._mismatch}; transformers' own is used", BackendMismatchWarning, stacklevel=4)
            self._mismatch = None
