"""Runs that are killed at any moment, and runs side by side: what comes of them is what an undisturbed one writes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatspan import ChatEncoder, OutputError
from chatspan.shards.lock import LOCK, locked
from encode_kills import ROWS, kill_at_a_moment, pair_in_one_folder, run_to_kill, seconds_of
from encode_runs import Run, ended, forked, kill, require_no_survivors
from encoded_files import contents

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")

# With --all ten times as many.
KILLS, PAIRS = 20, 10


@pytest.fixture(scope="module")
def encoder(small: Any) -> ChatEncoder:
    encoder = ChatEncoder(small)
    encoder.warm_up()
    return encoder


@pytest.fixture
def run(tmp_path: Path, encoder: ChatEncoder) -> Run:
    return run_to_kill(tmp_path, encoder)


@pytest.fixture
def whole(tmp_path: Path, run: Run) -> dict[str, bytes]:
    assert run(tmp_path / "whole").rows == ROWS
    return contents(tmp_path / "whole")


def test_kills_at_any_moment(
    tmp_path: Path, run: Run, whole: dict[str, bytes], request: pytest.FixtureRequest, say: Callable[[str], None]
) -> None:
    seconds = {processes: seconds_of(run, tmp_path / f"timed{processes}", processes) for processes in (1, 2)}
    count = KILLS * 10 if request.config.getoption("--all") else KILLS
    in_the_middle = sum(
        kill_at_a_moment(run, tmp_path / f"killed{number}", whole, number, seconds) for number in range(count)
    )
    say(
        f"encode: {count} runs killed, {in_the_middle} of them between their first shard and their last; all came right"
    )
    assert in_the_middle >= count // 10


def test_pairs_in_one_folder(
    tmp_path: Path, run: Run, whole: dict[str, bytes], request: pytest.FixtureRequest, say: Callable[[str], None]
) -> None:
    count = PAIRS * 10 if request.config.getoption("--all") else PAIRS
    refused = sum(pair_in_one_folder(run, tmp_path / f"pair{number}", whole, number) for number in range(count))
    say(f"encode: {count} pairs of runs in one folder, one of them refused in {refused}; all came right")
    assert refused >= count // 2


def test_who_is_at_work_is_named(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    with locked(out), pytest.raises(OutputError, match=rf"is being written by process {os.getpid()} on "):
        run(out)
    assert not (out / LOCK).exists()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path, run: Run, whole: dict[str, bytes]) -> None:
    out, said = tmp_path / "out", []

    def dies(rows: int, position: float | None) -> None:
        kill(os.getpid())

    process = forked(lambda: run(out, progress=dies))
    assert ended(process) == -signal.SIGKILL
    assert json.loads((out / LOCK).read_text())["pid"] == process
    run(out, say=said.append)
    assert said == [f"took over the lock on {out} of process {process}, which has ended"]
    assert contents(out) == whole


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "host": "h", "started": null}'])
def test_half_a_lock_is_nobodys(tmp_path: Path, run: Run, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).write_text(text)
    assert run(tmp_path / "out").rows == ROWS


def test_a_lock_of_another_machine(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    out.mkdir()
    held = {"pid": 1, "host": "node-7", "started": None}
    (out / LOCK).write_text(json.dumps(held))
    said = rf"was locked by process 1 on node-7, and this is {socket.gethostname()}: when .* remove {out / LOCK}$"
    with pytest.raises(OutputError, match=said):
        run(out)
    assert json.loads((out / LOCK).read_text()) == held


def test_a_file_system_without_locks(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatspan.shards.lock._try_lock", lambda file: True)
    out = tmp_path / "out"
    sleeping = subprocess.Popen(["sleep", "60"])
    try:
        out.mkdir()
        started = sys.modules["chatspan.shards.lock"]._started(sleeping.pid)
        (out / LOCK).write_text(json.dumps({"pid": sleeping.pid, "host": socket.gethostname(), "started": started}))
        with pytest.raises(OutputError, match=rf"is being written by process {sleeping.pid}"):
            run(out)
    finally:
        sleeping.kill()
        sleeping.wait()
    assert run(out).rows == ROWS


_SPAWNED = """
import multiprocessing, os, sys, time, types
from chatspan.rows import with_parent

def work(parent, platform):
    with_parent.sys = types.SimpleNamespace(platform=platform)
    with_parent.end_with_parent(parent, by_signal=False)
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(os.getpid(), sys.argv[2])).start()
    time.sleep(60)
"""


@pytest.mark.parametrize(("method", "platform"), [("fork", "linux"), ("spawn", "darwin")])
def test_workers_see_their_parent_end_without_a_signal(tmp_path: Path, method: str, platform: str) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(_SPAWNED)
    command = [sys.executable, str(script), method, platform]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert int(process.stdout.readline())
    process.kill()
    process.wait()
    require_no_survivors(process.pid, 10)
