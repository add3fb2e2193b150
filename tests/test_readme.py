"""The Python of the README and of the docs that are whole programs runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import REPO

PAGES = ("README.md", "docs/tokenizing.md", "docs/distillation.md", "docs/loss.md", "docs/sft.md", "docs/ray.md")
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", (REPO / page).read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_runs(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(REPO))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    if "import ray" in block:
        pytest.importorskip("ray.data", reason="Ray is not installed")
    names: dict[str, Any] = {}
    exec(compile(block, "a page", "exec"), names)
    if "encoding" in names:
        assert names["encoder"].decode(names["encoding"].input_ids[names["encoding"].mask()]) == "Hello!<|im_end|>"


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 14
