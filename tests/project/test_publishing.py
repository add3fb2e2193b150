"""What is published: one version, archives with all that belongs into them and nothing else, a program that runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import chatspan
import pytest
from docs_blocks import ALL_BLOCKS
from wheel_test import quick_start, run_quick_start
from zoo import REPO

MAX_SDIST_BYTES = 1_000_000
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))


def found(pattern: str, name: str) -> str:
    (version, *_) = re.findall(pattern, (REPO / name).read_text(encoding="utf-8"), re.MULTILINE)
    return version


def test_there_is_one_version() -> None:
    versions = {
        "Cargo.toml": found(r'^version = "(.+)"$', "Cargo.toml"),
        "Cargo.lock": found(r'^name = "chatspan-py"\nversion = "(.+)"$', "Cargo.lock"),
        "CHANGELOG.md": found(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", "CHANGELOG.md"),
        "chatspan.__version__": chatspan.__version__,
    }
    assert set(versions.values()) == {chatspan.__version__}, versions


def test_the_changelog_has_a_place_for_what_is_new() -> None:
    headings = re.findall(r"^## (.+)$", (REPO / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    versions = [tuple(map(int, re.findall(r"\d+", heading.split(" - ")[0]))) for heading in headings[1:]]
    assert versions == sorted(versions, reverse=True)


def test_the_workflows_test_the_oldest_python_and_rust_that_are_declared() -> None:
    tests = (REPO / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert f'"{found(r"""^requires-python = ">=(.+)"$""", "pyproject.toml")}"' in tests
    assert found(r'^rust-version = "(.+)"$', "Cargo.toml")
    assert "^rust-version" in tests


def test_the_quick_start_runs_in_an_empty_folder(tmp_path: Path) -> None:
    run_quick_start(Path(sys.executable), tmp_path)


def test_the_quick_start_is_the_one_of_the_docs() -> None:
    (block,) = (block for block in ALL_BLOCKS if block.title == "quick_start.py")
    assert (block.page, block.code) == ("docs/index.md", quick_start()[0])


def test_a_quick_start_that_prints_something_else_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wheel_test.quick_start", lambda: ('print("one")', "two\n"))
    with pytest.raises(SystemExit, match="the quick start printed\none\n"):
        run_quick_start(Path(sys.executable), tmp_path)


@pytest.fixture(scope="module")
def sources() -> set[str]:
    """What of the Python package and the Rust crates is there, by path; without what was built."""
    folders = (REPO / "python", REPO / "rust")
    paths = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    built = {path for path in paths if path.suffix in (".so", ".pyd", ".pyc")}
    return {path.relative_to(REPO).as_posix() for path in paths - built}


def build(command: str, folder: Path, *args: str) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "maturin", command, "--out", folder, *args], cwd=REPO, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (archive,) = folder.iterdir()
    return archive


def test_the_source_distribution_has_what_it_takes_to_build_and_nothing_else(sources: set[str], tmp_path: Path) -> None:
    archive = build("sdist", tmp_path)
    assert archive.stat().st_size < MAX_SDIST_BYTES
    with tarfile.open(archive) as opened:
        names = {member.name.partition("/")[2] for member in opened.getmembers() if member.isfile()}
    others = {"CHANGELOG.md", "Cargo.lock", "Cargo.toml", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert names == sources | others


@pytest.mark.skipif(
    not (TARGET / "release").is_dir() or os.name == "nt", reason="the package was not built in this checkout: make does"
)
def test_the_wheel_has_the_package_and_nothing_else(sources: set[str], tmp_path: Path) -> None:
    archive = build("build", tmp_path, "--release", "--locked", "--offline")
    assert re.fullmatch(rf"chatspan-{re.escape(chatspan.__version__)}-cp310-abi3-\w+\.whl", archive.name)
    with zipfile.ZipFile(archive) as opened:
        names = set(opened.namelist())
    package = {name.removeprefix("python/") for name in sources if name.startswith("python/")}
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == package | {"chatspan/_core.abi3.so"}
    assert any(name.endswith("licenses/LICENSE") for name in about)
