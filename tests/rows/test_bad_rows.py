"""One bad row is one reject with its place; a broken container gives what can be read of it, and is an error."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chatspan import ChatEncoder, ChatspanError, RowError, SourceError, read_row
from chatspan.cli.failures import line_of
from chatspan.ray.rows import _tables, raw_rows
from chatspan.rows.parallel import in_chunks, map_chunks
from chatspan.rows.row import BrokenSourceError, RawRow, UntilBroken
from chatspan.rows.sources import open_source
from commands import chatspan
from encoded_files import chat, write_rows
from zoo import EXAMPLES

TOKENIZER = str(EXAMPLES / "tokenizer")
LONG = '{"messages": [{"role": "user", "content": "q", "n": ' + "9" * 5000 + "}]}"


def encoded(source: Path, out: Path, *options: str) -> Any:
    return chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(out), "-p", "1", *options)


def rejects(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rejects.jsonl").read_text("utf-8").splitlines()]


def written_rows(out: Path) -> list[int]:
    files = sorted((out / "data").glob("*.parquet"))
    return [index for file in files for index in pq.read_table(file)["row_index"].to_pylist()]


def test_a_number_that_python_does_not_read(tmp_path: Path) -> None:
    rows = [chat(0), LONG, chat(2)]
    lines = write_rows(tmp_path / "lines.jsonl", rows)
    array = tmp_path / "array.json"
    array.write_text(f"[{json.dumps(rows[0])},\n {LONG} , {json.dumps(rows[2])}]")
    for source, place in ((lines, "lines.jsonl:2"), (array, "row 1")):
        out = tmp_path / source.stem
        assert encoded(source, out).returncode == 1
        [reject] = rejects(out)
        assert (reject["row_index"], reject["place"], reject["error"]) == (1, place, "RowError")
        assert reject["message"].startswith("a number that cannot be read: Exceeds the limit (4300")
        assert reject["row"] == LONG
        assert written_rows(out) == [0, 2]
        audited = json.loads(chatspan("audit", str(source), "-t", TOKENIZER, "-p", "1", "--json").stdout)
        assert (audited["rows"], audited["rows_that_raise"]) == (3, 1)
        converted = chatspan("convert", str(source))
        assert (converted.returncode, len(converted.stdout.splitlines())) == (1, 2)
        assert f"{place}: a number that cannot be read" in converted.stderr


@pytest.mark.parametrize("column", ["content", "role"])
def test_binary_columns(tmp_path: Path, column: str) -> None:
    messages = [{**message, column: message[column].encode()} for message in chat(1)["messages"]]
    pq.write_table(pa.Table.from_pylist([{"messages": messages}]), tmp_path / "data.parquet")
    assert encoded(tmp_path / "data.parquet", tmp_path / "out").returncode == 1
    [reject] = rejects(tmp_path / "out")
    assert reject["message_index"] == 0
    assert reject["message"].startswith(f"its 'messages[0].{column}' holds binary data (")
    assert reject["message"].endswith("bytes): expected a text; decode it first")


CALL = {"type": "function", "function": {"name": "f", "arguments": {}}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({math.nan: 1}, "its 'messages[1].tool_calls[0].function.arguments' holds a key that is nan"),
        ({b"a": 1}, "its 'messages[1].tool_calls[0].function.arguments' holds a key that is binary data"),
        ({"a": [1, 10**5000]}, "arguments.a[1]' holds an integer of more than 4,300 digits"),
        ({"a": -(10**5000)}, "arguments.a' holds an integer of more than 4,300 digits"),
        ({"a": np.array([b"x"])}, "arguments.a[0]' holds binary data (1 bytes)"),
        ({"a": memoryview(b"xy")}, "arguments.a' holds binary data (2 bytes)"),
    ],
)
def test_values_that_no_template_can_mean(arguments: Any, said: str) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [call]}]}
    with pytest.raises(RowError) as raised:
        read_row(row)
    assert said in str(raised.value)
    assert (raised.value.row_index, raised.value.message_index) == (0, 1)


def test_binary_data_of_an_image_are_no_text() -> None:
    part = {"type": "image", "image": {"bytes": b"\x89PNG", "path": None}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}]
    assert read_row({"messages": messages}).messages == messages
    part = {"type": "image", "image": b"\x89PNG"}
    assert read_row({"messages": [{"role": "user", "content": [part]}]}).messages[0]["content"] == [part]


def test_rows_for_ray_keep_what_is_wrong_with_them(tmp_path: Path) -> None:
    messages = [{**message, "content": message["content"].encode()} for message in chat(1)["messages"]]
    pq.write_table(pa.Table.from_pylist([{"messages": messages}]), tmp_path / "data.parquet")
    [table] = _tables(open_source(str(tmp_path / "data.parquet")))
    [row] = raw_rows(table)
    with pytest.raises(RowError, match=r"^row 0: it cannot be read: its 'messages\[0\]\.content' holds binary data"):
        row.parsed()


class Grumpy:
    def model_dump(self) -> Any:
        raise ZeroDivisionError("no")


def test_whatever_reading_a_row_raises_is_the_rows_error() -> None:
    with pytest.raises(RowError, match=r"^the row: it cannot be read: ZeroDivisionError: no$"):
        read_row({"messages": [{"role": "user", "content": Grumpy()}]})


def test_a_text_of_a_table_that_is_none(tmp_path: Path) -> None:
    texts = pa.StructArray.from_arrays(
        [pa.array([b"user", b"user", b"user"]).cast(pa.string()), _texts([b"one", b"tw\xff", b"three"])],
        names=["role", "content"],
    )
    messages = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), texts)
    pq.write_table(pa.table({"messages": messages}), tmp_path / "data.parquet")
    source = open_source(str(tmp_path / "data.parquet"))
    rows = list(source.rows())
    assert [row.index for row in rows if row.failure is None] == [0, 2]
    with pytest.raises(RowError, match=r"^row 1: it cannot be read: UnicodeDecodeError: "):
        rows[1].parsed()
    loaded = datasets.Dataset(pa.table({"messages": messages}))
    loaded.save_to_disk(str(tmp_path / "saved"))
    saved = list(open_source(str(tmp_path / "saved")).rows())
    assert [(row.index, row.failure is None) for row in saved] == [(0, True), (1, False), (2, True)]


def _texts(values: list[bytes]) -> Any:
    binary = pa.array(values)
    return pa.Array.from_buffers(pa.string(), len(values), binary.buffers())


def cut_gzip(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl.gz"
    rows = [{**chat(i), "salt": np.random.default_rng(i).bytes(50).hex()} for i in range(100)]
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    path.write_bytes(whole[: len(whole) // 2])
    return path


def wrong_checksum(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl.gz"
    whole = bytearray(gzip.compress("".join(json.dumps(chat(i)) + "\n" for i in range(20)).encode()))
    whole[-5] ^= 1
    path.write_bytes(whole)
    return path


def cut_array(tmp_path: Path) -> Path:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([chat(i) for i in range(20)])[:-30])
    return path


def damaged_parquet(tmp_path: Path) -> Path:
    path = tmp_path / "data.parquet"
    table = pa.Table.from_pylist([chat(i) for i in range(20)])
    pq.write_table(table, path, row_group_size=5, compression="zstd")
    about = pq.ParquetFile(path).metadata.row_group(2).column(0)
    data = bytearray(path.read_bytes())
    first = about.dictionary_page_offset or about.data_page_offset
    data[first : first + 40] = b"\xff" * 40
    path.write_bytes(data)
    return path


BROKEN = [cut_gzip, wrong_checksum, cut_array, damaged_parquet]


@pytest.mark.parametrize("make", BROKEN)
def test_a_broken_container_ends_with_what_was_read(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    rows = UntilBroken(open_source(str(path)).rows())
    count = len(list(rows))
    assert isinstance(rows.error, BrokenSourceError)
    assert 5 <= count < 100
    assert rows.error.row_index == count
    said = f"is broken after its first {count:,} rows: "
    audited = chatspan("audit", str(path), "-t", TOKENIZER, "-p", "2", "--json")
    assert audited.returncode == 1
    assert json.loads(audited.stdout)["rows"] == count
    assert said in json.loads(audited.stdout)["partial"]
    assert said in audited.stderr
    converted = chatspan("convert", str(path), "-o", str(tmp_path / "converted.jsonl"))
    assert (converted.returncode, said in converted.stderr) == (1, True)
    assert len((tmp_path / "converted.jsonl").read_text().splitlines()) == count


def test_a_gzip_file_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(chat(0)).encode())[:30])
    for command in (("audit",), ("inspect",), ("encode", "-o", str(tmp_path / "out"))):
        done = chatspan(command[0], str(path), "-t", TOKENIZER, *command[1:])
        assert done.returncode == 1
        assert f"cannot read {path}: Compressed file ended before" in done.stderr
    assert not (tmp_path / "out").exists()


def _surprised(worker: None, rows: list[RawRow]) -> None:
    if rows[0].index == 4:
        raise ZeroDivisionError("no")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_surprise_names_its_rows(tmp_path: Path, processes: int) -> None:
    source = open_source(str(write_rows(tmp_path / "data.jsonl", [chat(i) for i in range(6)])))
    with pytest.raises(ZeroDivisionError) as raised:
        list(map_chunks(in_chunks(source.rows(), 2), None, _surprised, processes))
    assert line_of(raised.value).startswith(
        "an unexpected error at data.jsonl:5 to data.jsonl:6: ZeroDivisionError: no; "
    )


def test_an_end_of_file_that_nobody_foresaw_is_no_abort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*_: Any, **__: Any) -> Any:
        raise EOFError("over")

    monkeypatch.setattr("chatspan.rows.sources.open_source", ends)
    done = chatspan("convert", str(write_rows(tmp_path / "data.jsonl", [chat(0)])))
    assert "an unexpected error: RuntimeError: EOFError: over" in done.stderr


def test_a_batch_says_which_conversation_it_is(small: Any) -> None:
    encoder = ChatEncoder(small)
    user, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
    surrogate = {"role": "user", "content": "\ud800"}
    for bad in ([user, 3], [surrogate, answer], [{"role": "user", "content": 5}, answer], []):
        with pytest.raises(ChatspanError, match=r"^conversation 1: ") as raised:
            encoder.encode_batch([[user, answer], bad, [user, answer]])  # type: ignore[list-item]
        assert raised.value.conversation_index == 1
        with pytest.raises(ChatspanError) as raised:
            encoder.encode(bad)  # type: ignore[arg-type]
        assert raised.value.conversation_index is None
        assert "conversation 0" not in str(raised.value)
    with pytest.raises(ChatspanError, match=r"^conversation 2: .*max_length") as raised:
        encoder.encode_batch([[user], [user], [user, answer]], max_length=len(encoder.encode([user])))
    assert SourceError("x").conversation_index is None
