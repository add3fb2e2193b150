"""Rows as sampled → labels: the loss is on what the model sampled, and the options can take turns out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.batch.given_rows import GivenRow, given_row
from chatspan.encode.off_prompt import off_prompt_error
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encode.truncation import too_long
from chatspan.errors import EmptyRowError, OptionError, RowError, quoted
from chatspan.rollout.chats import require_tokenizer
from chatspan.rollout.sampled_row import SampledRow
from chatspan.rows.row import RawRow
from chatspan.supervised.options import SupervisedOptions
from chatspan.supervised.rows import IGNORED, SupervisedRow, kept_or_empty, placed, supervised_rows


@dataclass(frozen=True)
class RowAsSampled:
    """A row as sampled, with its labels; see :class:`chatspan.supervised.rows.SupervisedRow`.

    Attributes:
        row: cut to ``max_length``.
        labels: int64 ``[T]``, -100 where nothing is trained, and at the first token.
        weights: float32 ``[T]``, where weights are asked for.
        place: where a person finds it.
    """

    row: SampledRow
    labels: NDArray[np.int64]
    weights: NDArray[np.float32] | None
    place: str

    @property
    def input_ids(self) -> NDArray[np.int64]:
        """int64 ``[T]``."""
        return self.row.input_ids

    @property
    def per_token(self) -> Mapping[str, NDArray[Any]]:
        """The side arrays, ``[T, …]`` each."""
        return self.row.per_token

    @property
    def has_sampled(self) -> bool:
        """Whether any of its tokens was sampled."""
        return bool(self.row.sampled.any())


TrainedRow = SupervisedRow | RowAsSampled


def trained_rows(
    pipeline: EncodingPipeline, rows: Sequence[RawRow], options: SupervisedOptions
) -> list[TrainedRow | None]:
    """Rows of messages and rows as sampled, in order; ``None`` for one with nothing to train on that is to be left out.

    Raises:
        OptionError: options that cannot be for rows as sampled; with the row's place.
        ChatspanError: as :func:`chatspan.supervised.rows.supervised_rows`.
    """
    given = [_given(row, pipeline) for row in rows]
    others = [row for row, each in zip(rows, given, strict=True) if each is None]
    read = iter(supervised_rows(pipeline, others, options) if others else [])
    return [next(read) if each is None else _trained(each, row, options) for row, each in zip(rows, given, strict=True)]


def _given(row: RawRow, pipeline: EncodingPipeline | None = None) -> GivenRow | None:
    with placed(row):
        found = given_row(row.value)
        if found is not None and pipeline is not None:
            require_tokenizer(pipeline)
        return found


def _trained(given: GivenRow, row: RawRow, options: SupervisedOptions) -> RowAsSampled | None:
    with placed(row):
        _require_options(options)
        return kept_or_empty(partial(_row_of, given, options, row.place), options, row.place)


def _require_options(options: SupervisedOptions) -> None:
    """Options that ask what a token says have no meaning for ids that nobody rendered.

    Raises:
        OptionError: one of them is given.
    """
    remedy = "leave it out, or pass rows of messages with token_ids"
    for name, only in (("loss_on", "turn"), ("end_of_turn", "token"), ("special_tokens", "as_rendered")):
        value = getattr(options, name)
        if value != only:
            raise OptionError(
                f"{name}={quoted(value)} does not work for a row as sampled, whose loss is on "
                f"all sampled tokens: {remedy}"
            )
    if not isinstance(options.train_on, str) and set(options.train_on) != {"assistant"}:
        raise OptionError(
            f"train_on={quoted(options.train_on)} does not work for a row as sampled, in which assistants alone have "
            f'turns: use "all", "last" or ["assistant"], or pass rows of messages with token_ids'
        )


def _row_of(given: GivenRow, options: SupervisedOptions, place: str) -> RowAsSampled:
    row = given.row
    if options.max_length is not None and len(row) > options.max_length and options.truncation == "error":
        raise too_long(len(row), options.max_length)
    trained = np.zeros(len(row), dtype=bool)
    for index in _turns(given, options):
        for start, end in row.turns[index]:
            trained[start:end] = True
    if options.max_length is not None and options.truncation != "error":
        cut = row.truncate(options.max_length, options.truncation)
        trained = trained[-len(cut) :] if options.truncation == "left" else trained[: len(cut)]
        row = cut
    trained[:1] = False
    if not trained.any():
        raise EmptyRowError(_why_empty(given.row, options))
    weights = trained.astype(np.float32) if options.has_weights else None
    return RowAsSampled(row, np.where(trained, row.input_ids, IGNORED), weights, place)


def _turns(given: GivenRow, options: SupervisedOptions) -> list[int]:
    """The turns that are trained."""
    row = given.row
    chosen = sorted(row.turns if given.loss_messages is None else given.loss_messages)
    if options.train_on == "last":
        chosen = [index for index in chosen if index == max(row.turns)]
    off = [index for index in chosen if index in row.off_prompt]
    if off and options.off_prompt == "error":
        raise off_prompt_error(off[0], row.off_prompt[off[0]])
    return [index for index in chosen if index not in off or options.off_prompt == "keep"]


def _why_empty(row: SampledRow, options: SupervisedOptions) -> str:
    if options.max_length is not None and len(row) > options.max_length:
        return (
            f"nothing in the loss is left of its {len(row)} tokens, cut to max_length={options.max_length} on "
            f"the {options.truncation}"
        )
    if not row.sampled.any():
        return "nothing of it was sampled, so there is nothing to train on"
    return "none of its turns is selected: check loss_messages, train_on and off_prompt"


def refuse_sampled(rows: Sequence[RawRow], who: str) -> None:
    """For what knows rows of messages only.

    Raises:
        RowError: a row as sampled.
    """
    for row in rows:
        if _given(row) is not None:
            raise RowError(
                f"{who} takes rows of messages, but this is a row as sampled: pass it to chatspan.ChatCollator",
                row_index=row.index,
                row_place=row.place,
            )


def explained(found: RowAsSampled, decode: Callable[[Any], str]) -> str:
    """A row as sampled, for a person to read: what was shown and sampled in turn, and what of it is trained."""
    row = found.row
    edges = [0, *(np.flatnonzero(np.diff(row.sampled)) + 1).tolist(), len(row)]
    lines = [repr(row)]
    for start, end in pairwise(edges):
        lines.append(f"{'sampled' if row.sampled[start] else 'shown'}: {decode(row.input_ids[start:end])!r}")
    lines.append(f"trained: {decode(found.labels[found.labels != IGNORED])!r}")
    return "\n".join(lines) + "\n"
