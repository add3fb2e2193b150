"""Tables and texts → files that are whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chatspan.shards.columns import SCHEMA
from chatspan.shards.plan import Format

# Rows a row group: what a reader has to read at once for one row.
_ROW_GROUP = 256
TEMPORARY = ".tmp"


def table_bytes(batches: Sequence[Any], file_format: Format) -> memoryview:
    """The file of a shard; the same for the same rows."""
    sink = pa.BufferOutputStream()
    if file_format == "arrow":
        with pa.ipc.new_stream(sink, SCHEMA) as stream:
            for batch in batches:
                stream.write_batch(batch)
    else:
        table = pa.Table.from_batches(batches, SCHEMA)
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
    return memoryview(sink.getvalue())


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Writes a file under another name and renames it: whoever sees it sees all of it.

    Raises:
        OSError: with ``filename``.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = error.filename or str(path)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, whole."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
