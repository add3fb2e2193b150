"""The house: rooms that are not crowded, imports that can be seen, modules and functions that can be read in one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import chatspan
from zoo import REPO

PACKAGE = Path(chatspan.__file__).parent
AT_THE_ROOT, IN_A_ROOM, LINES, LINES_OF_A_FUNCTION = 14, 16, 400, 50


def test_rooms_are_not_crowded() -> None:
    folders = [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")]
    counts = {path.relative_to(REPO).as_posix(): len([*path.glob("*.py"), *path.glob("*.pyi")]) for path in folders}
    assert counts.pop("python/chatspan") <= AT_THE_ROOT
    assert {name: count for name, count in counts.items() if count > IN_A_ROOM} == {}


def test_each_room_says_what_it_is() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_imports_inside_of_functions_say_why() -> None:
    """Those of the package's own: the command line says it once for all of its own."""
    silent = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "cli"
        for line in _imports_without_a_comment(path)
    ]
    assert silent == []


def _imports_without_a_comment(path: Path) -> Iterator[int]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            own = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chatspan")
            if own and not lines[node.lineno - 2].strip().startswith(("#", "from chatspan")):
                yield node.lineno


def test_no_module_is_long() -> None:
    sources = [
        *REPO.glob("python/**/*.py"),
        *REPO.glob("rust/*/src/**/*.rs"),
        *REPO.glob("examples/*.py"),
        *REPO.glob("benches/*.py"),
        *REPO.glob("experiments/**/*.py"),
    ]
    assert {path.name: count for path in sources if (count := len(path.read_text().splitlines())) > LINES} == {}


def test_no_function_is_long_without_a_reason() -> None:
    """Docstrings do not count; a comment above the function says why it is longer."""
    long = {}
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            body = node.body[1:] if ast.get_docstring(node) else node.body
            count = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if count > LINES_OF_A_FUNCTION and not lines[first - 2].strip().startswith("#"):
                long[f"{path.relative_to(PACKAGE)}: {node.name}"] = count
    assert long == {}
