"""The cosines of the docs are those that the command prints, and show what the docs say."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
from zoo import REPO


@pytest.fixture(scope="module")
def bench() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(REPO / "benches"), *sys.path])
        return importlib.import_module("top_k")


def test_the_table_of_the_docs(bench: Any) -> None:
    page = (REPO / "docs" / "loss.md").read_text(encoding="utf-8")
    shown = page.split('```text title="benches/top_k.py"\n')[1].split("\n```")[0].splitlines()[1:]
    lines = list(bench.lines())
    assert len(shown) == len(lines) == len(bench.KS) * len(bench.BETAS)
    for row, line in zip(shown, lines, strict=True):
        figures = [float(each) for each in row.replace("|", " ").split()]
        assert figures == pytest.approx([each for each in line if each is not None], abs=2e-3)
        assert line.bound < line.exact
        assert line.with_tail > max(line.renormalised, line.raw_sum or 0)
        assert line.k < 8 or line.with_tail > 0.98
