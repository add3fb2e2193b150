"""Encodings → columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chatspan.encoding import Encoding

SCHEMA = pa.schema(
    [
        ("row_index", pa.int64()),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("message_index", pa.list_(pa.int32())),
        ("kind", pa.list_(pa.uint8())),
    ]
)


WEIGHTED_SCHEMA = SCHEMA.append(pa.field("loss_weight", pa.list_(pa.float32())))


def columns_of(
    rows: Sequence[int],
    encodings: Sequence[Encoding],
    labels: Sequence[NDArray[np.int64]],
    weights: Sequence[NDArray[np.float32]] | None = None,
) -> Any:
    """A record batch of :data:`SCHEMA`, or with weights of :data:`WEIGHTED_SCHEMA`.

    Args:
        rows: the index of each encoding's row.
        labels: of each encoding, int64 ``[T]``.
        weights: of each encoding, float32 ``[T]``.
    """
    edges = np.cumsum([0, *(len(encoding) for encoding in encodings)]).astype(np.int32)

    def lists(arrays: Sequence[NDArray[Any]], dtype: type) -> Any:
        values = np.concatenate(arrays) if arrays else np.zeros(0)
        return pa.ListArray.from_arrays(edges, values.astype(dtype, copy=False))

    columns = [
        pa.array(rows, type=pa.int64()),
        lists([encoding.input_ids for encoding in encodings], np.int32),
        lists(labels, np.int32),
        lists([encoding.message_index for encoding in encodings], np.int32),
        lists([encoding.kind for encoding in encodings], np.uint8),
    ]
    if weights is None:
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    return pa.RecordBatch.from_arrays([*columns, lists(weights, np.float32)], schema=WEIGHTED_SCHEMA)
