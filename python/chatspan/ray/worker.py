"""What runs in each of Ray's workers: batches of rows → tables of ids and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from chatspan.encode.pipeline import EncodingPipeline
from chatspan.errors import ChatspanError
from chatspan.options import BackendOption, Boundaries
from chatspan.ray.rows import raw_rows
from chatspan.rows.notes import NoteLog
from chatspan.rows.row import RawRow
from chatspan.shards.columns import columns_of
from chatspan.supervised.options import SupervisedOptions
from chatspan.supervised.rows import SupervisedRow, outcomes_of

OnError = Literal["raise", "reject"]

# Rows that are tokenized in one call. More do not make it faster, and take more memory.
_ROWS_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """What an encoder is made of, and what it does. Goes to each worker.

    Attributes:
        tokenizer: loaded, so that the other machines need neither its folder nor the hub.
        chat_template, backend, boundaries: see :class:`chatspan.ChatEncoder`.
        options: how rows are encoded, and what is trained.
        on_error: what becomes of rows that fail, see :func:`chatspan.ray.encode`.
    """

    tokenizer: Any
    chat_template: str | Mapping[str, str] | None
    backend: BackendOption
    boundaries: Boundaries
    options: SupervisedOptions
    on_error: OnError


class RowEncoder:
    """Encodes batches; Ray makes one in each worker, which keeps its encoder."""

    def __init__(self, settings: EncoderSettings) -> None:
        self._settings = settings
        self._pipeline = EncodingPipeline(
            settings.tokenizer,
            chat_template=settings.chat_template,
            backend=settings.backend,
            boundaries=settings.boundaries,
        )
        self._pipeline.warm_up()
        self._notes = NoteLog()

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = raw_rows(batch)
        done: list[tuple[RawRow, SupervisedRow | Exception]] = []
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            done += self._encoded(rows[first : first + _ROWS_AT_ONCE])
        return _table(done, self._settings)

    def _encoded(self, rows: Sequence[RawRow]) -> list[tuple[RawRow, SupervisedRow | Exception]]:
        """Each row with what became of it, without those that are to be left out."""
        found = outcomes_of(self._pipeline, rows, self._settings.options)
        if self._settings.on_error == "raise" and (errors := [each for each in found if isinstance(each, Exception)]):
            raise _of_a_user(errors[0]) from None
        for made in found:
            if isinstance(made, SupervisedRow):
                self._notes.tell(made.chat.notes, made.place)
        return [(row, made) for row, made in zip(rows, found, strict=True) if made is not None]


def _table(done: Sequence[tuple[RawRow, SupervisedRow | Exception]], settings: EncoderSettings) -> pa.Table:
    made = [(row, each) for row, each in done if isinstance(each, SupervisedRow)]
    indices = [row.index for row, _ in made]
    weights = [each.weights for _, each in made if each.weights is not None] if settings.options.has_weights else None
    batch = columns_of(indices, [each.encoding for _, each in made], [each.labels for _, each in made], weights)
    table = pa.Table.from_batches([batch])
    return table if settings.on_error == "raise" else _with_rejects(table, done)


def _with_rejects(table: pa.Table, done: Sequence[tuple[RawRow, SupervisedRow | Exception]]) -> pa.Table:
    """All rows in their order: one that failed has its index, its error, and nulls."""
    position = iter(range(table.num_rows))
    errors = [each if isinstance(each, Exception) else None for _, each in done]
    table = table.take(pa.array([next(position) if error is None else None for error in errors], pa.int64()))
    table = table.set_column(0, "row_index", pa.array([row.index for row, _ in done], pa.int64()))
    names = [None if error is None else type(error).__name__ for error in errors]
    messages = [None if error is None else _message(error) for error in errors]
    table = table.append_column("error", pa.array(names, pa.string()))
    return table.append_column("error_message", pa.array(messages, pa.string()))


def _message(error: Exception) -> str:
    """The message with the row's place; what cannot be in a table's text is spelled out."""
    text = str(error) if isinstance(error, ChatspanError) else f"{type(error).__name__}: {error}"
    return text.encode("utf-8", "backslashreplace").decode()


def _of_a_user(error: Exception) -> Exception:
    """The error, of its own type and of the one by which Ray knows users' errors: others it takes for its own, shows
    with all of its stack, hundreds of lines, and asks for a report.
    """
    from ray.exceptions import UserCodeException

    kind = type(error)
    if isinstance(error, ChatspanError):
        error.__class__ = type(kind.__name__, (kind, UserCodeException), {"__module__": kind.__module__})
    return error
