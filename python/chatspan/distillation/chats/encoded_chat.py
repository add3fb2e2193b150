"""A conversation, tokenized, and where its contents stand: what both routes give and the layouts take."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from chatspan.encoding import Encoding

Route = Literal["provenance", "prefix_delta"]
TokenRange = tuple[int, int]


@dataclass(frozen=True)
class EncodedChat:
    """Ids of a rendered conversation, and the tokens of its contents.

    Attributes:
        input_ids: int64 ``[T]``, what ``apply_chat_template(messages, tokenize=True)`` gives.
        content_tokens: for each message the half-open token ranges of its content, in order; none where the content
            is blank, was left out by the template, or was not asked for.
        end_of_turn: the tokens that end the last message, behind its content, without blanks at the end.
        content_order: message indices in the order in which the render holds their contents.
        route: how it was found: by rendering with provenance, or by prefix delta.
        make_encoding: all that is known of each token, where it was rendered with provenance.
    """

    input_ids: NDArray[np.int64]
    content_tokens: Sequence[Sequence[TokenRange]]
    end_of_turn: TokenRange
    content_order: Sequence[int]
    route: Route
    make_encoding: Callable[[], Encoding] | None = None

    @functools.cached_property
    def encoding(self) -> Encoding | None:
        """All that is known of each token, found when it is first asked for; ``None`` by prefix delta."""
        return None if self.make_encoding is None else self.make_encoding()

    def stands_right_before(self, first: int, second: int) -> bool:
        """Whether the content of message ``second`` is the next one behind that of message ``first``."""
        order = list(dict.fromkeys(self.content_order))
        if first not in order or second not in order:
            return False
        return order.index(first) + 1 == order.index(second)
