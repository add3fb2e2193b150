"""The public surface: the names that were documented, with their signatures, and no others."""

from __future__ import annotations

import importlib
import subprocess
import sys
import typing
from pathlib import Path

import chatspan
import pytest
from chatspan.moved import MOVED
from public_api import lines

LISTED = Path(__file__).with_name("public_api.txt")


def test_names_and_signatures_are_those_that_are_listed() -> None:
    """What is taken away breaks somebody's program; what is new is written down with public_api.py."""
    listed = LISTED.read_text(encoding="utf-8").splitlines()
    found = list(lines())
    assert [line for line in listed if line not in found] == [], "gone, or changed"
    assert [line for line in found if line not in listed] == [], "not listed"
    assert found == listed


def test_the_package_shows_its_public_names_and_nothing_else() -> None:
    assert dir(chatspan) == sorted(chatspan.__all__)
    shown = [name for name in vars(chatspan) if not name.startswith("_")]
    modules = {name for name in shown if isinstance(vars(chatspan)[name], type(sys))}
    assert set(shown) - modules <= set(chatspan.__all__)
    assert not hasattr(chatspan, "Any")


def test_names_that_are_imported_later_complete_and_type_check() -> None:
    """What a type checker sees under ``TYPE_CHECKING`` is what the package gives later."""
    source = Path(chatspan.__file__).read_text(encoding="utf-8")
    seen = source.partition("if _typing.TYPE_CHECKING:")[2].partition("_LATER = {")[0]
    later = typing.cast("dict[str, str]", chatspan._LATER)
    for name, module in later.items():
        assert any(f"from chatspan.{module} import" in line and name in line for line in seen.splitlines()), name
        assert name in dir(chatspan)
        assert getattr(chatspan, name) is getattr(importlib.import_module(f"chatspan.{module}"), name)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_documented_paths_of_before_lead_to_the_new_ones(old: str, new: str) -> None:
    code = (
        "import importlib, warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        f"    old = importlib.import_module({old!r})\n"
        f"new = importlib.import_module({new!r})\n"
        "names = [name for name in vars(new) if not name.startswith('_')]\n"
        "print(all(getattr(old, name) is getattr(new, name) for name in names), new.__spec__.name)\n"
        "print(*[warning.message for warning in caught if warning.category is DeprecationWarning], sep='\\n')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    first, *warned = run.stdout.strip().splitlines()
    assert first == f"True {new}"
    assert f"{old} has moved to {new}" in warned
