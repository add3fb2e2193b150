"""One row as the model met it: what it was shown, and what it sampled, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chatspan.attribute.prompts import OffPrompt
from chatspan.errors import OptionError, quoted
from chatspan.options import one_of
from chatspan.rollout.rewrites import Rewrite
from chatspan.rollout.side_arrays import cut_side_arrays
from chatspan.rows.conversations import Chat

TokenRange = tuple[int, int]


@dataclass(frozen=True, eq=False)
class SampledRow:
    """A conversation, or a part of one, in the form in which the model met it.

    ``T = P + C`` tokens: the prompt that was shown first, and all behind it. What was sampled is here verbatim; what
    templates and environments wrote between the turns was tokenized apart from it, as inference does.

    Attributes:
        prompt_ids: int64 ``[P]``, what was shown before the first turn.
        completion_ids: int64 ``[C]``, the first turn, and all that followed it up to the end of the last turn.
        env_mask: int64 ``[C]``, TRL's: 1 the model's own, 0 what an environment or a template wrote.
        message_index: int32 ``[T]``, the message that each token belongs to; -1: none.
        turns: for each assistant's message of the row its tokens, as half-open ranges in ``input_ids``; several where
            results of tools interrupt it.
        per_token: side arrays, ``[T, …]`` each, zero where nothing was given: ``logprobs``, routed experts …
        cause: why the row could not go on from the row before; ``None`` for the first.
        off_prompt: the turns that the template does not write behind their own prompt, and why. Such a row has what
            the template writes in place of what inference would have shown.
        chat: the messages up to the row's last turn, with tools, documents and keywords: what a teacher's side is made
            of; ``None`` of a row that was made by hand.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
        >>> [row] = encoder.sampled_rows(messages)
        >>> encoder.decode(row.prompt_ids), encoder.decode(row.completion_ids)
        ('<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n', 'Hello!<|im_end|>')
    """

    prompt_ids: NDArray[np.int64]
    completion_ids: NDArray[np.int64]
    env_mask: NDArray[np.int64]
    message_index: NDArray[np.int32]
    turns: Mapping[int, tuple[TokenRange, ...]]
    per_token: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    cause: Rewrite | None = None
    off_prompt: Mapping[int, OffPrompt] = field(default_factory=dict)
    chat: Chat | None = None

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)

    def __repr__(self) -> str:
        own = int(self.env_mask.sum())
        cause = "" if self.cause is None else f", cause {self.cause.cause!r}"
        return (
            f"SampledRow({len(self.prompt_ids)} prompt tokens, {len(self.completion_ids)} completion tokens, {own} of "
            f"them sampled in {counted(len(self.turns), 'turn')}{cause})"
        )

    @property
    def input_ids(self) -> NDArray[np.int64]:
        """int64 ``[T]``: the prompt and the completion."""
        return np.concatenate([self.prompt_ids, self.completion_ids])

    @property
    def sampled(self) -> NDArray[np.bool_]:
        """bool ``[T]``: the model's own tokens."""
        return np.concatenate([np.zeros(len(self.prompt_ids), dtype=bool), self.env_mask.astype(bool)])

    @property
    def logprobs(self) -> NDArray[Any] | None:
        """float32 ``[C]``: of the completion's tokens, 0 where nothing was sampled; ``None`` where none were given."""
        known = self.per_token.get("logprobs")
        return None if known is None else known[len(self.prompt_ids) :]

    def labels(self) -> NDArray[np.int64]:
        """int64 ``[T]``: the ids that the model sampled, -100 elsewhere; unshifted, as HF models expect."""
        return np.where(self.sampled, self.input_ids, -100)

    def truncate(self, max_length: int, side: Literal["left", "right"] = "right") -> SampledRow:
        """The row with at most so many tokens, its side arrays cut with it; without ``chat``, which says more.

        Args:
            side: the side on which tokens are cut off.

        Raises:
            OptionError: a length under 1, or another side.
        """
        if type(max_length) is not int or max_length < 1:
            raise OptionError(f"max_length={quoted(max_length)}: expected the number of tokens, at least 1")
        if not one_of(side, ("left", "right")):
            raise OptionError(f'side={quoted(side)}: expected "left" or "right"')
        length = len(self)
        if length <= max_length:
            return self
        first = length - max_length if side == "left" else 0
        last = first + max_length
        prompt = len(self.prompt_ids)
        behind = slice(max(first - prompt, 0), max(last - prompt, 0))
        return replace(
            self,
            prompt_ids=self.prompt_ids[first:last],
            completion_ids=self.completion_ids[behind],
            env_mask=self.env_mask[behind],
            message_index=self.message_index[first:last],
            turns=_cut_turns(self.turns, first, last),
            chat=None,
            per_token=cut_side_arrays(self.per_token, first, last),
        )


def counted(count: int, what: str) -> str:
    """A number of things, in words.

    Example:
        >>> counted(1, "turn"), counted(2, "turn")
        ('1 turn', '2 turns')
    """
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _cut_turns(turns: Mapping[int, tuple[TokenRange, ...]], first: int, last: int) -> dict[int, tuple[TokenRange, ...]]:
    found = {
        index: tuple(
            (max(start, first) - first, min(end, last) - first)
            for start, end in ranges
            if max(start, first) < min(end, last)
        )
        for index, ranges in turns.items()
    }
    return {index: ranges for index, ranges in found.items() if ranges}
