"""Inputs of every form, whole and damaged, and how many rows are in them by a count that has nothing of chatspan."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from encoded_files import chat
from hostile_rows import Hostile

_BLANKS = b" \t\r\x0b\x0c"
_LINES = [
    *(b"", b" ", b"{", b"[]", b"null", b"1", b'"text"', b"broken", b"{}", b"\xff\xfe", b"\0", b'{"messages": []}'),
    *(b'{"messages": ' + b"9" * 5000 + b"}", b'{"messages": ' + b"[" * 3000 + b"}", b'{"a": NaN}', b'{"a": 1, "a": 2}'),
    b'{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "b"}]}',
    '{"messages": [{"role": "user", "content": "a\u2028b"}, {"role": "assistant", "content": "\x85"}]}'.encode(),
    b'{"messages": [{"role": "user", "content": "\xc3"}, {"role": "assistant", "content": "b"}]}',
    b'{"prompt": "a", "completion": "b"}',
    b'{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}',
]


class Input(NamedTuple):
    """An input.

    Attributes:
        rows: how many it has; nothing where that is not certain, as in a damaged file.
        kind: what it is.
        said: how it was made.
    """

    path: Path
    rows: int | None
    kind: str
    said: str


def input_of(folder: Path, chance: Random) -> Input:
    """A random input."""
    return chance.choice([_lines, _lines, _lines, _packed, _array, _parquet, _parquet, _saved, _noise])(folder, chance)


def damaged(data: bytes, chance: Random) -> bytes:
    """Some bytes are others, are gone, are there twice, or it ends early."""
    found = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8])):
        at, size = chance.randrange(len(found) + 1), chance.choice([1, 1, 4, 100])
        how = chance.choice(["other", "other", "gone", "twice", "cut"])
        if how == "other":
            found[at : at + size] = chance.randbytes(min(size, len(found) - at))
        elif how == "gone":
            del found[at : at + size]
        elif how == "twice":
            found[at:at] = found[at : at + size]
        else:
            del found[at:]
    return bytes(found)


def rows_of_lines(data: bytes) -> int | None:
    """How many rows a file of JSON lines has; nothing where it begins as something else."""
    text = data.removeprefix(b"\xef\xbb\xbf")
    if text.lstrip(b"\xef\xbb\xbf" + _BLANKS + b"\n")[:1] == b"[":
        return None
    return sum(1 for line in text.split(b"\n") if line.strip(_BLANKS))


def _rows(chance: Random) -> list[Any]:
    count = chance.choice([1, 3, 10, 40])
    return [chat(number) if chance.random() < 0.8 else _hostile(chance) for number in range(count)]


def _hostile(chance: Random) -> Any:
    """A hostile row as far as JSON has it."""
    row = Hostile(chance.randrange(1 << 32)).row()
    try:
        return json.loads(json.dumps(dict(row), default=lambda value: type(value).__name__, skipkeys=True))
    except (TypeError, ValueError, RecursionError):
        return {"messages": None}


def _data(chance: Random) -> bytes:
    # The first is a usual row, so that no log of a session begins here.
    lines = [json.dumps(chat(0)).encode()]
    for row in _rows(chance):
        lines.append(json.dumps(row).encode() if chance.random() < 0.8 else chance.choice(_LINES))
    data = chance.choice([b"\n", b"\n", b"\r\n", b"\n\n"]).join(lines)
    data = chance.choice([b"", b"", b"\xef\xbb\xbf"]) + data + chance.choice([b"", b"\n", b"\n \n"])
    return damaged(data, chance) if chance.random() < 0.4 else data


def _lines(folder: Path, chance: Random) -> Input:
    data = _data(chance)
    path = folder / chance.choice(["data.jsonl", "a b.jsonl", "é\n.jsonl", "data.ndjson", "data.txt"])
    path.write_bytes(data)
    return Input(path, rows_of_lines(data), "JSON lines", f"{len(data)} bytes, {data[:300]!r}")


def _packed(folder: Path, chance: Random) -> Input:
    data = _data(chance)
    packed = gzip.compress(data) if chance.random() < 0.8 else gzip.compress(data[:100]) + gzip.compress(data[100:])
    if chance.random() < 0.4:
        packed = damaged(packed, chance)
    path = folder / "data.jsonl.gz"
    path.write_bytes(packed)
    try:
        rows = rows_of_lines(gzip.decompress(packed))
    except Exception as error:
        return Input(path, None, "damaged gzip", f"{len(packed)} bytes, {error!r}")
    return Input(path, rows, "gzip", f"{len(packed)} bytes packed, {data[:200]!r}")


def _array(folder: Path, chance: Random) -> Input:
    data = json.dumps(_rows(chance), indent=chance.choice([None, 1])).encode()
    if chance.random() < 0.4:
        data = damaged(data, chance)
    path = folder / "data.json"
    path.write_bytes(data)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    rows = len(found) if isinstance(found, list) else None
    return Input(path, rows, "a JSON array" if rows is not None else "a damaged JSON array", f"{data[:300]!r}")


def _table(chance: Random) -> Any:
    """Rows as a table, with columns of other types beside them."""
    rows = [chat(number) for number in range(chance.choice([1, 5, 30]))]
    columns: dict[str, Any] = {"messages": [row["messages"] for row in rows]}
    others: dict[str, Callable[[int], Any]] = {
        "id": str,
        "weight": lambda number: number / 3,
        "blob": lambda number: bytes([number]),
        "tools": lambda number: None if number % 2 else "[]",
        "system": lambda number: chance.choice([None, "", "Be brief."]),
    }
    for name in chance.sample(list(others), chance.randrange(len(others))):
        columns[name] = [others[name](number) for number in range(len(rows))]
    return pa.table(columns)


def _parquet(folder: Path, chance: Random) -> Input:
    path = folder / "data.parquet"
    size, packing = chance.choice([2, 100]), chance.choice(["none", "zstd", "snappy", "gzip"])
    pq.write_table(_table(chance), path, row_group_size=size, compression=packing)
    if chance.random() < 0.5:
        path.write_bytes(damaged(path.read_bytes(), chance))
        return _counted(path, lambda: pq.read_table(path).to_pylist(), "damaged Parquet")
    return _counted(path, lambda: pq.read_table(path).to_pylist(), "Parquet")


def _saved(folder: Path, chance: Random) -> Input:
    path = folder / "saved"
    datasets.Dataset(_table(chance)).save_to_disk(str(path))
    kind = "a saved data set"
    if chance.random() < 0.4:
        file = chance.choice(sorted(each for each in path.iterdir() if each.is_file()))
        file.write_bytes(damaged(file.read_bytes(), chance))
        kind = f"a saved data set with damaged {file.suffix}"
    return _counted(path, lambda: list(datasets.load_from_disk(str(path))), kind)


def _counted(path: Path, read: Callable[[], list[Any]], kind: str) -> Input:
    """An input with as many rows as its library reads."""
    try:
        rows: int | None = len(read())
    # What damage comes to has no common base.
    except Exception as error:
        return Input(path, None, kind, f"{error!r:.300}")
    return Input(path, rows, kind, f"{rows} rows by its own library")


def _noise(folder: Path, chance: Random) -> Input:
    """No data set at all."""
    name = chance.choice(["data.jsonl", "data.json", "data.parquet", "data.jsonl.gz", "data", "data.csv", "data.zst"])
    path, kind = folder / name, chance.choice(["bytes", "bytes", "empty", "blank", "folder", "nothing"])
    if kind == "folder":
        path.mkdir()
    elif kind != "nothing":
        path.write_bytes({"bytes": chance.randbytes(chance.choice([1, 50, 5000])), "empty": b""}.get(kind, b" \n\t\n"))
    return Input(path, None, "no data set", f"{name}: {kind}")
