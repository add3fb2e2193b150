"""Conversations → the tensors of supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatspan._core import pad_rows
from chatspan.attribute.turns import EndOfTurn
from chatspan.batch.given_rows import SAMPLED, each_sampled
from chatspan.batch.media import media_row, media_tensors
from chatspan.batch.media_form import require_form
from chatspan.batch.padding import ones_like, width_of
from chatspan.batch.per_token import PlacedArrays, batch_arrays, starts_of
from chatspan.batch.sides import Side, packed_side, pad_id_of, sequence_widths, ungrouped
from chatspan.batch.tensors import Batch, tensors_of
from chatspan.encode.escapes import SpecialTokens
from chatspan.encode.first_rows import FirstRowsSummary
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encode.truncation import Truncation
from chatspan.errors import EmptyBatchError, EmptyRowError, RowError
from chatspan.options import (
    BackendOption,
    Boundaries,
    OffPromptPolicy,
    PaddingSide,
    require_choices,
    require_multiples,
    require_switch,
)
from chatspan.rows.notes import NoteLog
from chatspan.rows.options import RowKeywords, checked
from chatspan.rows.row import RawRow, listed_rows, rows_between
from chatspan.supervised.labelled import labelled_batch
from chatspan.supervised.options import EmptyRows, SupervisedLossOn, SupervisedOptions, TrainOn
from chatspan.supervised.rows import IGNORED, SupervisedRow
from chatspan.supervised.sampled import RowAsSampled, TrainedRow, explained, trained_rows
from chatspan.supervised.selection import selected_roles

if TYPE_CHECKING:
    from typing_extensions import Unpack

# As many rows as a data set's lengths are found of in one go: all cores at work, little memory.
_ROWS_AT_ONCE = 64
_PADDED = ("input_ids", "attention_mask", "labels")


@dataclass(frozen=True, kw_only=True)
class _BatchOptions:
    """The form of the batch."""

    packing: bool
    pad_to_multiple_of: int | None
    pad_sequences_to_multiple_of: int | None
    padding_side: PaddingSide
    shift_labels: bool

    def __post_init__(self) -> None:
        require_choices(self, packing=(True, False), padding_side=PaddingSide)
        require_switch("shift_labels", self.shift_labels)
        require_multiples(self)


class ChatCollator:
    """Builds the batch of supervised fine-tuning: the ``data_collator`` of ``transformers.Trainer`` and of TRL's
    ``SFTTrainer``, both with ``remove_unused_columns=False``.

    Called with a list of rows ``{"messages", "tools"?, "documents"?, "chat_template_kwargs"?, "loss_messages"?}``, or
    of rows in another dialect that :func:`chatspan.read_row` knows. ``loss_messages`` are the indices of the messages
    that may be trained; else those of a ``completion``, else each assistant's. A message's own flag (``weight``,
    ``train``, ``training``, ``loss``, ``loss_mask``) takes it out, or gives it a weight. An assistant's message may
    have ``token_ids``, the ids that were sampled for its turn, see :meth:`chatspan.ChatEncoder.encode`.

    A row may also be a :class:`chatspan.SampledRow`, a list of them, or a :class:`chatspan.Rollout`: what the model
    sampled is trained, all of it, and ``loss_on``, ``end_of_turn`` and ``special_tokens`` stay as they are by default.
    ``{"sampled": row, "loss_messages": [3]}`` names the turns that may be trained.

    Args:
        tokenizer: an HF fast tokenizer; or a processor, for rows with images, videos and audio, in parts of messages or
            in columns such as ``images``.
        loss_on: what of assistants' messages is trained: ``"turn"``, all that the model has to produce itself, tool
            calls and end of turn included; ``"content"``; ``"generation"``, what the template's ``{% generation %}``
            blocks wrote; a set of :class:`chatspan.Kind`; or weights, as :meth:`chatspan.Encoding.weights` takes them.
        end_of_turn: how a turn ends, see :meth:`chatspan.Encoding.mask`.
        max_length: how many tokens a row may have.
        truncation: what becomes of longer ones: ``"error"``; ``"left"`` or ``"right"``, tokens are cut off there.
        empty_rows: what becomes of rows with nothing to train on: ``"error"``; ``"drop"``, they are left out, with a
            warning, and counted in ``dropped_rows``.
        packing: whether all rows of a call become one row, without padding if no multiple is given. Of a processor
            those alone whose tensors and positions tell the rows apart.
        pad_to_multiple_of: rows are filled up to a multiple of it; packed ones with a sequence of its own, the last.
        pad_sequences_to_multiple_of: each sequence of a packed row is filled up to a multiple of it, as tensor and
            context parallelism need it.
        shift_labels: whether the batch has ``shift_labels`` too, the labels at the columns whose logits predict them,
            so that no column needs its neighbour, as transformers' ``Trainer`` and its models take them.
        padding_side: ``"right"``, ``"left"``.
        train_on: which messages are trained: ``"all"``, each assistant's; ``"last"``, the last assistant's of the row;
            or roles: of others than assistants the content and what ends it. Of rows as sampled assistants' alone.
        loss_weight: whether the batch has ``loss_weight``, which carries weights of messages other than 0 and 1;
            without it such a weight is an error.
        per_token: keys of assistants' messages that have a value for each of their ``token_ids``, such as
            ``("logprobs", "advantages")``, or names of a row's :attr:`chatspan.SampledRow.per_token`. The batch has
            them, and the template does not see them.
        row_options: how rows are read: the fields of :class:`chatspan.RowOptions`.
        special_tokens: what becomes of control tokens in the text of fields, see :meth:`chatspan.ChatEncoder.encode`.
        chat_template, backend, boundaries: see :class:`chatspan.ChatEncoder`.
        off_prompt: what becomes of turns that no inference prompt leads to (:attr:`chatspan.Encoding.off_prompt`):
            ``"keep"``, they are trained, and the log says once how many of the first rows have some; ``"drop_turn"``,
            they are not; ``"error"``. The last two render the prompt of each turn.

    Returns (of a call):
        int64 tensors ``[B, T]``, padded with the pad id (the eos id where there is none): ``input_ids``;
        ``attention_mask``; ``labels``, -100 where nothing is trained, unshifted. A row's first token is never trained:
        nothing in front of it predicts it. With weights or ``loss_weight=True`` also float32 ``[B, T]``
        ``loss_weight``, which a trainer has to be told to use. For each name of ``per_token`` ``[B, T, …]``, cut and
        padded with the ids, 0 where nothing was sampled; of its own type, floats of Python as float32.
        With ``shift_labels`` int64 ``[B, T]`` ``shift_labels``: ``labels`` one column further left.
        With ``packing`` one row ``[1, S]`` without ``attention_mask``, with ``position_ids`` that restart,
        ``cu_seq_lens_q``, ``cu_seq_lens_k`` (int32), ``max_length_q``, ``max_length_k`` (int), as transformers'
        ``DataCollatorWithFlattening``, and ``use_cache`` (false): with a cache, eager and SDPA attention do not tell
        the rows apart. Of a processor also what it returned for the batch, in one call: ``pixel_values`` ….

    Raises:
        OptionError, TokenizerError, BackendError: (when made) options, or a tokenizer, that cannot be.
        RowError: a row has no conversation, as where a trainer took the columns away.
        TruncationError: a row is longer than ``max_length``.
        EmptyRowError: a row has nothing to train on.
        EmptyBatchError: no row is left.
        RolloutError: a message's values are not one for each of its ``token_ids``; with ``message_index``.
        ChatspanError: of the encoder. All with the row's place in the batch.

    Attributes:
        dropped_rows: how many rows were left out; in each worker process its own.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from chatspan import ChatCollator
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> collate = ChatCollator(tokenizer)
        >>> batch = collate([{"messages": [{"role": "user", "content": "2 + 2?"},
        ...                                {"role": "assistant", "content": "It is 4."}]}])
        >>> sorted(batch)
        ['attention_mask', 'input_ids', 'labels']
        >>> tokenizer.decode(batch["labels"][batch["labels"] != -100])
        'It is 4.<|im_end|>'
    """

    # A class that makes rows or batches in its own way has none.
    _has_quick_way = True

    def __init__(
        self,
        tokenizer: Any,
        *,
        loss_on: SupervisedLossOn = "turn",
        end_of_turn: EndOfTurn = "token",
        max_length: int | None = None,
        truncation: Truncation = "error",
        empty_rows: EmptyRows = "error",
        packing: bool = False,
        pad_to_multiple_of: int | None = None,
        pad_sequences_to_multiple_of: int | None = None,
        padding_side: PaddingSide = "right",
        shift_labels: bool = False,
        special_tokens: SpecialTokens = "as_rendered",
        chat_template: str | Mapping[str, str] | None = None,
        backend: BackendOption = "auto",
        off_prompt: OffPromptPolicy = "keep",
        boundaries: Boundaries = "as_rendered",
        train_on: TrainOn = "all",
        loss_weight: bool = False,
        per_token: Sequence[str] = (),
        **row_options: Unpack[RowKeywords],
    ) -> None:
        self.encoder = EncodingPipeline(
            tokenizer, chat_template=chat_template, backend=backend, boundaries=boundaries, takes_processor=True
        )
        self._options = SupervisedOptions(
            loss_on=loss_on,
            end_of_turn=end_of_turn,
            max_length=max_length,
            truncation=truncation,
            empty_rows=empty_rows,
            special_tokens=special_tokens,
            off_prompt=off_prompt,
            train_on=train_on,
            loss_weight=loss_weight,
            per_token=per_token,
            **checked(row_options, ChatCollator),
        )
        self._form = _BatchOptions(
            packing=packing,
            pad_to_multiple_of=pad_to_multiple_of,
            pad_sequences_to_multiple_of=pad_sequences_to_multiple_of,
            padding_side=padding_side,
            shift_labels=shift_labels,
        )
        require_form(self.encoder, packing=packing)
        self._pad_id = pad_id_of(self.encoder.tokenizer)
        self._first_rows = FirstRowsSummary(off_prompt, loss_on, selected_roles(train_on))
        self._notes = NoteLog()
        self.dropped_rows = 0

    def warm_up(self) -> None:
        """Loads the native tokenizer now, as before worker processes are forked that would else load one each."""
        self.encoder.warm_up()

    def __call__(self, rows: Sequence[Any]) -> Batch:
        given = self._ungrouped(rows)
        quick = self._quick(given)
        if quick is not None:
            return quick
        found = self._rows(given, "row {} of the batch")
        kept = [row for row in found if row is not None]
        if self.encoder.processor is not None and 0 < len(kept) < len(found):
            # The tensors of a processor's call are those of all of its rows.
            again = self._rows([each for each, row in zip(given, found, strict=True) if row is not None], "row {}")
            kept = [row for row in again if row is not None]
        read = [row for row in kept if isinstance(row, SupervisedRow)]
        self._first_rows.tell_of(row.encoding for row in read)
        for row in read:
            self._notes.tell(row.chat.notes, row.place)
        self.dropped_rows += len(found) - len(kept)
        if not kept:
            raise _empty_batch(len(found))
        batch = tensors_of(self._batch(kept), self.encoder.decode_one)
        if self.encoder.processor is not None:
            batch |= self._media(read, tuple(batch["input_ids"].shape))
        return batch

    def _quick(self, rows: Sequence[Any]) -> Batch | None:
        """The batch, made by the core in one go; ``None`` where it takes the encoding of each row."""
        is_list = type(rows) is list and len(rows) > 0 and not any(type(row) is dict and SAMPLED in row for row in rows)
        if not (is_list and self._has_quick_way and self._first_rows.is_told) or self._form.packing:
            return None
        raw = _numbered(rows, "row {} of the batch")
        found = labelled_batch(self.encoder, raw, self._options)
        if found is None:
            return None
        kept = found.trained
        if len(kept) < len(rows):
            self._supervised(found.left(raw))
        for index in kept:
            self._notes.tell(found.chats[index].notes, raw[index].place)
        self.dropped_rows += len(rows) - len(kept)
        if not kept:
            raise _empty_batch(len(rows))
        width = width_of((found.tokens.counts[index][0] for index in kept), self._form.pad_to_multiple_of)
        arrays = found.tokens.rows.padded(kept, width, self._pad_id, self._form.padding_side == "left")
        return tensors_of(self._shifted(dict(zip(_PADDED, arrays, strict=True))), self.encoder.decode_one)

    def _media(self, rows: Sequence[SupervisedRow], shape: tuple[int, int]) -> dict[str, Any]:
        """What the model takes of the rows' media."""
        starts = _starts(rows, self._form, shape[1])
        placed = zip(rows, starts, strict=True)
        return media_tensors(
            [media_row(row.encoding, start + np.arange(len(row.labels))) for row, start in placed], shape
        )

    def _ungrouped(self, rows: Sequence[Any]) -> Sequence[Any]:
        """The rows of groups of a packed data set, and of rollouts."""
        if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Sequence):
            return rows
        return each_sampled(ungrouped(rows) if self._form.packing else rows)

    def has_signal(self, row: Any) -> bool:
        """Whether anything of a row is trained; to filter a data set beforehand.

        Raises:
            ChatspanError: as a call, but for a row with nothing to train on.
        """
        try:
            return self._rows([row], "row {}")[0] is not None
        except EmptyRowError:
            return False

    def lengths(self, rows: Sequence[Any]) -> list[int]:
        """How many tokens each row takes, with those that ``pad_sequences_to_multiple_of`` adds; 0 for one left out.

        Raises:
            ChatspanError: as a call, with the place in ``rows``.
        """
        lengths = []
        rows = listed_rows(rows)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows_between(rows, start, start + _ROWS_AT_ONCE)
            found = self._rows(some, "row {}", start)
            of_rows = (0 if row is None else len(row.input_ids) for row in found)
            lengths += sequence_widths(of_rows, self._form.pad_sequences_to_multiple_of).tolist()
        return lengths

    def explain(self, row: Any) -> str:
        """The tokens of a row by message and kind, and what of it is trained, for a person to read."""
        found = self._rows([row], "row {}")[0]
        if found is None:
            return "left out\n"
        if isinstance(found, RowAsSampled):
            return explained(found, self.encoder.decode)
        trained = self.encoder.decode(found.labels[found.labels != IGNORED])
        notes = "".join(f"changed by the reader: {note}\n" for note in found.chat.notes)
        return f"{found.encoding.explain()}\ntrained: {trained!r}\n{notes}"

    def _batch(self, rows: Sequence[TrainedRow]) -> dict[str, Any]:
        batch = (_packed if self._form.packing else _padded)(rows, self._form, self._pad_id)
        batch = self._shifted(batch)
        names = self._options.per_token
        return batch | _side_arrays(names, rows, self._form, batch["input_ids"].shape[1]) if names else batch

    def _shifted(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with the labels at the columns whose logits predict them, if they are asked for."""
        if not self._form.shift_labels:
            return batch
        last = np.full((len(batch["labels"]), 1), IGNORED, dtype=np.int64)
        # The first label of each sequence is none, so that none is another one's.
        return {**batch, "shift_labels": np.concatenate([batch["labels"][:, 1:], last], axis=1)}

    def _rows(self, rows: Sequence[Any], place: str, start: int = 0) -> Sequence[TrainedRow | None]:
        if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Sequence):
            hint = ": put it in a list" if isinstance(rows, Mapping) else ""
            raise RowError(f"expected a list of rows, got {type(rows).__name__}{hint}")
        if not rows:
            raise RowError("the batch is empty: pass at least one row")
        return self._supervised(_numbered(listed_rows(rows), place, start))

    def _supervised(self, rows: Sequence[RawRow]) -> Sequence[TrainedRow | None]:
        return trained_rows(self.encoder, rows, self._options)


def _numbered(rows: Sequence[Any], place: str, start: int = 0) -> list[RawRow]:
    return [RawRow(index=index, place=place.format(index), value=row) for index, row in enumerate(rows, start)]


def _empty_batch(count: int) -> EmptyBatchError:
    return EmptyBatchError(
        f"none of {count} rows has anything to train on; filter the data set with collator.has_signal"
    )


def _padded(rows: Sequence[TrainedRow], form: _BatchOptions, pad_id: int) -> dict[str, Any]:
    ids = [row.input_ids for row in rows]
    width = width_of(map(len, ids), form.pad_to_multiple_of)
    on_left = form.padding_side == "left"
    sets = [(ids, pad_id), (ones_like(ids), 0), ([row.labels for row in rows], IGNORED)]
    # Padded on one side only, so that a model finds the positions itself.
    batch: dict[str, Any] = dict(zip(_PADDED, pad_rows(sets, width, on_left), strict=True))
    if rows[0].weights is not None:
        batch["loss_weight"] = np.zeros((len(rows), width), dtype=np.float32)
        for padded, row in zip(batch["loss_weight"], rows, strict=True):
            start = width - len(row.labels) if on_left else 0
            padded[start : start + len(row.labels)] = row.weights
    return batch


def _side_arrays(
    names: Sequence[str], rows: Sequence[TrainedRow], form: _BatchOptions, width: int
) -> dict[str, NDArray[Any]]:
    """What each token has beside its label."""
    placed = [
        PlacedArrays(row.per_token, start + np.arange(len(row.labels)), row.has_sampled, {"row_place": row.place})
        for row, start in zip(rows, _starts(rows, form, width), strict=True)
    ]
    return batch_arrays(names, placed, width, packed=form.packing)


def _starts(rows: Sequence[TrainedRow], form: _BatchOptions, width: int) -> list[int]:
    """The column at which each row begins."""
    return starts_of((len(row.labels) for row in rows), width, form)


def _packed(rows: Sequence[TrainedRow], form: _BatchOptions, pad_id: int) -> dict[str, Any]:
    arrays, starts = packed_side("", [_side(row) for row in rows], form, pad_id)
    # transformers' models take it by other names, or not at all.
    del arrays["seq_idx"]
    batch: dict[str, Any] = dict(arrays)
    # Flash attention wants numbers.
    batch |= {name: int(batch[name]) for name in ("max_length_q", "max_length_k")}
    batch["labels"] = np.full_like(batch["input_ids"], IGNORED)
    if rows[0].weights is not None:
        batch["loss_weight"] = np.zeros(batch["input_ids"].shape, dtype=np.float32)
    for start, row in zip(starts, rows, strict=True):
        batch["labels"][0, start : start + len(row.labels)] = row.labels
        if row.weights is not None:
            batch["loss_weight"][0, start : start + len(row.labels)] = row.weights
    batch["use_cache"] = False
    return batch


def _side(row: TrainedRow) -> Side:
    count = len(row.input_ids)
    return Side(row.input_ids, np.arange(count), count)
