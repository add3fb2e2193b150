"""Whether what is given as a tokenizer is one, and no name of one."""

from __future__ import annotations

import os
from typing import Any

from chatspan.errors import TokenizerError


def require_loaded(tokenizer: Any) -> None:
    """Refuses what people give in place of a tokenizer.

    Raises:
        TokenizerError: it is a name, a path, nothing or a processor; with what to give.
    """
    if tokenizer is None:
        raise TokenizerError("tokenizer is None: use AutoTokenizer.from_pretrained(name)")
    if isinstance(tokenizer, (str, os.PathLike)):
        name = os.fspath(tokenizer)
        raise TokenizerError(
            f"tokenizer is the name {name!r:.80}, not a tokenizer: use AutoTokenizer.from_pretrained({name!r:.80})"
        )
    if not hasattr(tokenizer, "is_fast") and hasattr(getattr(tokenizer, "tokenizer", None), "is_fast"):
        raise TokenizerError(f"tokenizer is a processor ({type(tokenizer).__name__}): use processor.tokenizer")
