"""No panic crosses the border to the compiled core, whatever it is given; what is not walked here fails here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from chatspan import ChatspanError, InternalError, _core
from zoo import REPO

if not sys.platform.startswith("linux"):
    pytest.skip("limits of processes as Linux has them", allow_module_level=True)

from valid_calls import AROUND_FORKS, offered

BINDING = sorted((REPO / "rust" / "py" / "src").glob("*.rs"))


def test_hostile_objects_are_errors(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    count = 60_000 if pytestconfig.getoption("--all") else 4000
    log = tmp_path / "call"
    command = [sys.executable, Path(__file__).with_name("border_walk.py"), log, "1", str(count)]
    path = os.pathsep.join([str(REPO / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(command, capture_output=True, text=True, cwd=REPO, env={**os.environ, "PYTHONPATH": path})
    last = log.read_text(errors="replace").strip() if log.exists() else "none"
    assert run.returncode == 0, f"it ended at the call {last}\n{run.stderr[-2000:]}"
    *wrong, (_, counts) = [json.loads(line) for line in run.stdout.splitlines()]
    assert wrong == []
    # A function without right arguments in `valid_calls.py` has none of its own wrong, and raises there.
    takes = {name for name, _, right in offered() if right() and name != "_panic"}
    assert {name for name in takes if counts[name] < 100} == set()
    assert set(counts) == {name for name, *_ in offered()}


def test_all_that_the_core_offers_is_walked() -> None:
    classes = [value for value in vars(_core).values() if isinstance(value, type)]
    functions = {name for name, value in vars(_core).items() if callable(value) and not isinstance(value, type)}
    names = {name for name, *_ in offered()}
    assert functions - AROUND_FORKS <= names
    for kind in classes:
        own = {f"{kind.__name__}.{name}" for name in vars(kind) if not name.startswith("__")}
        assert own <= names


def test_a_panic_is_an_internal_error() -> None:
    with pytest.raises(InternalError, match=r"a bug in chatspan: the list is empty; report it") as raised:
        _core._panic("the list is empty")
    assert isinstance(raised.value, ChatspanError)
    assert raised.value.message_index is None


def test_what_there_was_no_memory_for_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match="no memory for what the core found"):
        _core._panic("PyObject pointer is null")


def test_each_function_of_the_binding_is_guarded() -> None:
    """What Python calls runs inside of ``guarded`` or ``answer``; its arguments are of types that do not panic."""
    open_ones, panicking = [], []
    for path in BINDING:
        for name, arguments, body in _called_by_python(path.read_text(encoding="utf-8")):
            if not re.search(r"\b(guarded|answer)\(", body):
                open_ones.append(f"{path.name}: {name}")
            if re.search(r"\b(Vec|HashMap|PyReadonlyArray\d?)<", arguments):
                panicking.append(f"{path.name}: {name}")
    assert open_ones == [], "their panics would cross the border"
    assert panicking == [], "PyO3 panics at what lies or changes: take List, Entries or PyArray"


def _called_by_python(source: str) -> list[tuple[str, str, str]]:
    """The functions under ``#[pyfunction]`` and in ``#[pymethods]``: name, arguments and body."""
    blocks = re.findall(r"^#\[pymethods\]\nimpl .*?^}", source, re.DOTALL | re.MULTILINE)
    blocks += re.findall(r"^#\[pyfunction\].*?^}", source, re.DOTALL | re.MULTILINE)
    found = []
    for block in blocks:
        indent = "    " if block.startswith("#[pymethods]") else ""
        closing = re.compile(
            rf"^{indent}(?:pub )?fn (\w+)[^(]*\((.*?)\) ->(.*?)^{indent}\}}$", re.DOTALL | re.MULTILINE
        )
        found += closing.findall(block)
    return found


def test_the_binding_says_that_it_needs_the_gil() -> None:
    [source] = [path.read_text(encoding="utf-8") for path in BINDING if path.name == "lib.rs"]
    assert "#[pymodule(gil_used = true)]" in source
    assert "#[cfg(Py_GIL_DISABLED)]\ncompile_error!(" in source
