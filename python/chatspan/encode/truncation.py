"""An encoding, cut to a length: ids, masks and spans together."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from chatspan._core import Offsets
from chatspan.encoding import Encoding
from chatspan.errors import OptionError, TruncationError, quoted
from chatspan.options import one_of
from chatspan.rows.media_types import one_medium
from chatspan.tokenize.tokens import GivenTokens

Truncation = Literal["error", "left", "right"]


def require_length(max_length: int | None, truncation: str) -> None:
    """What is cut off needs a length.

    Raises:
        OptionError: there is none.
    """
    if max_length is None and truncation != "error":
        raise OptionError(f"truncation={truncation!r} has no effect without a length: set max_length")


def check_options(max_length: int | None, truncation: str, special_tokens: str) -> None:
    """The options of a call that encodes.

    Raises:
        OptionError: one is none that can be.
    """
    is_count = isinstance(max_length, int) and not isinstance(max_length, bool) and max_length >= 1
    if max_length is not None and not is_count:
        raise OptionError(f"max_length={quoted(max_length)}: expected the number of tokens, at least 1, or None")
    if not one_of(truncation, ("error", "left", "right")):
        raise OptionError(f'truncation={quoted(truncation)}: use "error", "left" or "right"')
    require_length(max_length, truncation)
    if not one_of(special_tokens, ("as_rendered", "escape", "error")):
        raise OptionError(f'special_tokens={quoted(special_tokens)}: use "as_rendered", "escape" or "error"')


def truncated(encoding: Encoding, max_length: int | None, truncation: Truncation) -> Encoding:
    """The encoding, cut where it is longer.

    Raises:
        TruncationError: it is longer, and ``truncation="error"``.
    """
    count = len(encoding)
    if max_length is None or count <= max_length:
        return encoding
    if truncation == "error":
        raise too_long(count, max_length)
    kept = slice(count - max_length, count) if truncation == "left" else slice(0, max_length)
    _require_media(encoding, kept, max_length)
    straddling = encoding.straddling[(encoding.straddling >= kept.start) & (encoding.straddling < kept.stop)]
    return replace(
        encoding,
        input_ids=encoding.input_ids[kept],
        table=Offsets(encoding.offsets[kept], text_length=len(encoding.text)),
        message_index=encoding.message_index[kept],
        kind=encoding.kind[kept],
        straddling=straddling - kept.start,
        truncated=count - max_length,
        _given=_cut(encoding._given, kept),
    )


def _require_media(encoding: Encoding, kept: slice, max_length: int) -> None:
    """What a processor made of media stays whole: a model gets all of their tensors.

    Raises:
        TruncationError: it does not; with ``message_index``.
    """
    for medium in encoding.media:
        if medium.start_token < kept.start or medium.end_token > kept.stop:
            kind = one_medium(medium.modality)
            raise TruncationError(
                f"max_length={max_length} cuts off part {medium.path[-1]} of message {medium.message_index}, {kind} of "
                f"{medium.end_token - medium.start_token} tokens among {len(encoding)}: make it smaller "
                "with processor_kwargs, or leave out messages",
                message_index=medium.message_index,
            )


def too_long(count: int, max_length: int) -> TruncationError:
    """The error of a row that is longer than it may be."""
    return TruncationError(
        f'{count} tokens are more than max_length={max_length}; use truncation="left" or "right" to cut them'
    )


def _cut(given: GivenTokens, kept: slice) -> GivenTokens:
    ranges = {index: (max(start, kept.start), min(end, kept.stop)) for index, (start, end) in given.items()}
    return {index: (start - kept.start, end - kept.start) for index, (start, end) in ranges.items() if start < end}
