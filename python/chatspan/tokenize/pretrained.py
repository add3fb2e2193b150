"""A tokenizer by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatspan.errors import TokenizerError, one_line


def require_folder(name: str, what: str = "tokenizer") -> None:
    """Refuses a name that can only be a folder's and is not: without a network the hub is asked for a minute.

    Args:
        what: what is to be loaded.

    Raises:
        TokenizerError: there is no such folder.
    """
    path = Path(name)
    is_path = path.is_absolute() or name.startswith((".", "~")) or (path.parent != Path(".") and path.parent.exists())
    if is_path and not path.exists():
        raise TokenizerError(f"there is no {what} in {name}: no such folder; name a folder or a model on the hub")


def load_pretrained(name: str) -> Any:
    """The tokenizer of a folder or of the hub.

    Raises:
        TokenizerError: it cannot be loaded.
    """
    require_folder(name)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    # There is no common base of what transformers, tokenizers and the hub raise here.
    except Exception as error:
        reason = one_line(error).rstrip(".")
        raise TokenizerError(
            f"cannot load the tokenizer {name}: {reason}; name a folder or a model on the hub"
        ) from None
