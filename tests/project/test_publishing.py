"""What is published: one version, archives with all that belongs into them and nothing else, a program that runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import addresses
import chatspan
import chatspan_build
import licences
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
    others |= {"THIRD_PARTY_LICENSES.md", "tools/backend/chatspan_build.py"}
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
    for name in ("LICENSE", "THIRD_PARTY_LICENSES.md"):
        assert any(path.endswith(f"licenses/{name}") for path in about)


def test_the_licences_are_those_of_the_crates_that_are_locked() -> None:
    found = licences.crates(licences.metadata())
    assert {"fastokens", "pyo3", "serde_json"} <= {crate.name for crate in found}
    assert not {"proptest", "divan", "chatspan-core"} & {crate.name for crate in found}, "these are in no wheel"
    assert licences.FILE.read_text(encoding="utf-8") == licences.document(found), "run make licences"


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the compiler")
@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (None, r"needs Rust 1\.\d+ or newer; no Rust was found \(rustc is not on the PATH\): install Rust from"),
        (
            "rustc 1.60.0 (7737e0b5c 2022-04-04)",
            r"needs Rust 1\.\d+ or newer; rustc 1\.60\.0 was found: install Rust from",
        ),
    ],
)
def test_without_rust_a_build_from_source_ends_with_a_sentence(
    said: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said is not None:
        rustc = tmp_path / "rustc"
        rustc.write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
        rustc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for hook in (chatspan_build.get_requires_for_build_wheel, chatspan_build.get_requires_for_build_editable):
        with pytest.raises(SystemExit, match=sentence):
            hook()


def test_with_rust_maturin_builds() -> None:
    chatspan_build.require_rust()
    assert {name for name in dir(chatspan_build) if name in chatspan_build.__all__} == set(chatspan_build.__all__)


def test_there_is_one_address() -> None:
    """Of the repository: in pyproject.toml, where all others begin with it."""
    address = addresses.repository()
    owner = address.rpartition("/")[0]
    texts = [*(REPO / "docs").rglob("*.md"), REPO / "README.md", REPO / "pyproject.toml", REPO / "CONTRIBUTING.md"]
    others = {
        link
        for path in texts
        for link in re.findall(r"https://github\.com/[\w./-]*chatspan[\w./-]*", path.read_text(encoding="utf-8"))
        if not link.startswith(address)
    }
    assert owner.startswith("https://github.com/")
    assert others == set()


def test_the_links_of_the_readme_lead_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    assert addresses.problems() == []
    text = addresses.README.read_text(encoding="utf-8")
    released = addresses.absolute(text, "v1.2.3")
    assert addresses.relative_links(released) == [], "on PyPI a relative link leads nowhere"
    assert f"{addresses.repository()}/blob/v1.2.3/docs/index.md" in released
    assert f'"{addresses.repository()}/raw/v1.2.3/docs/images/inspect-page-chat.png"' in released
    assert addresses.absolute(released, "v9") == released


def test_an_address_of_another_repository_stops_a_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "somebody/fork")
    (problem,) = addresses.problems()
    assert problem.endswith("and this runs in https://github.com/somebody/fork")
    monkeypatch.setattr(addresses, "relative_links", lambda text: ["docs/no-such-page.md#part"])
    assert addresses.problems()[0] == "README.md: there is no docs/no-such-page.md#part"
