"""Encodings → columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chatspan.encoding import Encoding
from chatspan.rows.steps.media_data import data_of, source_of

SCHEMA = pa.schema(
    [
        ("row_index", pa.int64()),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("message_index", pa.list_(pa.int32())),
        ("kind", pa.list_(pa.uint8())),
    ]
)
_WEIGHT = pa.field("loss_weight", pa.list_(pa.float32()))
_MEDIUM = pa.struct(
    [
        ("message_index", pa.int32()),
        ("part", pa.int32()),
        ("modality", pa.string()),
        ("start_token", pa.int32()),
        ("end_token", pa.int32()),
        ("source", pa.string()),
    ]
)
# What a processor is handed again, since its tensors are not kept.
_OF_PROCESSOR = (pa.field("render", pa.string()), pa.field("media", pa.list_(_MEDIUM)))

_TYPES = {"int64": pa.int64(), "int32": pa.int32(), "uint8": pa.uint8(), "float32": pa.float32()}

Messages = Sequence[Mapping[str, Any]]


def schema_of(*, weights: bool = False, media: bool = False) -> Any:
    """The columns of shards, with weights, and of a processor with what stands in place of its tensors."""
    schema = SCHEMA
    for field in (*([_WEIGHT] if weights else []), *(_OF_PROCESSOR if media else ())):
        schema = schema.append(field)
    return schema


def columns_of(
    rows: Sequence[int],
    encodings: Sequence[Encoding],
    labels: Sequence[NDArray[np.int64]],
    weights: Sequence[NDArray[np.float32]] | None = None,
    messages: Sequence[Messages] | None = None,
) -> Any:
    """A record batch of :func:`schema_of`.

    Args:
        rows: the index of each encoding's row.
        labels: of each encoding, int64 ``[T]``.
        weights: of each encoding, float32 ``[T]``.
        messages: of each encoding that a processor made, its messages.
    """
    edges = np.cumsum([0, *(len(encoding) for encoding in encodings)]).astype(np.int32)

    def lists(arrays: Sequence[NDArray[Any]], dtype: type) -> Any:
        values = np.concatenate(arrays) if arrays else np.zeros(0)
        return _lists(edges, values.astype(dtype, copy=False))

    columns = [
        _numbers(np.array(rows, dtype=np.int64)),
        lists([encoding.input_ids for encoding in encodings], np.int32),
        lists(labels, np.int32),
        lists([encoding.message_index for encoding in encodings], np.int32),
        lists([encoding.kind for encoding in encodings], np.uint8),
    ]
    if weights is not None:
        columns.append(lists(weights, np.float32))
    if messages is not None:
        media = [_media(encoding, each) for encoding, each in zip(encodings, messages, strict=True)]
        renders = [encoding._attributed.template_text for encoding in encodings]
        columns += [pa.array(renders, pa.string()), pa.array(media, pa.list_(_MEDIUM))]
    schema = schema_of(weights=weights is not None, media=messages is not None)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def columns_of_arrays(rows: Sequence[int], edges: NDArray[np.int32], *arrays: NDArray[Any]) -> Any:
    """As :func:`columns_of`, of arrays that have the tokens of all rows, one behind the other.

    Args:
        edges: where each row begins, and the last one ends.
        arrays: ids, labels, message indices, kinds; of the types of the columns.
    """
    columns = [_numbers(np.array(rows, dtype=np.int64)), *(_lists(edges, array) for array in arrays)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _numbers(values: NDArray[Any]) -> Any:
    """A column of an array's numbers, in its memory. ``pa.array`` would load pandas to ask whether it is one of its."""
    return pa.Array.from_buffers(_TYPES[values.dtype.name], len(values), [None, pa.py_buffer(values)])


def _lists(edges: NDArray[np.int32], values: NDArray[Any]) -> Any:
    column = _numbers(values)
    buffers = [None, pa.py_buffer(edges)]
    return pa.Array.from_buffers(pa.list_(column.type), len(edges) - 1, buffers, children=[column])


def _media(encoding: Encoding, messages: Messages) -> list[dict[str, Any]]:
    """Where the media stand, and where they are loaded from; ``source`` is null where the row has the data itself."""
    return [
        {
            "message_index": each.message_index,
            "part": each.path[-1],
            "modality": each.modality,
            "start_token": each.start_token,
            "end_token": each.end_token,
            "source": source_of(data_of(messages, each.message_index, int(each.path[-1]), each.modality)),
        }
        for each in encoding.media
    ]
