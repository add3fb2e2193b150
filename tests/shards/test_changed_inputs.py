"""An input that changes between two runs is noticed, and one that lies where a run writes is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from chatspan import ChatEncoder, OutputError
from chatspan.rows.marks import written_out
from chatspan.shards import plan
from commands import chatspan
from encode_inputs import KINDS, ROWS, SIZE, Stop, as_lines, change_between_two_runs, chats, stopping
from encode_runs import Run
from encoded_files import chat, contents, write_rows
from test_bad_rows import BROKEN, written_rows
from zoo import EXAMPLES

TOKENIZER = str(EXAMPLES / "tokenizer")


@pytest.fixture(autouse=True)
def no_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of tests are all edges: what is left of those finds no change."""
    monkeypatch.setattr(plan, "_EDGE_BYTES", 4)
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def encoder(small: Any) -> ChatEncoder:
    return ChatEncoder(small)


@pytest.mark.parametrize("make", KINDS)
def test_twenty_inputs_that_change_between_two_runs(
    tmp_path: Path, encoder: ChatEncoder, make: Callable[..., Path]
) -> None:
    count = 20 if make is as_lines else 4
    noticed = [change_between_two_runs(tmp_path / str(number), encoder, make, number) for number in range(count)]
    assert any(noticed)


@pytest.mark.parametrize("make", KINDS)
def test_an_input_that_changes_after_its_run(tmp_path: Path, encoder: ChatEncoder, make: Callable[..., Path]) -> None:
    run = Run(make(tmp_path), encoder, {"rows_per_shard": SIZE})
    run(tmp_path / "out")
    assert run(tmp_path / "out").rows_before == ROWS
    make(tmp_path, 21)
    with pytest.raises(OutputError, match="has changed since the run in"):
        run(tmp_path / "out")
    run(tmp_path / "out", force=True)
    run(tmp_path / "again")
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_rows_that_come_and_go(tmp_path: Path, encoder: ChatEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_source_print", lambda name: {"name": name})
    source = as_lines(tmp_path)
    run = Run(source, encoder, {"rows_per_shard": SIZE})
    for stop in (None, 10, 6):
        out = tmp_path / f"out{stop}"
        write_rows(source, chats())
        if stop is None:
            run(out)
        else:
            with pytest.raises(Stop):
                run(out, progress=stopping(stop))
        for rows, said in ((chats()[:10], "it has only 10 rows"), ([*chats(), chat(0)], "it has more than 40 rows")):
            write_rows(source, rows)
            if stop is not None and len(rows) > 10:
                assert run(out).rows == 41
                continue
            with pytest.raises(OutputError, match=said):
                run(out)


def test_a_value_is_written_out_the_same_whatever_is_one_object() -> None:
    text = "".join(["a", "b"])
    shared, apart = [text, text, {"ab": text}], [text, "".join(["a", "b"]), {"".join(["a", "b"]): "ab"}]
    assert written_out(shared) == written_out(apart)
    assert written_out([1]) != written_out([1.0]) != written_out([True])
    assert written_out([lambda: 1])


def encode(source: Path, out: Path, *options: str) -> Any:
    return chatspan("encode", str(source), "-t", TOKENIZER, "-o", str(out), "-p", "1", *options)


def test_an_input_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert encode(write_rows(tmp_path / "data.jsonl", [chat(0)]), out).returncode == 0
    inside = out / "data" / "train-00000-of-00001.parquet"
    link = tmp_path / "link.parquet"
    link.symlink_to(inside)
    before = contents(out)
    for source in (inside, link, out / "data", out):
        done = encode(source, out, "--force")
        assert done.returncode == 1
        assert f"the input {source} is inside {out}, the folder to write: use another --out" in done.stderr
    template = out / "mine.jinja"
    template.write_text("{{ messages }}")
    done = encode(tmp_path / "data.jsonl", out, "--force", "--template", str(template))
    assert f"the input {template} is inside {out}" in done.stderr
    template.unlink()
    assert contents(out) == before
    done = encode(tmp_path, tmp_path / "new")
    assert f"{tmp_path / 'new'} is inside the input {tmp_path} and would become a part" in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("make", BROKEN)
def test_a_broken_container_ends_with_what_was_read(
    tmp_path: Path, encoder: ChatEncoder, make: Callable[[Path], Path]
) -> None:
    source, out = make(tmp_path), tmp_path / "out"
    for told in ("", "already "):
        done = encode(source, out, "--rows-per-shard", "4")
        rows = written_rows(out)
        assert done.returncode == 1
        assert f"is broken after its first {len(rows):,} rows: " in done.stderr
        assert f"{len(rows):,} rows {told}in {out}" in done.stdout
        assert rows == list(range(len(rows)))
    stopped, run = tmp_path / "stopped", Run(source, encoder, {"rows_per_shard": 4})
    run(tmp_path / "whole")
    for after in (1, -(-len(rows) // 4)):
        with pytest.raises(Stop):
            run(stopped, progress=stopping(after))
        assert run(stopped).broken is not None
        assert contents(stopped) == contents(tmp_path / "whole")
        run = Run(source, encoder, {"rows_per_shard": 4})
        stopped = tmp_path / "stopped later"
