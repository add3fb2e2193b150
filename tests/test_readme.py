"""The README's Python runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import REPO

BLOCKS = re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_runs(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(REPO))
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    if "encoding" in names:
        assert names["encoder"].decode(names["encoding"].input_ids[names["encoding"].mask()]) == "Hello!<|im_end|>"


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 3
