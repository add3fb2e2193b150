"""Templates that would run for ever or take all memory end with an error that says so, and the process goes on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPO

if not sys.platform.startswith("linux"):
    pytest.skip("limits of processes as Linux has them", allow_module_level=True)

from hostile import CASES


@pytest.fixture(scope="module")
def ends() -> Callable[[str], str]:
    """What each case came to."""
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("hostile.py")], capture_output=True, text=True, check=True, cwd=REPO
    )
    return dict(json.loads(line) for line in run.stdout.splitlines()).__getitem__


@pytest.mark.parametrize("name", CASES)
def test_it_ends(name: str, ends: Callable[[str], str]) -> None:
    assert re.match(CASES[name].ends, ends(name), re.DOTALL), f"{ends(name)}\n{CASES[name].source[:300]}"
