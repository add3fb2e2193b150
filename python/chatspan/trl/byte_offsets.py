"""The bytes of a response that each of its tokens stands for, by which GOLD aligns two tokenizers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel

# One letter for each byte, which is what the pieces of byte-level tokenizers are made of.
_BYTES = ByteLevel(add_prefix_space=False, use_regex=False)


def response_byte_offsets(tokenizer: Any, ids: NDArray[np.int64], text: str) -> NDArray[np.int64] | None:
    """int64 ``[R, 2]``: each token's UTF-8 bytes in the text of the response, half-open, without gaps.

    Not from offsets in characters, since several tokens may share one.

    Returns:
        ``None`` where the pieces are not the bytes of the text: of other than byte-level tokenizers, or where one
        changed the text (NFC).
    """
    letters = _letters(text)
    added = {token_id: str(token) for token_id, token in tokenizer.added_tokens_decoder.items()}
    offsets = np.zeros((len(ids), 2), dtype=np.int64)
    position = 0
    for index, (token_id, piece) in enumerate(zip(ids.tolist(), tokenizer.convert_ids_to_tokens(ids), strict=True)):
        own = _letters(added[token_id]) if token_id in added else piece
        if not letters.startswith(own, position):
            return None
        offsets[index] = position, position + len(own)
        position += len(own)
    return offsets if position == len(letters) else None


def _letters(text: str) -> str:
    return "".join(piece for piece, _ in _BYTES.pre_tokenize_str(text))
