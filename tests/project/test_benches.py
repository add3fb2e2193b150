"""What the benches time is there."""

from __future__ import annotations

import importlib
import sys

import pytest
from zoo import REPO


def test_the_stages_that_are_timed_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named as texts, which no type checker reads."""
    monkeypatch.setattr(sys, "path", [str(REPO / "benches"), *sys.path])
    timed = importlib.import_module("stages")._functions(None)
    assert [name for owner, name, _ in timed if not callable(getattr(owner, name, None))] == []
    assert len(timed) == len({label for *_, label in timed})


@pytest.mark.parametrize("name", sorted(path.stem for path in (REPO / "benches").glob("*.py")))
def test_a_bench_finds_what_it_imports(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(REPO / "benches"), *sys.path])
    assert importlib.import_module(name)
