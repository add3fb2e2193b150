"""What a caller gives as a completion → its text."""

from __future__ import annotations

from operator import index
from typing import Any

from chatspan.errors import RolloutError, quoted
from chatspan.tokenize.token_offsets import decode


def completion_text(tokenizer: Any, completion: Any) -> str:
    """The text of a completion, special tokens written out.

    Args:
        completion: ids, in a list or an array, none if nothing was sampled; or the text itself.

    Raises:
        RolloutError: it is neither, or has an id that the tokenizer does not know.
    """
    if isinstance(completion, str):
        try:
            completion.encode()
        except UnicodeEncodeError as error:
            raise RolloutError(
                f"the completion has a lone surrogate (character {error.start}): it is not valid Unicode text; pass "
                "the ids that were sampled",
                start_char=error.start,
            ) from None
        return completion
    ids = _ids(completion)
    size = len(tokenizer)
    for at, each in enumerate(ids):
        if not 0 <= each < size:
            raise RolloutError(
                f"token_ids[{at}] is {each}, and the tokenizer has ids from 0 to {size - 1}: pass the ids that were "
                "sampled with it",
                token_index=at,
            )
    return decode(tokenizer, ids) if ids else ""


def _ids(completion: Any) -> list[int]:
    shape = getattr(completion, "shape", None)
    try:
        if isinstance(completion, (bytes, bytearray)) or (shape is not None and len(shape) != 1):
            raise TypeError
        ids = list(completion)
        if any(isinstance(each, bool) for each in ids):
            raise TypeError
        return [index(each) for each in ids]
    # Also what an object of a caller's own raises when it is asked for its items.
    except Exception:
        raise RolloutError(
            f"token_ids must be the ids of one completion, a list or an array of whole numbers, or its text, got "
            f"{quoted(completion)}"
        ) from None
