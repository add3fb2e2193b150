"""Rows that were encoded with a processor → batches with its tensors: media are loaded anew, labels are the rows'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan._core import Offsets
from chatspan.attribute.media import ModelInputs
from chatspan.batch.media import media_row, media_tensors
from chatspan.batch.media_form import require_form
from chatspan.batch.padding import padded, padded_ids, width_of
from chatspan.batch.per_token import row_starts
from chatspan.batch.sides import pad_id_of
from chatspan.batch.tensors import Batch, tensors_of
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encoding import Encoding
from chatspan.errors import LayoutError, OptionError, RowError, one_line, place_of_row, quoted
from chatspan.kinds import Kind
from chatspan.media.recording import RecordedRow, inputs_of
from chatspan.options import PaddingSide, require_choices, require_counts
from chatspan.render.request import RenderRequest
from chatspan.rows.media_types import MODALITIES, one_medium
from chatspan.rows.messages import shown
from chatspan.rows.row import listed_rows
from chatspan.rows.steps.media import media_of
from chatspan.rows.steps.media_data import with_data
from chatspan.rows.steps.plain import is_missing, plain_row
from chatspan.supervised.rows import IGNORED

Ints = NDArray[np.int64]

# Of a conversation whose one message has the render beside the media.
_TEMPLATE = "{{ messages[0]['render'] }}"


@dataclass(frozen=True)
class _Row:
    """A row of a shard.

    Attributes:
        media: ranges of tokens.
        parts: the media, as processors take them.
    """

    input_ids: Ints
    labels: Ints
    weights: NDArray[np.float32] | None
    render: str
    media: Sequence[tuple[int, int]]
    parts: Sequence[Mapping[str, Any]]


class EncodedMediaCollator:
    """Builds the batch of rows that ``chatspan encode --processor`` wrote: a ``data_collator`` for
    ``transformers.Trainer`` and TRL's ``SFTTrainer``, both with ``remove_unused_columns=False``.

    Called with a list of rows ``{"input_ids", "labels", "render", "media", "loss_weight"?}``. Each medium is loaded
    from its ``source``; of those without one the row has the data, in its columns ``images``, ``videos`` and
    ``audios``, in their order. The processor is called once for the batch, with the renders and the media, and its ids
    must be those of the rows. The batch is that of ``ChatCollator(processor)`` on the rows that were encoded.

    Args:
        processor: the one that the rows were encoded with.
        padding_side: ``"right"``, ``"left"``.
        pad_to_multiple_of: rows are filled up to a multiple of it.
        media_folder: where sources that are relative paths are looked for, if they are not there from the working
            directory.

    Returns (of a call):
        int64 tensors ``[B, T]``: ``input_ids``, ``attention_mask``, ``labels``; float32 ``[B, T]`` ``loss_weight``,
        where the rows have it; and what the processor returned beside the ids, such as ``pixel_values``.

    Raises:
        OptionError, TokenizerError: (when made) options, or a processor, that cannot be.
        RowError: a row lacks a column, or the data of a medium; with its place in the batch.
        ExpansionError: the processor raises, as where a medium cannot be loaded.
        LayoutError: the processor makes other ids of a row than the row has; or values for each of its tokens cannot
            be laid out, since sampled or escaped ids stand in place of some.
    """

    def __init__(
        self,
        processor: Any,
        *,
        padding_side: PaddingSide = "right",
        pad_to_multiple_of: int | None = None,
        media_folder: str | None = None,
    ) -> None:
        # The renders are there already.
        pipeline = EncodingPipeline(processor, takes_processor=True, require_template=False)
        if pipeline.processor is None:
            raise OptionError(
                f"processor is {type(processor).__name__}, a tokenizer: pass the processor (AutoProcessor) that the "
                "rows were encoded with; rows of a tokenizer need padding alone, as DataCollatorForSeq2Seq does it"
            )
        require_form(pipeline, packing=False)
        self.padding_side, self.pad_to_multiple_of = padding_side, pad_to_multiple_of
        require_choices(self, padding_side=PaddingSide)
        require_counts(self, "pad_to_multiple_of")
        if media_folder is not None and not isinstance(media_folder, str):
            raise OptionError(f"media_folder={quoted(media_folder)}: expected the path of a folder, or None")
        self._pipeline = pipeline
        self._folder = media_folder
        self._pad_id = pad_id_of(pipeline.tokenizer)

    def __call__(self, rows: Sequence[Any]) -> Batch:
        given = listed_rows(rows)
        if not len(given):
            raise RowError("the batch is empty: pass at least one row")
        read = [self._row(each, index) for index, each in enumerate(given)]
        encodings = self._processed(read)
        ids, mask = padded_ids([row.input_ids for row in read], self._pad_id, self.padding_side, self._width(read))
        width = ids.shape[1]
        batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        batch["labels"] = padded([row.labels for row in read], IGNORED, self.padding_side, width)
        weights = [row.weights for row in read if row.weights is not None]
        if weights:
            batch["loss_weight"] = self._weights(read, width)
        starts = row_starts([len(row.input_ids) for row in read], width, self.padding_side, packed=False)
        placed = [media_row(each, start + np.arange(len(each))) for each, start in zip(encodings, starts, strict=True)]
        return tensors_of(batch, self._pipeline.decode_one) | media_tensors(placed, (len(read), width))

    def _width(self, rows: Sequence[_Row]) -> int:
        return width_of((len(row.input_ids) for row in rows), self.pad_to_multiple_of)

    def _weights(self, rows: Sequence[_Row], width: int) -> NDArray[np.float32]:
        found = np.zeros((len(rows), width), dtype=np.float32)
        for at, row in enumerate(rows):
            own = (row.labels != IGNORED).astype(np.float32) if row.weights is None else row.weights
            start = width - len(own) if self.padding_side == "left" else 0
            found[at, start : start + len(own)] = own
        return found

    def _processed(self, rows: Sequence[_Row]) -> list[Encoding]:
        """The rows' own tokens, with what the processor made of the batch."""
        conversations = [
            ([{"role": "user", "render": row.render, "content": list(row.parts)}], row.render) for row in rows
        ]
        given = inputs_of(self._pipeline.processor, conversations, RenderRequest(()), _TEMPLATE, {})
        made = self._pipeline.made_together([given])
        return [
            self._encoding(row, recorded, ModelInputs(made.outputs, index), place_of_row(index))
            for index, (row, recorded) in enumerate(zip(rows, made.rows, strict=True))
        ]

    def _encoding(self, row: _Row, recorded: RecordedRow, made: ModelInputs, place: Mapping[str, Any]) -> Encoding:
        """The row's own tokens, as those of the processor's that they are.

        Raises:
            LayoutError: they are others, of another text.
        """
        ids, own = row.input_ids, recorded.ids
        kept = _kept(ids, own)
        # Sampled and escaped ids are other ids of the same text.
        if kept is None and self._pipeline.decode(ids) not in self._pipeline.decode(own):
            raise LayoutError(
                f"the processor makes {len(own):,} tokens from it that are not its {len(ids):,} input_ids: pass the "
                "processor that it was encoded with, with the same settings and media, or encode the rows again",
                **place,
            )
        kind = np.full(len(ids), Kind.CONTENT, dtype=np.uint8)
        for start, end in row.media:
            kind[start:end] = Kind.MEDIA
        return Encoding(
            input_ids=ids,
            table=Offsets(recorded.offsets[slice(0, 0) if kept is None else kept], text_length=len(recorded.text)),
            message_index=np.zeros(len(ids), dtype=np.int32),
            kind=kind,
            straddling=np.zeros(0, dtype=np.int64),
            roles=(),
            truncated=0 if kept is None else len(own) - len(ids),
            _model_inputs=made,
        )

    def _row(self, given: Any, index: int) -> _Row:
        place = place_of_row(index)
        row = plain_row(given)
        if row is None:
            raise RowError(f"expected a row of chatspan encode --processor, got {shown(given)}", **place)
        for name in ("input_ids", "labels", "render", "media"):
            if is_missing(row.get(name)):
                known = ", ".join(map(repr, row))
                raise RowError(f"it has no {name!r}, as chatspan encode --processor writes it; it has {known}", **place)
        try:
            return self._read(row)
        except RowError as error:
            raise RowError(error.message, **place) from error.__cause__
        # Whatever an object in a row raises when it is read.
        except Exception as error:
            raise RowError(
                f"it is not as chatspan encode --processor writes it: {type(error).__name__}: {one_line(error)}",
                **place,
            ) from error

    def _read(self, row: Mapping[str, Any]) -> _Row:
        ids, labels = (np.asarray(row[name], dtype=np.int64) for name in ("input_ids", "labels"))
        weights = None if is_missing(row.get("loss_weight")) else np.asarray(row["loss_weight"], dtype=np.float32)
        for name, values in (("labels", labels), ("loss_weight", weights)):
            if ids.ndim != 1 or not len(ids) or (values is not None and values.shape != ids.shape):
                raise RowError(f"its {name!r} must have a value for each of its input_ids, at least one")
        media = list(row["media"])
        ranges = [(int(each["start_token"]), int(each["end_token"])) for each in media]
        for start, end in ranges:
            if not 0 <= start <= end <= len(ids):
                raise RowError(f"its 'media' name the tokens {start} to {end}, and it has {len(ids):,}")
        return _Row(ids, labels, weights, str(row["render"]), ranges, self._parts(media, row))

    def _parts(self, media: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The media as parts of a content."""
        own = {kind: iter(values) for kind, values in media_of(row).items()}
        parts = []
        for each in media:
            kind = each["modality"]
            if kind not in MODALITIES:
                raise RowError(f"its 'media' have the modality {quoted(kind)}: pass {', '.join(MODALITIES)}")
            data = each["source"] if each["source"] is not None else next(own.get(kind, iter(())), None)
            if data is None:
                raise RowError(
                    f"{one_medium(kind)} of message {each['message_index']} has no source, and the row has no data for "
                    f"it: add a column {kind}s with the data of those without a source, in their order"
                )
            parts.append({"type": kind, kind: data})
        [message] = with_data([{"role": "user", "content": parts}], self._folder, self._pipeline.processor)
        return list(message["content"])


def _kept(ids: Ints, own: Ints) -> slice | None:
    """Which of the processor's tokens a row has: all, or those that a cut left; ``None``: it has others."""
    count = len(ids)
    if count > len(own):
        return None
    sides = (slice(0, count), slice(len(own) - count, len(own)))
    return next((kept for kept in sides if np.array_equal(own[kept], ids)), None)
