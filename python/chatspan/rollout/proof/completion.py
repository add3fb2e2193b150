"""A completion: sampled ids, what they say behind their prompt, and the token that ended them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.encode.pipeline import EncodingPipeline
from chatspan.errors import RolloutError
from chatspan.rollout.proof.fit import Sampled
from chatspan.tokenize.sampled_ids import whole_ids

# With these a turn may go on in a further completion, and may have no token at all.
UNFINISHED = ("length", "abort")


def completion_ids(tokenizer: Any, token_ids: Any, finish_reason: str | None, index: int) -> NDArray[np.int64]:
    """Sampled ids as an array.

    Raises:
        RolloutError: they are no ids of the tokenizer, or none where the model ended its turn itself.
    """
    if finish_reason in UNFINISHED and _is_empty(token_ids):
        return np.zeros(0, dtype=np.int64)
    try:
        return np.array(whole_ids(tokenizer, token_ids), dtype=np.int64)
    except RolloutError as error:
        raise RolloutError(f"message {index} (assistant): {error.message}", message_index=index) from None


def sampled_of(
    pipeline: EncodingPipeline,
    last_shown_id: NDArray[np.int64],
    ids: NDArray[np.int64],
    control_tokens: Collection[str],
) -> Sampled:
    """What the ids say behind a prompt, and the control token that they end with.

    Args:
        last_shown_id: int64 ``[1]``, the prompt's last one; ``[0]`` of an empty prompt.
    """
    if not len(ids):
        return Sampled("", "")
    text = text_behind(pipeline, last_shown_id, ids)
    last = pipeline.decode_one(int(ids[-1]))
    return Sampled(text, last if last in control_tokens and text.endswith(last) else "")


def text_behind(pipeline: EncodingPipeline, last_shown_id: NDArray[np.int64], ids: NDArray[np.int64]) -> str:
    """The text of ids behind another: a tokenizer may drop a blank at the beginning of what it decodes."""
    if len(last_shown_id):
        known = pipeline.decode_one(int(last_shown_id[0]))
        both = pipeline.decode(np.concatenate([last_shown_id, ids]))
        if both.startswith(known):
            return both[len(known) :]
    return pipeline.decode(ids)


def _is_empty(token_ids: Any) -> bool:
    try:
        return len(token_ids) == 0
    # Ids of any form: what they are not is said where they are read.
    except Exception:
        return False
