"""A tokenizer by its name."""

from __future__ import annotations

from typing import Any

from chatspan.errors import TokenizerError, one_line


def load_pretrained(name: str) -> Any:
    """The tokenizer of a folder or of the hub.

    Raises:
        TokenizerError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    # There is no common base of what transformers, tokenizers and the hub raise here.
    except Exception as error:
        reason = one_line(error).rstrip(".")
        raise TokenizerError(
            f"cannot load the tokenizer {name}: {reason}; name a folder or a model on the hub"
        ) from None
