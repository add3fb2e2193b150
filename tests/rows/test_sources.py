"""Data sets as they lie around, read row by row; and what is said of those that cannot be."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from chatspan import ChatspanError, RowError, SourceError
from chatspan.rows.options import RowOptions
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow
from chatspan.rows.sources import open_source, read_row

USER = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "rebook", "arguments": {"train": "IC 900"}}}
ASSISTANT = {"role": "assistant", "content": None, "tool_calls": [CALL]}
PACKERS: dict[str, Any] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}
CHATS = [{"messages": [USER, {"role": "assistant", "content": f"Answer {i}"}]} for i in range(5)]


def rows_of(source: Any, start: int = 0) -> list[Any]:
    return [(row.index, row.parsed()) for row in source.rows(start)]


def lines(rows: list[Any], end: str = "\n") -> bytes:
    return end.join(json.dumps(row) for row in rows).encode()


@pytest.mark.parametrize(
    "data",
    [
        lines(CHATS),
        lines(CHATS) + b"\n",
        lines(CHATS, "\r\n"),
        b"\n  \n" + lines(CHATS, "\n\n") + b"\n\n",
        b"\xef\xbb\xbf" + lines(CHATS),
    ],
    ids=["lines", "last newline", "crlf", "blank lines", "bom"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_json_lines_from_any_row_on(tmp_path: Path, data: bytes, packed: bool) -> None:
    path = tmp_path / ("data.jsonl.gz" if packed else "data.jsonl")
    path.write_bytes(gzip.compress(data) if packed else data)
    source = open_source(str(path))
    assert rows_of(source) == list(enumerate(CHATS))
    for start in range(6):
        assert rows_of(source, start) == list(enumerate(CHATS))[start:]
    if not packed:
        assert [row.position for row in source.rows()][-1] == pytest.approx(1, abs=0.01)


def test_places_are_lines_that_a_person_finds(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n" + lines(CHATS[:1]) + b'\n\n{"messages": \n')
    rows = list(open_source(str(path)).rows())
    assert [row.place for row in rows] == ["data.jsonl:2", "data.jsonl:4"]
    with pytest.raises(RowError, match=r"^data\.jsonl:4: not JSON: Expecting value at character 14; fix the line$"):
        rows[1].parsed()


def test_a_json_array(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(CHATS, indent=2))
    assert rows_of(open_source(str(path)), 2) == list(enumerate(CHATS))[2:]
    path.write_text("[]")
    with pytest.raises(SourceError, match="contains no rows"):
        open_source(str(path))
    path.write_text('[{"messages": ')
    with pytest.raises(SourceError, match="begins with '\\[' but is not a JSON array"):
        open_source(str(path))


def test_parquet_has_no_nulls_where_keys_are_missing(tmp_path: Path) -> None:
    rows = [{"messages": [USER, ASSISTANT], "tools": None}, *CHATS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet", row_group_size=2)
    source = open_source(str(tmp_path / "data.parquet"))
    messages = [RowReader().read(row).messages for row in source.rows()]
    assert messages == [row["messages"] for row in rows]
    for start in range(7):
        assert [index for index, _ in rows_of(source, start)] == list(range(6))[start:]
    assert next(source.rows(3)).place == "row 3"


def test_folders_that_datasets_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.Dataset.from_list(CHATS).save_to_disk(str(tmp_path / "saved"))
    assert rows_of(open_source(str(tmp_path / "saved")), 3) == list(enumerate(CHATS))[3:]
    splits = datasets.DatasetDict({"test": datasets.Dataset.from_list(CHATS[:2])})
    splits.save_to_disk(str(tmp_path / "splits"))
    assert rows_of(open_source(str(tmp_path / "splits"), split="test")) == list(enumerate(CHATS[:2]))
    with pytest.raises(SourceError, match="--split"):
        open_source(str(tmp_path / "splits"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "train.jsonl").write_bytes(lines(CHATS))
    assert rows_of(open_source(str(tmp_path / "files"))) == list(enumerate(CHATS))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SourceError, match="nothing is not a folder"):
        open_source(str(tmp_path / "nothing"))


def test_without_the_library_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SourceError, match="pip install datasets"):
        open_source("someone/chats")
    (tmp_path / "data.jsonl").write_bytes(lines(CHATS))
    assert len(rows_of(open_source(str(tmp_path / "data.jsonl")))) == 5


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("none.jsonl", None, "there is no file .*none.jsonl: check the path"),
        ("empty.jsonl", b"", "is empty: use a file with one JSON object per line"),
        ("blank.jsonl", b"\n \n", "contains no rows"),
        ("bad.parquet", b"no parquet", "cannot be read as Parquet"),
        ("bad.jsonl.gz", b"\x1f\x8b no gzip", "cannot read .*bad.jsonl.gz"),
        ("data.tsv", b"a\tb\n1\t2\n", "reads JSON lines, JSON arrays, Parquet, Arrow and CSV"),
        ("data.jsonl.zst", b"\x28\xb5\x2f\xfd", "cannot read|has no rows in it"),
        ("bad.jsonl.xz", b"\xfd7zXZ\x00 no xz", "cannot read .*bad.jsonl.xz"),
        ("bad.jsonl.bz2", b"BZh no bz2", "cannot read .*bad.jsonl.bz2"),
        ("bad.arrow", b"ARROW1 no table", "cannot be read as Arrow"),
        ("bad.csv", b"a,b\n1,2,3\n", "cannot be read as CSV"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=said):
        list(open_source(str(tmp_path / name)).rows())


def test_a_row_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(lines(CHATS))
    with pytest.raises(SourceError, match=r"has 5 rows, from 0 on: there is no row 5$"):
        read_row(open_source(str(tmp_path / "data.jsonl")), 5)


def chat(row: Any, column: str | None = None) -> Any:
    return RowReader(RowOptions(column=column)).read(RawRow(3, "row 3", row))


SHAREGPT = [{"from": "system", "value": "S"}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]


@pytest.mark.parametrize(
    ("row", "roles", "form"),
    [
        ({"messages": [USER, ASSISTANT]}, ["user", "assistant"], "messages"),
        ({"messages": json.dumps([USER, ASSISTANT])}, ["user", "assistant"], "messages"),
        ({"conversations": SHAREGPT}, ["system", "user", "assistant"], "messages"),
        ({"prompt": [USER], "completion": [ASSISTANT]}, ["user", "assistant"], "messages"),
        ({"turns": [USER, {"role": "assistant", "content": "x", "tool_error": "e"}]}, ["user", "assistant"], "trace"),
        ({"messages": [USER, ASSISTANT], "teacher_messages": [USER, USER, ASSISTANT]}, ["user", "assistant"], "pair"),
    ],
)
def test_the_forms_that_people_keep_conversations_in(row: Any, roles: list[str], form: str) -> None:
    found = chat(row)
    assert [message["role"] for message in found.messages] == roles
    assert found.form == form


def test_tools_and_keywords_of_a_row() -> None:
    tool = {"type": "function", "function": {"name": "rebook"}}
    row = {"messages": [USER], "tools": json.dumps([tool]), "chat_template_kwargs": {"enable_thinking": False}}
    assert chat(row).template_kwargs == {"tools": [tool], "enable_thinking": False}
    assert chat({"dialog": [USER]}, "dialog").messages == [USER]
    assert "tool_calls" in chat({"turns": [USER, {"role": "assistant", "content": "", "tool_call": CALL}]}).messages[1]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([1], "row 3: a row is a dict with a column of messages, a dataclass, or a row of a table; got list"),
        ({}, "it has no conversation: expected a column 'messages'"),
        ({"messages": "Hi"}, "its 'messages' must be a list with at least one message, got str 'Hi'"),
        ({"messages": ["Hi"]}, "message 0 of 'messages' must be a dict with 'role' and 'content', got str 'Hi'"),
        ({"messages": [{"content": "Hi"}]}, "message 0 has no 'role'; its keys: 'content'"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "'chosen' and 'rejected' are a preference pair"),
        ({"messages": [USER], "tools": 5}, "row 3: its 'tools' must be a list, got int 5"),
        ({"turns": [{"role": 3, "content": "x"}]}, "row 3: message 0 has the role 3: expected a text"),
    ],
)
def test_rows_that_are_no_conversation(row: Any, said: str) -> None:
    with pytest.raises(ChatspanError) as raised:
        chat(row)
    assert said in str(raised.value)
    assert raised.value.row_index == 3


def test_one_object_over_many_lines_is_a_row(tmp_path: Path) -> None:
    trajectory = {"schema_version": "ATIF-v1.4", "steps": [{"step_id": 1, "source": "user", "message": "Hi"}]}
    (tmp_path / "trajectory.json").write_text(json.dumps(trajectory, indent=2))
    (row,) = open_source(str(tmp_path / "trajectory.json")).rows()
    assert RowReader().read(row).messages == [{"role": "user", "content": "Hi"}]
    (tmp_path / "lines.json").write_bytes(lines(CHATS))
    assert rows_of(open_source(str(tmp_path / "lines.json"))) == list(enumerate(CHATS))
    (tmp_path / "cut.json").write_text(json.dumps(trajectory, indent=2)[:-4])
    with pytest.raises(RowError, match=r"^cut\.json:1: not JSON"):
        RowReader().read(next(open_source(str(tmp_path / "cut.json")).rows()))


@pytest.mark.parametrize("ending", ["bz2", "xz", "zst", "gz"])
def test_packed_lines(tmp_path: Path, ending: str) -> None:
    packed = tmp_path / f"data.jsonl.{ending}"
    packed.write_bytes(PACKERS[ending](lines(CHATS)))
    source = open_source(str(packed))
    assert rows_of(source) == list(enumerate(CHATS))
    assert rows_of(source, 2) == list(enumerate(CHATS))[2:]
    assert next(source.rows(1)).place == f"data.jsonl.{ending}:2"
    array = tmp_path / f"data.json.{ending}"
    array.write_bytes(PACKERS[ending](json.dumps(CHATS).encode()))
    assert rows_of(open_source(str(array))) == list(enumerate(CHATS))


@pytest.mark.parametrize("ending", ["bz2", "xz", "zst"])
def test_a_packed_file_that_is_cut_ends_with_what_was_read(tmp_path: Path, ending: str) -> None:
    many = [{"messages": [{"role": "user", "content": os.urandom(3000).hex()}]} for _ in range(300)]
    whole = PACKERS[ending](lines(many))
    (tmp_path / f"cut.jsonl.{ending}").write_bytes(whole[: len(whole) // 2])
    source = open_source(str(tmp_path / f"cut.jsonl.{ending}"))
    found: list[RawRow] = []
    with pytest.raises(SourceError, match=r"is broken after its first [0-9]+ rows|cannot read"):
        found.extend(source.rows())
    assert len(found) < 300


def test_tables_of_arrow_and_csv(tmp_path: Path) -> None:
    table = pa.table({"messages": [json.dumps(chat["messages"]) for chat in CHATS], "id": list(range(len(CHATS)))})
    with pa.OSFile(str(tmp_path / "file.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    with pa.OSFile(str(tmp_path / "stream.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    pa.csv.write_csv(table, tmp_path / "data.csv")
    for name in ("file.arrow", "stream.arrow", "data.csv"):
        source = open_source(str(tmp_path / name))
        read = [RowReader().read(row) for row in source.rows()]
        assert [chat.messages for chat in read] == [chat["messages"] for chat in CHATS], name
        assert [row.index for row in source.rows(2)] == list(range(2, len(CHATS)))
        marks: list[bytes] = []
        list(source.rows(len(CHATS), marks.append))
        assert len(marks) == len(CHATS)


@pytest.mark.parametrize("ending", ["", "bz2", "xz", "zst", "gz"])
def test_the_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    data = lines(CHATS) if not ending else PACKERS[ending](lines(CHATS))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    source = open_source("-")
    assert rows_of(source) == list(enumerate(CHATS)) == rows_of(source)
    assert next(source.rows()).place == f"stdin.jsonl{ending and '.'}{ending}:1"


def test_the_standard_input_is_parquet_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.Table.from_pylist(CHATS), tmp_path / "data.parquet")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "data.parquet").read_bytes())))
    assert len(rows_of(open_source("-"))) == len(CHATS)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SourceError, match="- reads the standard input, but nothing is piped into it"):
        open_source("-")
