"""Batches of a data set of Hugging Face's ``datasets`` → columns of ids and labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan._core import __version__
from chatspan.batch.per_token import PlacedArrays, row_arrays
from chatspan.encode.first_rows import FirstRowsSummary
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.errors import OptionError, quoted
from chatspan.rows.notes import NoteLog
from chatspan.rows.row import RawRow
from chatspan.supervised.labelled import labelled_batch
from chatspan.supervised.options import SupervisedOptions
from chatspan.supervised.rows import SupervisedRow, supervised_rows
from chatspan.supervised.selection import selected_roles

Array = NDArray[Any]

# int64 where torch wants it: streaming data sets hand arrays over as they are.
_COLUMNS: dict[str, Callable[[SupervisedRow], Array]] = {
    "input_ids": lambda row: row.encoding.input_ids,
    "labels": lambda row: row.labels,
    "attention_mask": lambda row: np.ones(len(row.labels), dtype=np.int64),
    "message_index": lambda row: row.encoding.message_index,
    "kind": lambda row: row.encoding.kind,
}


class MapFn:
    """What :meth:`chatspan.ChatEncoder.as_map_fn` gives to ``Dataset.map``.

    ``datasets`` knows a function again by its pickle. This one's holds what decides the columns, the versions of
    chatspan and of transformers among it, and nothing that changes with use.
    """

    def __init__(self, pipeline: EncodingPipeline, options: SupervisedOptions, columns: Sequence[str]) -> None:
        is_list = isinstance(columns, Collection) and not isinstance(columns, str) and len(columns) > 0
        if not is_list or not all(isinstance(name, str) and name in _COLUMNS for name in columns):
            raise OptionError(f"columns={quoted(columns)}: expected some of {', '.join(map(repr, _COLUMNS))}")
        if pipeline.processor is not None:
            raise OptionError(
                f"the encoder has a processor ({type(pipeline.processor).__name__}), whose tensors are made with "
                "the batch, and columns would lack them: use ChatCollator(processor) on the rows as they are"
            )
        self._pipeline = pipeline
        self._options = options
        self._columns = tuple(columns)
        self._first_rows = FirstRowsSummary(options.off_prompt, options.loss_on, selected_roles(options.train_on))
        self._notes = NoteLog()

    def __call__(self, batch: Mapping[str, Any], indices: Sequence[int] | None = None) -> dict[str, list[Array]]:
        names, columns = _columns_of(batch, indices, self._options.column)
        _require_batched(names, columns, self._options.column)
        values = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        if indices is None:
            places = [f"row {index} of a batch (with_indices=True: of the data set)" for index in range(len(values))]
        else:
            places = [f"row {quoted(index)}" for index in indices]
        numbers = range(len(values)) if indices is None else indices
        raw = [
            RawRow(index=number, place=place, value=value)
            for number, place, value in zip(numbers, places, values, strict=True)
        ]
        quick = self._quick(raw)
        if quick is not None:
            return quick
        rows = [row for row in supervised_rows(self._pipeline, raw, self._options) if row is not None]
        self._first_rows.tell_of(row.encoding for row in rows)
        for row in rows:
            self._notes.tell(row.chat.notes, row.place)
        found = {name: [_COLUMNS[name](row) for row in rows] for name in self._columns}
        if self._options.has_weights:
            found["loss_weight"] = [row.weights for row in rows if row.weights is not None]
        placed = [
            PlacedArrays(row.per_token, np.arange(len(row.labels)), row.has_sampled, {"row_place": row.place})
            for row in rows
        ]
        return found | {name: row_arrays(name, placed) if rows else [] for name in self._options.per_token}

    def _quick(self, rows: Sequence[RawRow]) -> dict[str, list[Array]] | None:
        """The columns, made by the core in one go; ``None`` where it takes the encoding of each row."""
        found = (
            labelled_batch(self._pipeline, rows, self._options, with_whose=True) if self._first_rows.is_told else None
        )
        kept = [] if found is None else found.trained
        arrays = None if found is None else found.tokens.rows.columns(kept)
        if found is None or arrays is None:
            return None
        if len(kept) < len(rows):
            supervised_rows(self._pipeline, found.left(rows), self._options)
        for index in kept:
            self._notes.tell(found.chats[index].notes, rows[index].place)
        edges, ids, labels, message_index, kind = arrays
        of_tokens: dict[str, Array] = {
            "input_ids": ids.astype(np.int64),
            "labels": labels.astype(np.int64),
            "attention_mask": np.ones(len(ids), dtype=np.int64),
            "message_index": message_index,
            "kind": kind,
        }
        ends = edges.tolist()
        return {name: [of_tokens[name][start:end] for start, end in pairwise(ends)] for name in self._columns}

    def __reduce__(self) -> Any:
        import transformers

        options = {**asdict(self._options), "loss_on": None}
        if not isinstance(self._options.train_on, str):
            options["train_on"] = tuple(sorted(self._options.train_on))
        loss_on = self._options.loss_on
        if isinstance(loss_on, Mapping):
            # The last weight that fits counts, and a dict is hashed without its order.
            loss_on = ("weights", tuple(loss_on.items()))  # type: ignore[assignment]
        elif not isinstance(loss_on, str):
            loss_on = tuple(sorted(set(loss_on)))
        versions = (__version__, transformers.__version__)
        return (_restored, (versions, self._pipeline.settings, options, loss_on, self._columns))


def _restored(versions: Any, settings: Any, options: Any, loss_on: Any, columns: Any) -> MapFn:
    if isinstance(loss_on, tuple) and loss_on[0] == "weights":
        loss_on = dict(loss_on[1])
    return MapFn(EncodingPipeline(**settings), SupervisedOptions(**{**options, "loss_on": loss_on}), columns)


def _columns_of(batch: Any, indices: Any, column: str | None) -> tuple[list[str], list[Any]]:
    """The columns of a batch, each with a value for each row."""
    if not isinstance(batch, Mapping):
        raise OptionError(f"this works on batches, dicts of columns, got {type(batch).__name__}: dataset.map(…)")
    names = list(batch)
    columns = [batch[name] for name in names]
    counts = {name: len(column) for name, column in zip(names, columns, strict=True)}
    if indices is not None:
        counts = {**(counts or {"no column": 0}), "indices": len(indices)}
    if len(set(counts.values())) > 1:
        # Of a single row, too, values have different lengths.
        _require_batched(names, columns, column)
        raise OptionError(f"the columns of a batch have different lengths: {quoted(counts)}")
    return names, columns


def _require_batched(names: Sequence[str], columns: Sequence[Any], column: str | None) -> None:
    """A single row has messages where a batch has lists of them."""
    for name, values in zip(names, columns, strict=True):
        if name not in ("messages", "conversations", "turns", "prompt", column):
            continue
        if isinstance(values, str) or (isinstance(values, Sequence) and values and isinstance(values[0], Mapping)):
            raise OptionError("this works on batches: dataset.map(encoder.as_map_fn(…), batched=True)")
