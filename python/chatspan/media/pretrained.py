"""A processor by its name."""

from __future__ import annotations

from typing import Any

from chatspan.errors import TokenizerError, one_line
from chatspan.media.processors import is_processor
from chatspan.tokenize.pretrained import require_folder

_NEEDS = 'pip install "chatspan[media]" installs what processors need'


def load_processor(name: str) -> Any:
    """The processor of a folder or of the hub.

    Raises:
        TokenizerError: it cannot be loaded, or there is none.
    """
    require_folder(name, "processor")
    from transformers import AutoProcessor

    try:
        found = AutoProcessor.from_pretrained(name)
    except ImportError as error:
        raise TokenizerError(f"cannot load the processor {name}: {one_line(error)}; {_NEEDS}") from None
    # There is no common base of what transformers, tokenizers and the hub raise here.
    except Exception as error:
        reason = one_line(error).rstrip(".")
        raise TokenizerError(
            f"cannot load the processor {name}: {reason}; name a folder or a model on the hub"
        ) from None
    if is_processor(found):
        return found
    # transformers gives the first part that it finds.
    if hasattr(found, "is_fast"):
        raise TokenizerError(f"{name} has a tokenizer and no processor: use --tokenizer {name}")
    raise TokenizerError(
        f"{name} has {type(found).__name__} and no processor with a tokenizer: name a model that takes text and media"
    )
