"""Rollouts each of whose sampled tokens has a number of its own, so that a number tells its token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from chatspan import ChatEncoder, Rollout, SampledRow

Turns = Sequence[tuple[Mapping[str, Any], str]]


class Marks:
    """Numbers that are used once, and the text of the token that each is given to."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.tokens: dict[float, int] = {}
        self._numbers = count(1)

    def ids(self, text: str) -> list[int]:
        """Ids that no tokenizer gives: each character by itself, then the end of the turn."""
        one_by_one = [i for letter in text for i in self.tokenizer(letter, add_special_tokens=False)["input_ids"]]
        return [*one_by_one, *self.tokenizer("<|im_end|>", add_special_tokens=False)["input_ids"]]

    def numbers(self, ids: Sequence[int]) -> list[float]:
        """A number for each of the tokens."""
        numbers = [next(self._numbers) + 0.5 for _ in ids]
        self.tokens.update(zip(numbers, ids, strict=True))
        return numbers

    def sampled(self, text: str) -> dict[str, Any]:
        """What a message has that was sampled."""
        ids = self.ids(text)
        return {"token_ids": ids, "logprobs": self.numbers(ids)}

    def rollout(self, encoder: ChatEncoder, turns: Turns, **options: Any) -> Rollout:
        """A rollout of questions and answers."""
        rollout = Rollout(encoder, [turns[0][0]], **options)
        for at, (question, answer) in enumerate(turns):
            if at:
                rollout.add_messages([question])
            ids = self.ids(answer)
            said = {"role": "assistant", "content": answer}
            rollout.add_completion(ids, message=said, logprobs=self.numbers(ids))
        return rollout

    def said(self, numbers: Any) -> str:
        """The text of the tokens that some numbers were given to; zeros are nobody's."""
        return str(self.tokenizer.decode([self.tokens[float(number)] for number in numbers if number != 0]))

    def require_own(self, ids: Any, numbers: Any) -> None:
        """Each number that is not zero stands at the token that it was given to."""
        for token_id, number in zip(np.asarray(ids).tolist(), np.asarray(numbers).tolist(), strict=True):
            assert number == 0 or self.tokens[number] == token_id


def recorded(rollout: Rollout) -> list[dict[str, Any]]:
    """The messages of a rollout of one row, each turn with its ids and numbers, as they are written to a file."""
    messages = rollout.messages
    [row] = rollout.rows()
    for index, ids, numbers in turns_of(row):
        messages[index] |= {"token_ids": ids, "logprobs": numbers}
    return messages


def turns_of(row: SampledRow) -> list[tuple[int, list[int], list[float]]]:
    return [
        (index, row.input_ids[start:end].tolist(), row.per_token["logprobs"][start:end].tolist())
        for index, ((start, end),) in row.turns.items()
    ]
