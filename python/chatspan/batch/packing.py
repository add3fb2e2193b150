"""Rows → groups that each fill one packed row."""

from __future__ import annotations

import logging
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from chatspan.errors import OptionError, TruncationError, quoted

RowT = TypeVar("RowT")
logger = logging.getLogger("chatspan")


class HasLengths(Protocol):
    """A collator that says how long rows are."""

    def lengths(self, rows: Sequence[Any]) -> list[int]:
        """How many tokens each row takes; 0 for one that is left out."""


def pack_dataset(rows: Sequence[RowT], *, max_length: int, collator: HasLengths) -> list[list[RowT]]:
    """Groups rows so that each group has at most ``max_length`` tokens, a row counted by its longer side.

    Best fit decreasing: the longest row first, each into the group that it fills best. Groups stand in the order of
    their first rows, and rows in a group in the order of the data set. A data set of groups goes through a
    ``DataLoader`` with ``batch_size=1`` and a collator with ``packing=True``.

    Args:
        collator: whose tokenizer and options say how long a row is: any of this package.

    Raises:
        TruncationError: a row is longer by itself; with its place. Give the collator a ``max_length``, and
            an ``overflow`` or a ``truncation``.
        ChatspanError: as a call of the collator.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from chatspan import DistillationConfig, SelfDistillationCollator, pack_dataset
        >>> config = DistillationConfig(layout="indexed", packing=True)
        >>> collate = SelfDistillationCollator(AutoTokenizer.from_pretrained("examples/tokenizer"), config)
        >>> rows = [{"messages": [{"role": "user", "content": "word " * n}], "teacher_messages": None}
        ...         for n in (20, 90, 30, 60)]
        >>> [[len(row["messages"][0]["content"].split()) for row in group]
        ...  for group in pack_dataset(rows, max_length=400, collator=collate)]
        [[20, 60], [90, 30]]
    """
    if type(max_length) is not int or max_length < 1:
        raise OptionError(f"max_length={quoted(max_length)}: expected the number of tokens, at least 1")
    if not callable(getattr(collator, "lengths", None)):
        raise OptionError(f"collator is {type(collator).__name__}: pass a collator of this package")
    lengths = collator.lengths(rows)
    left_out = [index for index, length in enumerate(lengths) if not length]
    if left_out:
        logger.warning("%d of %d rows are left out of the packed data set, row %d first", *_counts(left_out, rows))
    groups: list[list[int]] = []
    # (tokens that are free, group), rising.
    free: list[tuple[int, int]] = []
    for index in sorted(range(len(rows)), key=lambda index: -lengths[index]):
        length = lengths[index]
        if length > max_length:
            raise TruncationError(
                f"{length} tokens are more than a packed row's max_length={max_length}; set the collator's "
                "max_length, and its overflow or truncation",
                trace_id=f"row {index}",
            )
        if not length:
            continue
        at = bisect_left(free, (length, -1))
        if at == len(free):
            groups.append([])
            room, group = max_length, len(groups) - 1
        else:
            room, group = free.pop(at)
        groups[group].append(index)
        insort(free, (room - length, group))
    return [[rows[index] for index in group] for group in sorted(map(sorted, groups))]


def _counts(left_out: Sequence[int], rows: Sequence[object]) -> tuple[int, int, int]:
    return len(left_out), len(rows), left_out[0]
