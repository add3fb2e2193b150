"""Sizes that a caller gives are not believed before there is room for them: an error, and the process goes on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from zoo import REPO

if not sys.platform.startswith("linux"):
    pytest.skip("limits of processes as Linux has them", allow_module_level=True)

from dangerous_sizes import CASES


@pytest.fixture(scope="module")
def ends() -> Mapping[str, str]:
    """What each case came to."""
    command = [sys.executable, Path(__file__).with_name("dangerous_sizes.py"), *CASES]
    path = os.pathsep.join([str(REPO / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(command, capture_output=True, text=True, cwd=REPO, env={**os.environ, "PYTHONPATH": path})
    assert run.returncode == 0, f"it ended after {run.stdout}\n{run.stderr[-2000:]}"
    return dict(json.loads(line) for line in run.stdout.splitlines())


@pytest.mark.parametrize("name", CASES)
def test_it_is_an_error_and_the_process_goes_on(name: str, ends: Mapping[str, str]) -> None:
    assert re.match(CASES[name][0], ends[name], re.DOTALL), ends[name]
