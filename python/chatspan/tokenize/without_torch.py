"""transformers' tokenizers without torch, whose import is more than half of the time that a command takes to start."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# A warning that models cannot be used, which nobody has asked for.
_SILENT = "TRANSFORMERS_NO_ADVISORY_WARNINGS"


@contextmanager
def without_torch() -> Iterator[None]:
    """transformers that is imported inside of it takes torch for not installed.

    Tokenizers do not need torch: transformers supports them without it. What it imports here stays without torch for
    the rest of the process, so this is for commands that load a tokenizer and no model. ``import torch`` itself works
    again behind it. Does nothing where torch or transformers are imported already.
    """
    if "torch" in sys.modules or "transformers" in sys.modules:
        yield
        return
    was = os.environ.get(_SILENT)
    os.environ[_SILENT] = "1"
    # The import system's own way to say that there is no such module.
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]
        if was is None:
            del os.environ[_SILENT]
        else:
            os.environ[_SILENT] = was
        _forget()


def _forget() -> None:
    """transformers remembers what is installed; from here on it is asked again."""
    module: Any = sys.modules.get("transformers.utils.import_utils")
    for name in ("is_torch_available", "_is_package_available"):
        clear = getattr(getattr(module, name, None), "cache_clear", None)
        if clear is not None:
            clear()
    # Before transformers 5 the answer is a constant of the module.
    if hasattr(module, "_torch_available"):
        answer = module._is_package_available("torch", return_version=True)
        module._torch_available, module._torch_version = answer
