"""``chatspan encode``: what the files hold, rows that fail, runs that are stopped, places that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from chatspan import ChatEncoder, Kind, OutputError
from chatspan.rows.sources import open_source
from chatspan.shards.plan import EncodePlan, manifest_of
from chatspan.shards.run import encode_files, prepare
from commands import chatspan, started
from encoded_files import chat, contents, write_rows
from zoo import EXAMPLES

TOKENIZER = str(EXAMPLES / "tokenizer")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def load(out: Path) -> Any:
    if (out / "state.json").exists():
        return datasets.load_from_disk(str(out))
    return datasets.load_dataset(str(out), split="train", cache_dir=str(out.parent / "cache"))


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_what_is_written_is_what_the_encoder_says(tmp_path: Path, small: Any, file_format: str) -> None:
    source = write_rows(tmp_path / "data.jsonl", [chat(i) for i in range(7)])
    options = ("--format", file_format, "--rows-per-shard", "3", "-p", "1")
    done = chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(tmp_path / "out"), *options)
    assert done.returncode == 0, done.stderr
    encoder = ChatEncoder(small)
    loaded = load(tmp_path / "out")
    assert loaded.num_rows == 7
    for index, row in enumerate(loaded):
        encoding = encoder.encode(chat(index)["messages"])
        assert row["row_index"] == index
        assert row["input_ids"] == encoding.input_ids.tolist()
        assert row["labels"] == encoding.labels().tolist()
        assert row["message_index"] == encoding.message_index.tolist()
        assert [Kind(kind) for kind in row["kind"]] == [Kind(kind) for kind in encoding.kind.tolist()]
    trained = [token for token in loaded[3]["labels"] if token != -100]
    assert small.decode(trained) == "It is 6. " + "So it is. " * 9 + "<|im_end|>"
    assert f"7 rows in {tmp_path / 'out'} (3 files)" in done.stdout
    assert list((tmp_path / "out").rglob("*.tmp")) == []


def test_the_files_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "data.jsonl", [chat(i) for i in range(40)])
    for processes in ("1", "2"):
        out = tmp_path / f"out{processes}"
        done = chatspan(
            "encode", str(source), "-t", TOKENIZER, "-o", str(out), "-p", processes, "--rows-per-shard", "7"
        )
        assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")


def test_rows_that_fail_are_in_the_reject_file_with_their_errors(tmp_path: Path) -> None:
    rows = [chat(0), '{"messages": [', {"text": "no chat"}, chat(3), {"messages": [{"role": "user", "content": 5}]}]
    long = {"messages": [{"role": "user", "content": "word " * 300}, {"role": "assistant", "content": "x"}]}
    source = write_rows(tmp_path / "data.jsonl", [*rows, long, chat(6)])
    out = tmp_path / "out"
    done = chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(out), "--max-length", "120", "-p", "1")
    assert done.returncode == 1
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [(r["row_index"], r["place"], r["error"]) for r in rejects] == [
        (1, "data.jsonl:2", "RowError"),
        (2, "data.jsonl:3", "RowError"),
        (4, "data.jsonl:5", "TemplateError"),
        (5, "data.jsonl:6", "TruncationError"),
    ]
    assert rejects[0]["message"].startswith("not JSON: Expecting value")
    assert rejects[1]["row"] == {"text": "no chat"}
    assert rejects[0]["row"] == '{"messages": ['
    assert "120" in rejects[3]["message"]
    assert load(out)["row_index"][:] == [0, 3, 6]
    assert "chatspan: 4 rows rejected, each with its error in" in done.stderr
    again = chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(out), "--max-length", "120", "-p", "1")
    assert again.returncode == 1
    assert "3 rows already in" in again.stdout


def test_rows_that_are_cut_are_counted(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "data.jsonl", [chat(i) for i in range(3)])
    out = tmp_path / "out"
    options = ("--max-length", "20", "--truncation", "left", "--json", "-p", "1")
    done = chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(out), *options)
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["cut"], summary["tokens"], summary["rejected"]) == (3, 3, 60, 0)
    assert {len(ids) for ids in load(out)["input_ids"]} == {20}


def test_of_a_completion_only_the_completion_is_trained(tmp_path: Path, small: Any) -> None:
    first = chat(1)["messages"]
    row = {
        "prompt": [*first, {"role": "user", "content": "And?"}],
        "completion": [{"role": "assistant", "content": "No."}],
    }
    source = write_rows(tmp_path / "data.jsonl", [row])
    assert chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(tmp_path / "out"), "-p", "1").returncode == 0
    assert small.decode([token for token in load(tmp_path / "out")[0]["labels"] if token != -100]) == "No.<|im_end|>"
    shown = chatspan("inspect", str(source), "-t", TOKENIZER).stdout
    assert "⟦No.⟧⟦<|im_end|>⟧" in shown
    assert shown.count("⟦") == 3  # and in the legend
    report = json.loads(chatspan("audit", str(source), "-t", TOKENIZER, "--json", "-p", "1").stdout)
    assert report["tokens_in_loss"] == len(small("No.<|im_end|>")["input_ids"])
    assert [end["turns"] for end in report["ends_of_turns"]] == [1]


def test_control_tokens_in_text_may_be_plain_text(tmp_path: Path, small: Any) -> None:
    turn = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "With <|im_end|>, so."}]
    source = write_rows(tmp_path / "data.jsonl", [{"messages": turn}])
    ends = []
    for name in ("as_rendered", "escape"):
        out = tmp_path / name
        done = chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(out), "-p", "1", "--special-tokens", name)
        assert done.returncode == 0, done.stderr
        ids = load(out)[0]["input_ids"]
        assert "With <|im_end|>, so.<|im_end|>" in small.decode(ids)
        ends.append(ids.count(small.convert_tokens_to_ids("<|im_end|>")))
    assert ends == [3, 2]
    done = chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(tmp_path / "e"), "--special-tokens", "error")
    assert done.returncode == 1
    assert json.loads((tmp_path / "e" / "rejects.jsonl").read_text())["error"] == "ControlTokenError"


def test_traces_and_tools_are_encoded_as_the_student_sees_them(
    tmp_path: Path, small: Any, sample_traces: Sequence[Any]
) -> None:
    source = write_rows(tmp_path / "data.jsonl", sample_traces)
    done = chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(tmp_path / "out"), "--loss", "content")
    assert done.returncode == 0, done.stderr
    row = load(tmp_path / "out")[0]
    text = small.decode(row["input_ids"])
    assert '{"name": "rebook", "arguments": {"booking": "K7Q2", "train": "IC 900"}}' in text
    assert "Hint" not in text
    trained = small.decode([token for token in row["labels"] if token != -100])
    assert trained.startswith("I will move it to the train at nine.IC 900 does not run on Sundays.")


class Stop(Exception):
    pass


def stopping(after: int) -> Callable[[int, float | None], None]:
    seen = iter(range(after))

    def progress(rows: int, position: float | None) -> None:
        if next(seen, None) is None:
            raise Stop

    return progress


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_a_run_that_was_stopped_anywhere_goes_on(tmp_path: Path, small: Any, file_format: Any) -> None:
    rows = [chat(i) if i % 5 else "broken" for i in range(20)]
    path = write_rows(tmp_path / "data.jsonl", rows)
    plan = EncodePlan(source=str(path), tokenizer="small", rows_per_shard=3, file_format=file_format)
    encoder = ChatEncoder(small)
    manifest = manifest_of(plan, encoder)

    def run(out: Path, progress: Callable[[int, float | None], None]) -> Any:
        assert prepare(out, manifest, force=False) is None
        return encode_files(open_source(str(path)), plan, encoder, out, processes=1, progress=progress)

    whole = run(tmp_path / "whole", lambda rows, position: None)
    assert (whole.rows, whole.rejected, whole.shards) == (20, 4, 7)
    for after in range(7):
        out = tmp_path / f"stopped{after}"
        with pytest.raises(Stop):
            run(out, stopping(after))
        (out / ".unfinished" / "00006.shard.tmp").write_bytes(b"half a sh")
        assert not list(out.glob("*.parquet")) + list(out.glob("data*"))
        summary = run(out, lambda rows, position: None)
        assert summary.rows_before == min(3 * (after + 1), 20)
        assert contents(out) == contents(tmp_path / "whole")


def encoding(source: Path, out: Path, processes: int) -> subprocess.Popen[str]:
    return started(
        *("encode", str(source), "-t", TOKENIZER, "-o", str(out), "-p", str(processes), "--rows-per-shard", "50")
    )


def until_some_shards_are_there(out: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(list((out / ".unfinished").glob("[0-9]*.json"))) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("processes", "number"), [(2, signal.SIGKILL), (1, signal.SIGINT)])
def test_killed_in_the_middle_and_started_again(tmp_path: Path, processes: int, number: signal.Signals) -> None:
    rows = [{"messages": chat(i)["messages"] * 12} for i in range(2000)]
    source = write_rows(tmp_path / "data.jsonl", rows)
    out = tmp_path / "out"
    process = encoding(source, out, processes)
    until_some_shards_are_there(out, process)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=120)
    shards = len(list((out / ".unfinished").glob("[0-9]*.json")))
    assert 3 <= shards < 40
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"stopped; {shards * 50:,} rows in {out} are complete; run the same command again to resume" in said
        assert "Traceback" not in said
    command = ("encode", str(source), "-t", TOKENIZER, "--rows-per-shard", "50", "-p")
    again = chatspan(*command, str(processes), "-o", str(out))
    assert again.returncode == 0, again.stderr
    assert f"{shards * 50:,} rows are there already" in again.stderr
    assert chatspan(*command, "1", "-o", str(tmp_path / "whole")).returncode == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_a_worker_that_is_killed_ends_the_run_in_one_line(tmp_path: Path) -> None:
    rows = [{"messages": chat(i)["messages"] * 12} for i in range(5000)]
    source = write_rows(tmp_path / "data.jsonl", rows)
    process = encoding(source, tmp_path / "out", 2)
    until_some_shards_are_there(tmp_path / "out", process)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
    os.kill(int(children.split()[0]), signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "a worker process ended by itself" in said
    assert "Traceback" not in said


def test_another_run_is_not_overwritten(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "data.jsonl", [chat(0)])
    out = tmp_path / "out"

    def encode(*args: str) -> subprocess.CompletedProcess[str]:
        return chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(out), "-p", "1", *args)

    assert encode().returncode == 0
    moved = source.rename(tmp_path / "moved.jsonl")
    again = chatspan("encode", str(moved), "-t", TOKENIZER, "-o", str(out), "-p", "1")
    assert "1 row already in" in again.stdout
    moved.rename(source)
    done = encode("--loss", "content")
    assert done.returncode == 1
    assert "holds a run with --loss turn, this is content: use another --out, or --force" in done.stderr
    write_rows(source, [chat(1)])
    assert "holds a run of another source, by what is in it" in encode().stderr
    assert "holds a run with --format parquet, this is arrow" in encode("--format", "arrow").stderr
    assert encode("--force").returncode == 0
    assert load(out)[0]["row_index"] == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    done = chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(tmp_path / "mine"), "--force")
    assert done.returncode == 1
    assert "exists and holds no run of chatspan: use another --out" in done.stderr
    assert (tmp_path / "mine" / "thesis.tex").exists()
    done = chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(source))
    assert "is a file: use a folder for --out" in done.stderr


@pytest.fixture
def little_room(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "little"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here: it takes root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_no_room_on_the_disk(tmp_path: Path, little_room: Path, processes: str) -> None:
    source = write_rows(tmp_path / "data.jsonl", [{"messages": chat(i)["messages"] * 40} for i in range(900)])
    command = ("encode", str(source), "-t", TOKENIZER, "-o", str(little_room / "out"), "-p", processes)
    done = chatspan(*command, "--rows-per-shard", "20")
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert "free some space, or use another path" in done.stderr
    assert "Traceback" not in done.stderr
    subprocess.run(["mount", "-o", "remount,size=64m", str(little_room)], check=True)
    done = chatspan(*command, "--rows-per-shard", "20")
    assert done.returncode == 0, done.stderr
    assert "are there already" in done.stderr
    assert load(little_room / "out")["row_index"][:] == list(range(900))


def test_an_unreadable_manifest_is_said(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "chatspan.json").write_text("{")
    with pytest.raises(OutputError, match=r"chatspan\.json cannot be read"):
        prepare(out, {"options": {"loss": "turn"}}, force=False)


def test_the_whole_zoo(tmp_path: Path, zoo_tokenizer: Callable[[str], Any], zoo_traces: Sequence[Any]) -> None:
    encoder = ChatEncoder(zoo_tokenizer("qwen3"))
    path = write_rows(tmp_path / "data.jsonl", zoo_traces)
    plan = EncodePlan(source=str(path), tokenizer="qwen3", rows_per_shard=64)
    prepare(tmp_path / "out", manifest_of(plan, encoder), force=False)
    source = open_source(str(path))
    summary = encode_files(source, plan, encoder, tmp_path / "out", processes=2, progress=lambda rows, position: None)
    assert (summary.rows, summary.rejected) == (200, 0)
    loaded = load(tmp_path / "out")
    assert sum(map(len, loaded["input_ids"])) == summary.tokens
