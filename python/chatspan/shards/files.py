"""Tables → the bytes of their files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chatspan.shards.columns import SCHEMA
from chatspan.shards.plan import Format

# Rows a row group: what a reader has to read at once for one row.
_ROW_GROUP = 256


def table_bytes(batches: Sequence[Any], file_format: Format, schema: Any = SCHEMA) -> Any:
    """The file of a shard, as a buffer of Arrow; the same for the same rows."""
    sink = pa.BufferOutputStream()
    if file_format == "arrow":
        with pa.ipc.new_stream(sink, schema) as stream:
            for batch in batches:
                stream.write_batch(batch)
    else:
        table = pa.Table.from_batches(batches, schema)
        # Ids have too many values for a dictionary; what says whose they are has few, in long runs.
        dictionaries = ["labels.list.element", "message_index.list.element", "kind.list.element"]
        pq.write_table(
            table,
            sink,
            row_group_size=_ROW_GROUP,
            compression="zstd",
            compression_level=1,
            use_dictionary=dictionaries,
            write_statistics=["row_index"],
        )
    return sink.getvalue()
