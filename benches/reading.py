"""What reading costs in ``chatspan encode``: JSON and the one reader, against the whole of a shard's work."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from chatspan import ChatEncoder
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow
from chatspan.rows.sources import open_source
from chatspan.shards.plan import EncodePlan
from chatspan.shards.worker import ShardWorker, make_shard
from inputs import Inputs
from tables import Report, median
from timing import alternate

_TRACES = "tau_airline_messages.jsonl"
_TARGET = 0.15
_SYNTHETIC, _TURNS = 400, 4
# As many rows as a shard's work has in memory at once: what is kept costs time, too.
_AT_ONCE = 32


def report_reading(report: Report, inputs: Inputs, zoo: Path, rounds: int) -> None:
    """Prints the time of parsing, of reading and of all, a row, and which part of all the first two are."""
    data = {f"{_SYNTHETIC} short synthetic chats": _synthetic()}
    if (zoo / "traces" / _TRACES).is_file():
        data = {f"traces {_TRACES}": list(open_source(str(zoo / "traces" / _TRACES)).rows()), **data}
    encoder = ChatEncoder(inputs.tokenizer)
    encoder.warm_up()
    plan = EncodePlan(source="", tokenizer="")
    worker = ShardWorker(plan, Path(), encoder)
    reader = RowReader(plan.supervised(), encoder.pipeline)
    table = report.table(
        "12. Reading in chatspan encode, microseconds a row",
        ["rows", "bytes a row", "JSON", "reader", "all of the shard", "JSON / all", "reader / all", "both / all"],
    )
    parts = []
    for what, rows in data.items():
        calls: list[Callable[[], object]] = [
            partial(make_shard, worker, rows),
            partial(_parse, rows),
            partial(_read, reader, rows),
        ]
        times = alternate(calls, rounds) * 1e3 / len(rows)
        whole, parsed, read = times.T
        parts.append(read / whole)
        size = sum(len(row.value) for row in rows) / len(rows)
        shares = [_share(parsed / whole), _share((read - parsed) / whole), _share(read / whole)]
        table.add_row(what, f"{size:,.0f}", *map(median, (parsed, read - parsed, whole)), *shares)
    met = "met" if all(np.median(part) < _TARGET for part in parts) else "NOT met"
    report.show(
        table,
        f"Target: both under {_TARGET:.0%}: {met}.",
    )


def _parse(rows: Sequence[RawRow]) -> None:
    each = iter(rows)
    while [row.parsed() for row in islice(each, _AT_ONCE)]:
        pass


def _read(reader: RowReader, rows: Sequence[RawRow]) -> None:
    each = iter(rows)
    while [reader.read(row) for row in islice(each, _AT_ONCE)]:
        pass


def _share(values: Any) -> str:
    return f"{np.median(values):.1%} ({values.min():.1%} to {values.max():.1%})"


def _synthetic() -> list[RawRow]:
    rows = [[message for turn in range(_TURNS) for message in _turn(row, turn)] for row in range(_SYNTHETIC)]
    return [RawRow(at, f"row {at}", json.dumps({"messages": row}).encode()) for at, row in enumerate(rows)]


def _turn(row: int, turn: int) -> list[dict[str, str]]:
    question, answer = f"What is {row} and {turn} together? ", f"Together they are {row + turn}. "
    return [{"role": "user", "content": question * 4}, {"role": "assistant", "content": answer * 12}]
