"""What the benches time is there."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from zoo import REPO


def test_the_stages_that_are_timed_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named as texts, which no type checker reads."""
    monkeypatch.setattr(sys, "path", [str(REPO / "benches"), *sys.path])
    timed = importlib.import_module("stages")._functions(None)
    assert [name for owner, name, _ in timed if not callable(getattr(owner, name, None))] == []
    assert len(timed) == len({label for *_, label in timed})


def test_the_benches_find_what_they_import() -> None:
    """In a process of their own, where no helper of the tests has their names."""
    names = sorted(path.stem for path in (REPO / "benches").glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(names)}"],
        cwd=REPO / "benches",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr[-500:] if done.returncode else "") == (0, "")


def test_only_names_a_bench() -> None:
    """The names are those of ``--help``."""
    done = subprocess.run(
        [sys.executable, "benches/run.py", "--only", "speed"], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "argument --only: invalid choice: 'speed'" in done.stderr
    for name in ("prefix-delta", "native", "peers", "import"):
        assert name in done.stderr


# As the benches are, but short; without a zoo, and beside libraries that the test makes.
SMALL = """
import sys
from pathlib import Path

import native, peers, texts
from inputs import load_inputs
from tables import Report

texts.PIECE_BYTES, peers._MESSAGES = 2000, 4
peers.PEERS = {name: peers.PEERS[name] for name in ("gigatoken", "tokie", "kitoken", "tokenizers")}
native._MESSAGES, native._GROWTH, native._LONG, native._LONGEST_WITH_REFERENCE = 4, (4, 8, 16), 8, 0
nowhere = Path("no zoo")
inputs = load_inputs(nowhere, "")
peers.report_peers(Report(), inputs, nowhere, 2)
native._report_growth(Report(), inputs, 1)
"""
LIBRARIES = {
    # Its ids are others as soon as there is an "e".
    "gigatoken": """
import tokenizers

class Tokenizer:
    def __init__(self, path):
        self.own = tokenizers.Tokenizer.from_file(path)

    def encode(self, text):
        return self.own.encode(text.replace("e", "x"), add_special_tokens=False).ids
""",
    "tokie": "raise ModuleNotFoundError('No module named tokie', name='tokie')",
    "kitoken": """
class Kitoken:
    @staticmethod
    def from_tokenizers_file(path):
        raise ValueError("no such form of tokenizer")
""",
}


def test_the_bench_of_libraries_and_that_of_growth(tmp_path: Path) -> None:
    """Whoever has other ids has no times; whoever cannot be measured has a reason."""
    for name, source in LIBRARIES.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(REPO / "benches"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", SMALL],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr[-2000:] if done.returncode else "") == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["tokenizer", "text", "chatspan", "gigatoken", "tokie", "kitoken", "tokenizers"] in lines
    rows = {}
    for line in lines:
        kind = next((each for each in ("chat", "code", "prose", "CJK", "emoji") if each in line[:2]), None)
        if kind is not None:
            rows[kind] = line[line.index(kind) + 1 :]
    # There is no "e" in it.
    own, same, factor, hf, hf_factor = rows.pop("CJK")
    assert min(map(float, (own, same, hf))) > 0
    assert factor.endswith("x")
    assert hf_factor.endswith("x")
    assert list(rows) == ["chat", "code", "prose", "emoji"]
    assert all(cells[1:3] == ["other", "ids"] for cells in rows.values())
    text = " ".join(done.stdout.split())
    assert "Left out: tokie: not installed: pip install tokie (tokenizer)" in text
    assert "Left out: kitoken: does not take this tokenizer: ValueError: no such form of tokenizer (tokenizer)" in text
    assert "Other ids: gigatoken: token " in text
    assert "Growth of time with tokens (1 = linear): " in text
