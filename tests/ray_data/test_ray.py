"""Ray: the rows of one machine, once each, also if a worker is killed in the middle; on a real local Ray, two workers.

All tests share one Ray, which takes seconds to start, as does each worker.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import assistant, user
from chatspan import ChatEncoder, EngineError, OptionError, RowError, SourceError, TokenizerError, WorkerError
from chatspan.rows.row import RawRow
from chatspan.shards import worker as shards
from chatspan.shards.plan import EncodePlan
from commands import chatspan, started
from conversations import call, calls, schema, tool
from encoded_files import chat, contents, write_rows
from workers import SECONDS, Killer, Log
from zoo import EXAMPLES

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install ray[data]")
pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install ray[data]")

from chatspan import ray as on_ray  # noqa: E402
from chatspan.ray import actors, pipeline  # noqa: E402
from chatspan.ray.worker import RowEncoder  # noqa: E402

TOKENIZER = str(EXAMPLES / "tokenizer")
OPTIONS: dict[str, Any] = {"tokenizer": TOKENIZER, "concurrency": 1}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.delenv("RAY_ADDRESS", raising=False)
        # Ray's processes need what tests give them to do.
        environment.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        stop = signal.getsignal(signal.SIGTERM)
        ray.init(
            address="local", num_cpus=2, object_store_memory=200 * 2**20, include_dashboard=False, log_to_driver=False
        )
        signal.signal(signal.SIGTERM, stop)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        yield
        ray.shutdown()


@pytest.fixture
def killer(tmp_path: Path) -> Iterator[Killer]:
    killer = Killer(Log(tmp_path / "log"))
    killer.start()
    yield killer
    killer.is_over.set()
    killer.join()


def rows_of(dataset: Any) -> list[dict[str, Any]]:
    return sorted(dataset.take_all(), key=lambda row: row["row_index"])


def on_one_machine(tokenizer: Any, rows: list[Any], **options: Any) -> list[dict[str, Any]]:
    columns = ("input_ids", "labels", "message_index", "kind")
    function = ChatEncoder(tokenizer).as_map_fn(columns=columns, **options)
    names = {name for row in rows for name in row}
    found = function({name: [row.get(name) for row in rows] for name in names}, range(len(rows)))
    values = zip(*(found[name] for name in columns), strict=True)
    return [
        {"row_index": index, **{name: value.tolist() for name, value in zip(columns, row, strict=True)}}
        for index, row in enumerate(values)
    ]


def test_the_rows_of_one_machine_with_a_worker_killed_in_the_middle(
    monkeypatch: pytest.MonkeyPatch, small: Any, killer: Killer, say: Callable[[str], None]
) -> None:
    rows = [chat(i) for i in range(400)]
    # What Ray makes its workers of, slow.
    call = killer.log.watched(RowEncoder.__call__, lambda _, batch: batch.column("row_index")[0].as_py())
    monkeypatch.setattr(pipeline, "RowEncoder", type("RowEncoder", (RowEncoder,), {"__call__": call}))
    dataset = ray.data.from_items(rows, override_num_blocks=40)
    encoded = on_ray.encode(dataset, tokenizer=small, concurrency=2, batch_size=10)
    found = list(encoded.iter_rows())
    killer.require_in_the_middle(set(range(0, 400, 10)))
    order = [row["row_index"] for row in found]
    assert sorted(order) == list(range(400))
    found.sort(key=lambda row: row["row_index"])
    assert found == on_one_machine(small, rows)
    trained = small.decode([token for token in found[321]["labels"] if token != -100])
    assert trained == "It is 642. " + "So it is. " * 9 + "<|im_end|>"
    moved = sum(index != place for place, index in enumerate(order))
    say(f"Ray, a worker killed in the middle: 400 rows equal to one machine's, {moved} out of order before sorting")


def test_bytes_of_the_command_with_a_worker_killed_in_the_middle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, killer: Killer
) -> None:
    rows = [chat(i) if i % 7 else {"text": f"no chat {i}"} for i in range(400)]
    command = ("encode", str(write_rows(tmp_path / "data.jsonl", rows)), "-t", TOKENIZER, "--rows-per-shard", "10")
    make = killer.log.watched(shards.make_shard, lambda _, rows: rows[0].index)
    monkeypatch.setattr("chatspan.ray.shards.make_shard", make)
    done = chatspan(*command, "-o", str(tmp_path / "ray"), "--engine", "ray", "-p", "2")
    assert done.returncode == 1
    # What Ray says of the worker goes elsewhere.
    assert done.stdout.startswith(f"342 rows in {tmp_path / 'ray'} (40 files)")
    assert "chatspan: 58 rows rejected, each with its error in" in done.stderr
    killer.require_in_the_middle(set(range(0, 400, 10)))
    assert chatspan(*command, "-o", str(tmp_path / "local"), "-p", "1").returncode == 1
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert ray.is_initialized()


def test_stopped_on_ray_and_gone_on_with_elsewhere(tmp_path: Path) -> None:
    """The command starts a Ray of its own and ends it; what it says is what it says without Ray."""
    source = write_rows(tmp_path / "data.jsonl", [{"messages": chat(i)["messages"] * 12} for i in range(3000)])
    out = tmp_path / "out"
    options = ("-t", TOKENIZER, "--rows-per-shard", "20", "--json")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "environ", {**environment, "RAY_ADDRESS": "local"})
        process = started("encode", str(source), *options, "-o", str(out), "--engine", "ray", "-p", "2")
    deadline = time.monotonic() + SECONDS
    while len(list((out / ".unfinished").glob("[0-9]*.json"))) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    told, said = process.communicate(timeout=SECONDS)
    written = len(list((out / ".unfinished").glob("[0-9]*.json")))
    assert process.returncode == 130
    assert 3 <= written < 150
    assert f"stopped; {written * 20:,} rows in {out} are complete; run the same command again to resume" in said
    assert "Traceback" not in said
    assert told == ""
    assert {line.split(":")[0] for line in said.splitlines()} == {"chatspan"}
    again = chatspan("encode", str(source), *options, "-o", str(out), "-p", "1")
    assert json.loads(again.stdout)["rows_before"] == written * 20
    assert chatspan("encode", str(source), *options, "-o", str(tmp_path / "whole"), "-p", "1").returncode == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_rows_that_fail_are_rejected_and_none_is_lost(tmp_path: Path, small: Any) -> None:
    """Of a file, as it stands in it: also what no table could hold, and what tables would change."""
    talks = [
        [user("Go."), calls(call("rebook", {"train": "IC 900", "seats": None})), tool("ok"), assistant("Done.")],
        [user("Go."), calls(call("cancel", {"seats": 2, "price": 2.5})), tool("ok"), assistant("Gone.")],
        [user("Go."), calls(call("cancel", {"price": 3, "seats": []})), tool("ok"), assistant("So.")],
    ]
    rows = [{"messages": talk, "tools": [schema()]} for talk in talks]
    bad = ['{"messages": [', {"text": "no chat"}, {"messages": [user("a")]}, {"messages": [user("word " * 300)]}]
    path = write_rows(tmp_path / "data.jsonl", [rows[0], *bad, rows[1], rows[2]])
    encoded = on_ray.encode(on_ray.read(path), on_error="reject", max_length=400, **OPTIONS)
    found = rows_of(encoded)
    assert [(row["row_index"], row["error"]) for row in found] == [
        (0, None),
        (1, "RowError"),
        (2, "RowError"),
        (3, "EmptyRowError"),
        (4, "TruncationError"),
        (5, None),
        (6, None),
    ]
    assert found[1]["error_message"].startswith("data.jsonl:2: not JSON: Expecting value")
    assert found[4]["error_message"].startswith("data.jsonl:5: ")
    assert found[4]["input_ids"] is None
    good = [found[0], found[5], found[6]]
    expected = on_one_machine(small, rows)
    for row, one in zip(good, expected, strict=True):
        assert {name: row[name] for name in one} == {**one, "row_index": row["row_index"]}
    assert '"arguments": {"train": "IC 900", "seats": null}' in small.decode(found[0]["input_ids"])
    assert '"arguments": {"price": 3, "seats": []}' in small.decode(found[6]["input_ids"])


def test_a_row_that_fails_ends_the_run_with_its_place() -> None:
    dataset = ray.data.from_items([*(chat(i) for i in range(30)), {"messages": []}, chat(31)])
    dataset.context.max_errored_blocks = -1  # with which Ray leaves out blocks that fail
    with pytest.raises(RowError, match="row 30: its 'messages' must be a list with at least one message") as error:
        on_ray.encode(dataset, **OPTIONS).take_all()
    assert error.value.row_index == 30


def test_tables_fill_up_keys_and_they_are_taken_away(small: Any) -> None:
    """A message without tool calls has ``None`` for them in a table; templates take that for something else."""
    talk = [user("Go."), calls(call("rebook", {"train": "2"})), tool("ok"), assistant("Done.", reasoning_content="so")]
    rows = [{"messages": talk, "tools": [schema()]}, chat(1)]
    dataset = ray.data.from_items(rows)
    assert dataset.take(1)[0]["messages"][0]["tool_calls"] is None
    found = rows_of(on_ray.encode(dataset, loss_on="content", **OPTIONS))
    assert found == on_one_machine(small, rows, loss_on="content")


def test_weights_json_text_and_the_rows_own_index(small: Any) -> None:
    rows = [{"messages": json.dumps(chat(i)["messages"]), "row_index": 10 - i} for i in range(3)]
    dataset = ray.data.from_items(rows)
    found = rows_of(on_ray.encode(dataset, loss_on={"assistant": 0.5}, batch_size=1, **OPTIONS))
    assert [row["row_index"] for row in found] == [8, 9, 10]
    for row, number in zip(found, (2, 1, 0), strict=True):
        assert f"What is {number} + {number}?" in small.decode(row["input_ids"])
        weights = {weight for weight, label in zip(row["loss_weight"], row["labels"], strict=True) if label != -100}
        assert weights == {0.5}


def test_the_index_is_that_of_the_order_in_which_files_are_read(tmp_path: Path) -> None:
    for number in range(4):
        # The first file takes longest to read, and comes last if order is not kept.
        rows = [{"text": f"{number} {i}", "filler": "x" * (4 - number) ** 3 * 1000} for i in range(50)]
        write_rows(tmp_path / f"{number}.json", rows)
    dataset = ray.data.read_json(str(tmp_path), override_num_blocks=4)
    found = rows_of(on_ray.with_row_index(dataset))
    assert [row["row_index"] for row in found] == list(range(200))
    assert [row["text"] for row in found] == [f"{number} {i}" for number in range(4) for i in range(50)]
    assert not dataset.context.execution_options.preserve_order
    with pytest.raises(OptionError, match="has a column 'row_index' already"):
        on_ray.with_row_index(ray.data.from_items([{"row_index": 0}]))


def test_what_cannot_be() -> None:
    dataset = ray.data.from_items([{"row_index": "a", **chat(0)}])
    with pytest.raises(OptionError, match="the column 'row_index' has to be of whole numbers, one for each row"):
        on_ray.encode(dataset, **OPTIONS)
    for options in ({"concurrency": 0}, {"concurrency": (2, 1)}, {"on_error": "ignore"}, {"loss_on": "turns"}):
        with pytest.raises(OptionError, match=next(iter(options))):
            on_ray.encode(dataset, **{**OPTIONS, **options})
    for options in ({"num_cpus": 0}, {"num_cpus": "all"}, {"batch_size": 0}, {"batch_size": None}):
        with pytest.raises(OptionError, match=f"{next(iter(options))}=.*expected the number of"):
            on_ray.encode(dataset, **{**OPTIONS, **options})
    for make in (on_ray.encode, on_ray.with_row_index):
        with pytest.raises(OptionError, match=r"expected a ray.data.Dataset, got builtins.list: ray.data.from_items"):
            make([chat(0)], **(OPTIONS if make is on_ray.encode else {}))
    for nowhere in ("/nowhere", Path("/nowhere")):
        with pytest.raises(TokenizerError, match="there is no tokenizer in /nowhere: no such folder"):
            on_ray.encode(dataset, tokenizer=nowhere)
    with pytest.raises(SourceError, match=r"there is no file /nowhere.jsonl"):
        on_ray.read(Path("/nowhere.jsonl"))
    with pytest.raises(SourceError, match="int is not a data set: use a file, a folder"):
        on_ray.read(3)
    assert on_ray.encode(ray.data.from_items([]), **OPTIONS).take_all() == []


def test_a_row_that_kills_each_of_its_workers_ends_the_run(monkeypatch: pytest.MonkeyPatch, small: Any) -> None:
    monkeypatch.setattr(actors, "RETRIES", 1)

    def kill(worker: Any, rows: list[RawRow]) -> int:
        if rows[0].index == 1:
            time.sleep(0.5)  # in which it gives back what it has done before
            os.kill(os.getpid(), signal.SIGKILL)
        return len(rows)

    chunks = iter([[RawRow(index, f"row {index}", {})] for index in range(3)])
    plan = EncodePlan(source="", tokenizer="")
    worker = shards.ShardWorker(plan, Path(), ChatEncoder(small, backend="hf"))
    found = actors.map_on_actors(chunks, worker, kill, 1)
    assert next(found).result == 1
    with pytest.raises(
        WorkerError,
        match=r"^rows 1 to 1: their worker ended by itself .* again in each of 1 retries",
    ):
        next(found)


def test_without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for function in (on_ray.read, on_ray.with_row_index):
        with pytest.raises(EngineError, match=r'Ray is not installed.*: pip install "chatspan\[ray\]"'):
            function("data.jsonl")
    source = write_rows(tmp_path / "data.jsonl", [chat(0)])
    done = chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(tmp_path / "out"), "--engine", "ray")
    assert done.returncode == 1
    assert 'pip install "chatspan[ray]"' in done.stderr
    assert not (tmp_path / "out").exists()


def test_nobody_at_the_address(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    code = "from chatspan.ray.cluster import connected\nwith connected(): pass"
    environment = {**os.environ, "RAY_ADDRESS": address}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert f"EngineError: cannot reach Ray at RAY_ADDRESS={address}: " in done.stderr
