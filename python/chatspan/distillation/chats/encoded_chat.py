"""A conversation, tokenized, and where its contents stand: what both routes give and the layouts take."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from chatspan.attribute.prompts import OffPrompt
from chatspan.media.recording import ProcessorInputs
from chatspan.rollout.sampled_row import SampledRow

if TYPE_CHECKING:
    from chatspan.encoding import Encoding

Route = Literal["provenance", "prefix_delta", "sampled"]
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
        route: how it was found: by rendering with provenance, by prefix delta, or as it was sampled.
        make_encoding: all that is known of each token, where it was rendered with provenance.
        sampled: by message the tokens whose ids were given, half-open.
        respelled: those of these messages that the template writes in other words than were sampled.
        row: what it was sampled as, in place of a render.
        inputs_without: of a processor, what it is called with of the chat without some messages, as
            :func:`chatspan.encode.processed.inputs_without` says.
    """

    input_ids: NDArray[np.int64]
    content_tokens: Sequence[Sequence[TokenRange]]
    end_of_turn: TokenRange
    content_order: Sequence[int]
    route: Route
    make_encoding: Callable[[], Encoding] | None = None
    sampled: Mapping[int, TokenRange] = field(default_factory=dict)
    respelled: frozenset[int] = frozenset()
    row: SampledRow | None = None
    inputs_without: Callable[..., ProcessorInputs] | None = None

    @functools.cached_property
    def encoding(self) -> Encoding | None:
        """All that is known of each token, found when it is first asked for; ``None`` by prefix delta."""
        return None if self.make_encoding is None else self.make_encoding()

    @property
    def owners(self) -> NDArray[np.int32] | None:
        """int32 ``[T]``: the message that each token belongs to, -1: none; ``None`` by prefix delta."""
        if self.row is not None:
            return self.row.message_index
        return None if self.encoding is None else self.encoding.message_index

    @property
    def off_prompt(self) -> Mapping[int, OffPrompt]:
        """The turns that no inference prompt leads to, as far as it is known."""
        if self.row is not None:
            return self.row.off_prompt
        return {} if self.encoding is None else self.encoding.off_prompt

    def stands_right_before(self, first: int, second: int) -> bool:
        """Whether the content of message ``second`` is the next one behind that of message ``first``."""
        order = list(dict.fromkeys(self.content_order))
        if first not in order or second not in order:
            return False
        return order.index(first) + 1 == order.index(second)


def sampled_chat(row: SampledRow, count: int) -> EncodedChat:
    """The chat of a conversation that was sampled: its turns are the contents.

    Args:
        count: of its messages.
    """
    turns = {index: ranges[0] for index, ranges in row.turns.items()}
    return EncodedChat(
        input_ids=row.input_ids,
        content_tokens=[list(row.turns.get(index, ())) for index in range(count)],
        end_of_turn=(len(row), len(row)),
        content_order=sorted(turns, key=lambda index: turns[index]),
        route="sampled",
        sampled=turns,
        row=row,
    )
