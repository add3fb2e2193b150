"""The command of the tests of audits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from audits import Command


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs ``chatspan audit``, in a folder of its own."""
    return Command(monkeypatch, capsys, tmp_path)
