"""Rows of a ``ray.data.Dataset``, and where each comes from: Ray keeps no order, so a column carries it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa

from chatspan.errors import OptionError, RowError, SourceError
from chatspan.ray.cluster import require_ray
from chatspan.rows.parallel import in_chunks
from chatspan.rows.row import RawRow, Source
from chatspan.rows.sources import open_source
from chatspan.rows.steps.plain import UnmeantError, plain_data

ROW_INDEX = "row_index"
# What `read` gives beside it. The row is a JSON object in bytes: in a table, dicts would get each other's keys.
PLACE = "row_place"
JSON = "row_json"
FAILURE = "row_failure"

_READ_SCHEMA = pa.schema([(ROW_INDEX, pa.int64()), (PLACE, pa.string()), (JSON, pa.binary()), (FAILURE, pa.string())])
_ROWS_A_BLOCK = 1000


def read(source: str | PathLike[str] | Source, *, split: str = "train", subset: str | None = None) -> Any:
    """Reads what ``chatspan encode`` reads, for :func:`chatspan.ray.encode`.

    Rows are as they stand in the file, which they would not be in a table, where numbers become of one type, and dicts
    get each other's keys; and their ``row_index`` is that of the file. One task reads, on any machine, so a file has
    to be where all of them see it, as for Ray's own readers; the rows are encoded on all.

    Args:
        source: JSON lines, a JSON array (``.gz`` too), Parquet, a folder that :mod:`datasets` can load, or a name on
            the Hugging Face hub.
        split, subset: of a folder or a data set of the hub.

    Returns:
        a ``ray.data.Dataset`` with ``row_index`` (int64), ``row_place`` (where a person finds the row:
        ``"data.jsonl:17"``), ``row_json`` (bytes) and ``row_failure`` (why a row could not be read, else null).

    Raises:
        SourceError: there is no such thing, it cannot be read, or it has no rows.
        EngineError: Ray is not installed.
    """
    ray = require_ray()
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    if isinstance(source, (str, PathLike)):
        # Ray's processes may stand in another folder.
        name = str(Path(source).resolve()) if Path(source).exists() else str(source)
        source = open_source(name, split=split, subset=subset)
    if not callable(getattr(source, "rows", None)):
        raise SourceError(f"{type(source).__name__} is not a data set: use a file, a folder or a data set of the hub")
    opened = source

    class _Rows(Datasource):  # type: ignore[misc]
        def get_name(self) -> str:
            return "ChatRows"

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(lambda: _tables(opened), metadata)]

    return ray.data.read_datasource(_Rows())


def _tables(source: Source) -> Iterator[pa.Table]:
    for rows in in_chunks(source.rows(), _ROWS_A_BLOCK):
        values, failures = zip(*map(_json, rows), strict=True)
        columns = [[row.index for row in rows], [row.place for row in rows], values, failures]
        yield pa.table(columns, schema=_READ_SCHEMA)


def _json(row: RawRow) -> tuple[bytes | None, str | None]:
    """The row, or why there is none."""
    if row.failure is not None or isinstance(row.value, bytes):
        return row.value, row.failure
    try:
        # What is in no text would be one for ever.
        return json.dumps(plain_data(row.value), default=str).encode(), None
    except UnmeantError as error:
        return None, error.message
    # Whatever an object of a row raises costs that row, and no other.
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def with_row_index(dataset: Any) -> Any:
    """Adds the column ``row_index``, int64, from 0, in the order in which the data set is read.

    For that it is executed, block by block in order, and its blocks are in Ray's object store afterwards (on disk,
    where they are too many): where a row stands is known only when all in front of it have been counted. What
    ``ray.data.expressions.monotonically_increasing_id`` gives depends on which task read the row, and differs from run
    to run. A column of one's own that says which row it is costs nothing of this, nor does :func:`chatspan.ray.read`.

    Args:
        dataset: a ``ray.data.Dataset``.

    Raises:
        OptionError: it has such a column already, or is no ``ray.data.Dataset``.
        EngineError: Ray is not installed.
    """
    ray = require_ray()
    require_dataset(dataset)
    if ROW_INDEX in (dataset.columns() or ()):
        raise OptionError(
            f"the data set has a column {ROW_INDEX!r} already: remove it with dataset.drop_columns([{ROW_INDEX!r}])"
        )
    options = dataset.context.execution_options
    before = options.preserve_order
    options.preserve_order = True
    try:
        blocks = dataset.to_arrow_refs()
    finally:
        options.preserve_order = before
    counts = ray.get([ray.remote(_count).remote(block) for block in blocks])
    numbered = ray.remote(_numbered)
    firsts = accumulate(counts, initial=0)
    return ray.data.from_arrow_refs(
        [numbered.remote(block, first) for block, first, count in zip(blocks, firsts, counts, strict=False) if count]
        or [ray.put(pa.table({ROW_INDEX: pa.array([], pa.int64())}))]
    )


def require_dataset(dataset: Any) -> None:
    """Refuses what is no data set of Ray.

    Raises:
        OptionError: with what makes one.
    """
    if not isinstance(dataset, require_ray().data.Dataset):
        raise OptionError(
            f"expected a ray.data.Dataset, got {type(dataset).__module__}.{type(dataset).__name__}: "
            "ray.data.from_items(rows), ray.data.from_huggingface(dataset) or chatspan.ray.read(file) make one"
        )


def _count(block: pa.Table) -> int:
    return int(block.num_rows)


def _numbered(block: pa.Table, first: int) -> pa.Table:
    indices = pa.array(range(first, first + block.num_rows), pa.int64())
    return block.append_column(ROW_INDEX, indices)


def raw_rows(table: pa.Table) -> Sequence[RawRow]:
    """The rows of a batch, as :func:`chatspan.supervised.rows.supervised_rows` takes them.

    Raises:
        RowError: a row has no ``row_index``.
    """
    indices = table.column(ROW_INDEX)
    if indices.null_count:
        raise RowError(f"a row has a null for its {ROW_INDEX!r}: give each row a whole number of its own")
    numbers = [int(index) for index in indices.to_pylist()]
    if JSON in table.column_names:
        places = table.column(PLACE).to_pylist()
        values: list[Any] = table.column(JSON).to_pylist()
        failures = table.column(FAILURE).to_pylist()
    else:
        failures = [None] * len(numbers)
        places = [f"row {number}" for number in numbers]
        values = table.drop_columns([ROW_INDEX]).to_pylist()
    return [
        RawRow(index=number, place=place, value=value, failure=failure)
        for number, place, value, failure in zip(numbers, places, values, failures, strict=True)
    ]
