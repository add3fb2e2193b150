"""The power is cut between any two operations on the disk: what is resumed is what an undisturbed run writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatspan import ChatEncoder, OutputError
from chatspan.shards import whole_files
from encode_runs import Run
from encoded_files import chat, contents, write_rows
from power_cuts import Machine, Noted, cuts, laid_out


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    disk = Noted()
    monkeypatch.setattr(whole_files, "disk", disk)
    return disk


@pytest.fixture(scope="module")
def encoder(small: Any) -> ChatEncoder:
    return ChatEncoder(small)


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_power_cut_anywhere(
    tmp_path: Path, encoder: ChatEncoder, noted: Noted, file_format: str, say: Callable[[str], None]
) -> None:
    rows = [chat(i) if i % 5 else "broken" for i in range(1, 8)]
    run = Run(write_rows(tmp_path / "data.jsonl", rows), encoder, {"rows_per_shard": 3, "file_format": file_format})
    out = tmp_path / "whole"
    run(out)
    whole, operations = contents(out), list(noted.operations)
    states = 0
    for number, found in cuts(Machine(), operations):
        states += 1
        again = tmp_path / f"{number}-{states}"
        laid_out(found, out, again)
        summary = run(again)
        assert (summary.rows, summary.rejected) == (7, 1), operations[:number]
        assert contents(again) == whole, operations[:number]
    assert len(operations) > 40
    say(f"encode, {file_format}: {len(operations)} operations on the disk, {states} states after a cut; all came right")


def test_power_cut_while_another_run_is_cleared(tmp_path: Path, encoder: ChatEncoder, noted: Noted) -> None:
    source = write_rows(tmp_path / "data.jsonl", [chat(i) for i in range(7)])
    out = tmp_path / "out"
    other = Run(source, encoder, {"rows_per_shard": 2, "loss": "content"})
    other(out)
    (out / "thesis.tex").write_text("x")
    before = Machine.holding(out)
    noted.operations.clear()
    run = Run(source, encoder, {"rows_per_shard": 3})
    run(out, force=True)
    whole, operations = contents(out), list(noted.operations)
    resumed = 0
    for state, (number, found) in enumerate(cuts(before, operations)):
        again = tmp_path / f"{number}-{state}"
        laid_out(found, out, again)
        try:
            run(again)
        except OutputError:
            run(again, force=True)
        else:
            resumed += 1
        assert contents(again) == whole, operations[:number]
    assert resumed > len(operations) // 2


def test_what_a_record_tells_of_is_on_the_disk_before_it(tmp_path: Path, encoder: ChatEncoder, noted: Noted) -> None:
    rows = ["broken", *map(chat, range(5))]
    Run(write_rows(tmp_path / "data.jsonl", rows), encoder, {"rows_per_shard": 2})(tmp_path / "out")
    machine, records = Machine(), []
    for operation in noted.operations:
        if operation[0] == "rename" and operation[2].match(".unfinished/[0-9]*.json"):
            records.append(operation[2].name)
            about = {path.name: file for path, file in machine.names.items() if path.name.startswith(records[-1][:5])}
            assert about.pop(operation[1].name) is not None
            assert set(about) <= {path.name for path in machine.on_disk}
            assert all(file is not None and file.on_disk == file.data for file in about.values())
            assert len(about) == (2 if records == ["00000.json"] else 1)
        machine.does(operation)
    assert records == ["00000.json", "00001.json", "00002.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="files are looked at in /proc")
def test_the_disk_is_really_waited_for(tmp_path: Path, encoder: ChatEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []

    def fsync(file: int) -> None:
        waited.append(Path(os.readlink(f"/proc/self/fd/{file}")).name.partition(".tmp")[0].rpartition(".")[0])

    monkeypatch.setattr(os, "fsync", fsync)
    run = Run(write_rows(tmp_path / "data.jsonl", [chat(i) for i in range(4)]), encoder, {"rows_per_shard": 2})
    run(tmp_path / "out")
    names = [name for name in waited if name]
    assert names == ["chatspan.json", "00000.shard", "00000.json", "00001.shard", "00001.json", "chatspan.json"]
    assert len(waited) > 2 * len(names)


@pytest.mark.parametrize("name", ["00001.shard", "00000.rejects.jsonl", "00001.json"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "other"])
def test_a_record_without_its_files_does_not_count(
    tmp_path: Path, encoder: ChatEncoder, name: str, damage: str
) -> None:
    run = Run(write_rows(tmp_path / "data.jsonl", ["broken", *map(chat, range(7))]), encoder, {"rows_per_shard": 3})
    run(tmp_path / "whole")
    out = tmp_path / "out"

    def stops(rows: int, position: float | None) -> None:
        if (out / ".unfinished" / "00001.json").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(out, progress=stops)
    path = out / ".unfinished" / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "other": data[:-9] + b"?" + data[-8:]}[damage])
    said: list[str] = []
    assert run(out, say=said.append).rows_before == 3
    assert said == ([] if (name, damage) == ("00001.json", "gone") else [_DROPPED.format(out)])
    assert contents(out) == contents(tmp_path / "whole")


_DROPPED = "1 of the files in {} do not match their records: they are written again"


@pytest.mark.parametrize("name", ["data/train-00001-of-00003.parquet", "rejects.jsonl"])
@pytest.mark.parametrize("damage", ["gone", "other"])
def test_a_complete_run_whose_files_are_others(tmp_path: Path, encoder: ChatEncoder, name: str, damage: str) -> None:
    run = Run(write_rows(tmp_path / "data.jsonl", ["broken", *map(chat, range(7))]), encoder, {"rows_per_shard": 3})
    out = tmp_path / "out"
    run(out)
    whole = contents(out)
    assert run(out).rows_before == 8
    if damage == "gone":
        (out / name).unlink()
    else:
        (out / name).write_bytes(bytes([*(out / name).read_bytes()[:-1], 0]))
    with pytest.raises(OutputError, match=f"{name} is not what the run wrote: use --force to start over"):
        run(out)
    run(out, force=True)
    assert contents(out) == whole
