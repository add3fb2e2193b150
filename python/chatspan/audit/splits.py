"""Rows as sampled: into how many of them a conversation would split, why, and what is shown again."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from chatspan.attribute.prompts import Cause as OffCause
from chatspan.audit.failures import failure
from chatspan.audit.findings import Groups
from chatspan.encoder import ChatEncoder
from chatspan.errors import TurnBoundaryError
from chatspan.rollout.rewrites import Cause, Rewrite
from chatspan.rollout.sampled_row import SampledRow
from chatspan.rows.conversations import Chat

REFUSED = "rows whose form as sampled is unknown"


class SplitExample(NamedTuple):
    """A row that splits.

    Attributes:
        row: where a person finds it.
        rewrite: what the template changes, and behind which turn.
    """

    row: str
    rewrite: Rewrite

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"row": self.row, **self.rewrite._asdict()}


@dataclass
class SplitCount:
    """How often rows split for a cause.

    Attributes:
        rows: in how many; ``splits``, how often.
    """

    example: SplitExample
    rows: int = 0
    splits: int = 0


class Splits:
    """What becomes of rows as sampled. Those of a later part of a data set are added with :meth:`merge`.

    Attributes:
        rows: how many rows become so many rows as sampled.
        turns: how many they have.
        off_prompt: of these, those that no prompt leads to, by cause.
        tokens: of all rows as sampled; ``again``, of these, those that an earlier row of the same conversation shows.
        causes: why rows split.
        refused: rows of which that cannot be told, by reason.
    """

    def __init__(self) -> None:
        self.rows: Counter[int] = Counter()
        self.turns = 0
        self.off_prompt: Counter[OffCause] = Counter()
        self.tokens = 0
        self.again = 0
        self.causes: dict[Cause, SplitCount] = {}
        self.refused = Groups()

    @property
    def told(self) -> int:
        """How many rows it is told of."""
        return self.rows.total()

    @property
    def split(self) -> int:
        """How many rows become more than one."""
        return self.told - self.rows[1]

    @property
    def sampled(self) -> int:
        """How many rows as sampled they become."""
        return sum(count * rows for count, rows in self.rows.items())

    @property
    def factor(self) -> float:
        """How many times the tokens of rows that showed nothing twice."""
        return self.tokens / (self.tokens - self.again) if self.tokens else 1.0

    def add(self, row: str, found: list[SampledRow]) -> None:
        """Adds the rows of a conversation."""
        self.rows[len(found)] += 1
        seen = set()
        for index, sampled in enumerate(found):
            self.turns += len(sampled.turns)
            self.off_prompt.update(off.cause for off in sampled.off_prompt.values())
            self.tokens += len(sampled)
            if index == 0 or sampled.cause is None:
                continue
            last = max(found[index - 1].turns)
            self.again += int((sampled.message_index[: len(sampled.prompt_ids)] <= last).sum())
            count = self.causes.setdefault(sampled.cause.cause, SplitCount(SplitExample(row, sampled.cause)))
            count.splits += 1
            count.rows += sampled.cause.cause not in seen
            seen.add(sampled.cause.cause)

    def merge(self, later: Splits) -> None:
        """Adds those of rows after these."""
        self.rows.update(later.rows)
        self.turns += later.turns
        self.off_prompt.update(later.off_prompt)
        self.tokens += later.tokens
        self.again += later.again
        for cause, other in later.causes.items():
            count = self.causes.setdefault(cause, SplitCount(other.example))
            count.rows += other.rows
            count.splits += other.splits
        self.refused.merge(later.refused)

    def most_common(self) -> Iterator[tuple[Cause, SplitCount]]:
        """The causes, the most frequent first."""
        return iter(sorted(self.causes.items(), key=lambda item: (-item[1].rows, item[0])))

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "rows": self.told,
            "rows_that_split": self.split,
            "sampled_rows": self.sampled,
            "rows_by_sampled_rows": {str(count): rows for count, rows in sorted(self.rows.items())},
            "turns": self.turns,
            "turns_off_prompt": dict(self.off_prompt.most_common()),
            "tokens": self.tokens,
            "tokens_shown_again": self.again,
            "factor": round(self.factor, 4),
            "causes": [
                {"cause": cause, "rows": count.rows, "splits": count.splits, "example": count.example.as_json()}
                for cause, count in self.most_common()
            ],
            "refused": [group.as_json() for group in self.refused],
        }


def splits_in_words(splits: Splits) -> list[str]:
    """What becomes of the rows, in all."""
    if not splits.told:
        return ["Rows as sampled: unknown for every row."]
    off = ", ".join(f"{cause} {turns:,}" for cause, turns in splits.off_prompt.most_common())
    return [
        f"Rows as sampled: of {splits.told:,} in all, {splits.split:,} would split; they become {splits.sampled:,}.",
        f"Tokens: {splits.tokens:,}, {splits.again:,} of them shown again in a later row: {splits.factor:.2f} times "
        "those of rows that do not split.",
        f"Turns: {splits.turns:,}, {splits.off_prompt.total():,} that no prompt leads to{f' ({off})' if off else ''}.",
    ]


def add_splits(splits: Splits, row: str, chat: Chat, encoder: ChatEncoder) -> None:
    """Adds a row; one that the template does not take as it was sampled is counted by the reason."""
    try:
        with warnings.catch_warnings():
            # One a row about arguments that the template does not read.
            warnings.simplefilter("ignore")
            splits.add(row, _sampled_rows(encoder, chat))
    # What a template meets in a part of a row nobody can foresee.
    except Exception as error:
        splits.refused.add(row, [replace(failure(error), category=REFUSED, severity="note")])


def _sampled_rows(encoder: ChatEncoder, chat: Chat) -> list[SampledRow]:
    """The rows of a conversation; where the template writes no ends, turns end with what opens the next message."""
    options: dict[str, Any] = {
        "tools": chat.tools or None,
        "documents": chat.documents or None,
        "template_kwargs": chat.keywords,
    }
    try:
        return encoder.sampled_rows(chat.messages, **options)
    except TurnBoundaryError:
        return encoder.sampled_rows(chat.messages, end_of_turn="next_header", **options)
