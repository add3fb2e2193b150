"""Which characters given ids stand for: for ids that no tokenizer was asked for, such as sampled ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CharRange = tuple[int, int]
# More tokens than the bytes of any character: what has not come out as text by then is not this text.
_LONGEST = 32


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of ids as they are: special tokens written out, spaces left alone."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def token_offsets(tokenizer: Any, ids: Sequence[int], text: str) -> list[CharRange]:
    """The characters of ``text`` that each id stands for, as far as the ids are those of the text.

    Linear: each id is decoded with the few in front of it. Ids that share a character (bytes of an emoji) all have
    its range, as HF's offsets do.

    Returns:
        for each id a half-open range; fewer than there are ids if they stop being those of the text.
    """
    offsets: list[CharRange] = []
    context = 0
    position = 0
    for index in range(len(ids)):
        done = len(offsets)
        if index - done >= _LONGEST:
            break
        known = decode(tokenizer, ids[context:done]) if done > context else ""
        piece = decode(tokenizer, ids[context : index + 1])[len(known) :]
        if position == 0 and not text.startswith(piece) and text.startswith(f" {piece}"):
            piece = f" {piece}"  # SentencePiece drops a first blank
        end = position + len(piece)
        if not text.startswith(piece, position) or (piece == "" and index + 1 < len(ids)):
            continue
        offsets.append((position, end))
        # What is left of a group: bytes of its last character.
        offsets += [(max(position, end - 1), end)] * (index - done)
        context, position = done, end
    return offsets
