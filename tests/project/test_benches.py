"""What the benches time is there."""

from __future__ import annotations

import importlib
import subprocess
import sys

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
