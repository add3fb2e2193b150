"""The native tokenizer of a folder, made while transformers is still being imported.

A command knows the name of its tokenizer from the beginning, and making the native one takes as long as importing
transformers and loading the tokenizer. Which tokenizer that will be is only known then: what was made ahead is used if
the loaded one has the same vocabulary, merges, added tokens and steps, and is tested against it as any other.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from chatspan.errors import BackendError

if TYPE_CHECKING:
    from chatspan._core import NativeTokenizer

_PENDING: list[_Ahead] = []


def make_ahead(name: str, cache_bytes: int) -> None:
    """Makes the native tokenizer of a folder in a thread. Does nothing for a name that is not a folder with a
    ``tokenizer.json``.
    """
    path = Path(name) / "tokenizer.json"
    if path.is_file():
        _PENDING[:] = [_Ahead(path, cache_bytes)]


def made_ahead(tokenizer_json: str, cache_bytes: int) -> NativeTokenizer | None:
    """What was made ahead, waited for, if it is the tokenizer of this ``tokenizer.json``. It is given once."""
    if not _PENDING:
        return None
    ahead = _PENDING.pop()
    ahead.thread.join()
    made = ahead.made
    is_same = made is not None and ahead.cache_bytes == cache_bytes and made.is_of(tokenizer_json)
    return made if is_same else None


class _Ahead:
    def __init__(self, path: Path, cache_bytes: int) -> None:
        self.cache_bytes = cache_bytes
        self.made: NativeTokenizer | None = None
        # Not a daemon: one would be torn off inside of the core when the process ends.
        self.thread = threading.Thread(target=self._make, args=(path,), name="chatspan-load-ahead")
        self.thread.start()

    def _make(self, path: Path) -> None:
        try:
            # Not there in a build without the tokenizer's crates.
            from chatspan._core import NativeTokenizer

            made = NativeTokenizer(path.read_text(encoding="utf-8"), cache_bytes=self.cache_bytes)
        # Whoever needs the tokenizer finds out for itself what is wrong with it.
        except (ImportError, OSError, ValueError, BackendError):
            return
        # What is made with the first text.
        made.encode_plain("Some words.")
        self.made = made
