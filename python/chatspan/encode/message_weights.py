"""Weights of messages → weights of their tokens."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from chatspan.encoding import Encoding


def weights_by_token(encoding: Encoding, weights: Mapping[int, float]) -> NDArray[np.float32]:
    """float32 ``[T]``: the weight of each token's message, 1 where it has none.

    Args:
        weights: by message, as :attr:`chatspan.rows.conversations.Chat.weights`.
    """
    # The last place is that of -1, which belongs to no message.
    of_message = np.ones(len(encoding.roles) + 1, dtype=np.float32)
    for index, weight in weights.items():
        of_message[index] = weight
    return of_message[encoding.message_index]
