"""What is done where the process forks, so that the child finds no lock held by a thread that it does not have.

Nobody works in the core, or loads, while a thread forks the process: the fork waits until they have. What is Python's
own is made anew in the child.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import warnings
from contextlib import AbstractContextManager

from chatspan._core import after_fork_in_child, after_fork_in_parent, before_fork

# How long a fork waits for others to leave the core, in seconds: a thread that never does may need what the forking one
# holds. A tokenizer is loaded to its end.
PATIENCE = 60.0

LOST = (
    "this process was forked while another thread was encoding, and the fork could not wait for it: the locks of the "
    "native tokenizer may be held by a thread that no longer exists"
)


class _Process:
    """What is so in this process.

    Attributes:
        loading: held by whoever loads a tokenizer, and by whoever forks.
        is_lost: whether the native tokenizer cannot be used.
        has_said_so: whether the caller knows.
        used_tokenizers: whether ``tokenizers`` may have threads.
    """

    def __init__(self) -> None:
        self.loading = threading.RLock()
        self.is_lost = False
        self.has_said_so = False
        self.used_tokenizers = False


_PROCESS = _Process()


def loading() -> AbstractContextManager[object]:
    """One thread loads at a time, and none while the process forks."""
    return _PROCESS.loading


def is_lost() -> bool:
    """Whether this process may not use what another thread held when it was forked; :data:`LOST` says it in words."""
    return _PROCESS.is_lost


def warn_of_loss() -> None:
    """Says once per process that its rows go to transformers' tokenizer."""
    if not _PROCESS.has_said_so:
        _PROCESS.has_said_so = True
        warnings.warn(f"{LOST}; transformers' own tokenizer is used", RuntimeWarning, stacklevel=5)


def note_tokenizers() -> None:
    """Texts are given to ``tokenizers`` in this process, which encodes them on threads of its own."""
    _PROCESS.used_tokenizers = True


def _before() -> None:
    _PROCESS.loading.acquire()
    before_fork(PATIENCE)


def _after_in_parent() -> None:
    after_fork_in_parent()
    _PROCESS.loading.release()


def _after_in_child() -> None:
    is_clean = after_fork_in_child()
    _PROCESS.loading = threading.RLock()
    # A child of a child: what was lost stays so.
    _PROCESS.is_lost |= not is_clean
    if _PROCESS.used_tokenizers:
        _keep_tokenizers_from_threads()
    _renew_lexers()
    if sys.version_info < (3, 12):
        _renew_cached_properties()


def _keep_tokenizers_from_threads() -> None:
    """It would wait for those of the parent. It knows, but not where the environment asks for threads."""
    if os.environ.get("TOKENIZERS_PARALLELISM", "").lower() not in ("", "off", "false", "f", "no", "n", "0"):
        os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _renew_lexers() -> None:
    """Templates are compiled with lexers that Jinja2 remembers, behind a lock."""
    lexers = getattr(sys.modules.get("jinja2.lexer"), "_lexer_cache", None)
    if lexers is not None:
        vars(sys.modules["jinja2.lexer"])["_lexer_cache"] = type(lexers)(lexers.capacity)


def _renew_cached_properties() -> None:
    """Before Python 3.12 each has a lock, one for the objects of all threads."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "chatspan"]
    classes = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    for each in classes:
        for value in vars(each).values():
            if isinstance(value, functools.cached_property):
                vars(value)["lock"] = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
