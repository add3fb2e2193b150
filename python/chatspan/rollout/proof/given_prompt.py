"""A prompt whose ids are given: they are what was shown, and must say what the template writes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatspan._core import Offsets, attribute
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encoding import Encoding
from chatspan.errors import PromptMismatchError, first_difference
from chatspan.rollout.rewrites import SHOWN, described
from chatspan.tokenize.sampled_ids import whole_ids
from chatspan.tokenize.token_offsets import token_offsets


class Owned(NamedTuple):
    """Ids, int64 ``[T]``, with the message, int32 ``[T]``, and the kind, uint8 ``[T]``, of each."""

    ids: NDArray[np.int64]
    message_index: NDArray[np.int32]
    kind: NDArray[np.uint8]


def owned_prompt(pipeline: EncodingPipeline, encoding: Encoding, token_ids: Any, index: int) -> Owned:
    """The ids of a prompt that were shown, and whose each is.

    Args:
        encoding: the prompt as the template writes it.
        index: the message to come, as the error calls it.

    Raises:
        PromptMismatchError: they say something else; with the place.
    """
    ids = np.array(whole_ids(pipeline.tokenizer, token_ids), dtype=np.int64)
    if np.array_equal(ids, encoding.input_ids):
        return Owned(ids, encoding.message_index, encoding.kind)
    said, written = pipeline.decode(ids.tolist()), encoding.text
    if said.lstrip(" ") != pipeline.decode(encoding.input_ids.tolist()).lstrip(" "):
        at = first_difference(said, written)
        error = PromptMismatchError(
            f"the prompt of message {index} (assistant) is not the one that the template writes for the messages "
            f"before it: from character {at} on {said[at : at + SHOWN]!r} was shown, but the template writes "
            f"{written[at : at + SHOWN]!r}; pass the messages, the tools and the keywords that it was rendered from, "
            "or keep a chatspan.Rollout over the turns",
            message_index=index,
            start_char=at,
        )
        raise described(error, "prompt_mismatch", said[at : at + SHOWN], written[at : at + SHOWN])
    offsets = token_offsets(pipeline.tokenizer, ids.tolist(), written)
    offsets += [(len(written), len(written))] * (len(ids) - len(offsets))
    table = Offsets(offsets, text_length=len(written))
    message_index, kind, _ = attribute(table, encoding._attributed.segments)
    return Owned(ids, message_index, kind)
