"""Tables → the bytes of their files."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chatspan.shards.plan import Format

# Rows a row group: what a reader has to read at once for one row.
_ROW_GROUP = 256
# Ids have too many values for a dictionary; what says whose they are has few, in long runs.
_DICTIONARIES = ["labels.list.element", "message_index.list.element", "kind.list.element"]


class TableFile:
    """The file of a shard, made while its rows come; the same for the same rows.

    Args:
        threads: what writes row groups beside the work: Arrow needs no GIL for it.
    """

    def __init__(self, file_format: Format, schema: Any, threads: ThreadPoolExecutor) -> None:
        self._schema, self._threads = schema, threads
        self._sink = pa.BufferOutputStream()
        self._is_arrow = file_format == "arrow"
        self._writer = pa.ipc.new_stream(self._sink, schema) if self._is_arrow else _parquet(self._sink, schema)
        self._rows: list[Any] = []
        self._count = 0
        self._job: Future[None] | None = None

    def add(self, batch: Any) -> None:
        """Adds rows, a record batch of the schema."""
        if self._is_arrow:
            self._writer.write_batch(batch)
            return
        self._rows.append(batch)
        self._count += batch.num_rows
        while self._count >= _ROW_GROUP:
            self._write(_ROW_GROUP)

    def finish(self) -> Any:
        """The file, as a buffer of Arrow."""
        if not self._is_arrow:
            # A file without rows has a row group, too.
            if self._count or self._job is None:
                self._write(self._count)
            if self._job is not None:
                self._job.result()
        self._writer.close()
        return self._sink.getvalue()

    def _write(self, count: int) -> None:
        """Writes the first rows, a row group, when the one before is written."""
        table = pa.Table.from_batches(self._rows, self._schema)
        self._rows, self._count = table.slice(count).to_batches(), self._count - count
        if self._job is not None:
            self._job.result()
        self._job = self._threads.submit(self._writer.write_table, table.slice(0, count), _ROW_GROUP)


@contextmanager
def table_file(file_format: Format, schema: Any) -> Iterator[TableFile]:
    """A file to be made; the thread that writes it ends with the context."""
    with ThreadPoolExecutor(1, thread_name_prefix="chatspan-write") as threads:
        yield TableFile(file_format, schema, threads)


def _parquet(sink: Any, schema: Any) -> Any:
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=_DICTIONARIES,
        write_statistics=["row_index"],
    )
