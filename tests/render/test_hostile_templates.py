"""Templates that would run for ever or take all memory end with an error that says so, and the process goes on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from zoo import REPO

if not sys.platform.startswith("linux"):
    pytest.skip("limits of processes as Linux has them", allow_module_level=True)

from hostile import CASES

# Without `--all`, every so many of the cases, which are in the order of what they do.
SOME = 8


def _names(config: pytest.Config) -> list[str]:
    return list(CASES) if config.getoption("--all") else list(CASES)[::SOME]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("name", _names(metafunc.config))


@pytest.fixture(scope="module")
def ends(pytestconfig: pytest.Config) -> Mapping[str, str]:
    """What each case came to."""
    command = [sys.executable, Path(__file__).with_name("hostile.py"), *_names(pytestconfig)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO)
    return dict(json.loads(line) for line in run.stdout.splitlines())


def test_it_ends(name: str, ends: Mapping[str, str]) -> None:
    assert re.match(CASES[name].ends, ends[name], re.DOTALL), f"{ends[name]}\n{CASES[name].source[:300]}"
