"""Writes THIRD_PARTY_LICENSES.md, the licences of the crates that a wheel holds; ``--check`` only compares.

They are read off the sources that cargo has downloaded. Where a crate offers several licences, the first of
``PREFERRED`` is taken.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

REPO = Path(__file__).resolve().parents[1]
FILE = REPO / "THIRD_PARTY_LICENSES.md"
# The crate that becomes the extension module.
ROOT = "chatspan-py"
PREFERRED = ("MIT", "Apache-2.0", "Unicode-3.0", "BSD-2-Clause", "BSD-3-Clause", "Zlib", "ISC")
# What wheels are built for.
PLATFORMS = (
    *(f"{processor}-unknown-linux-{library}" for processor in ("x86_64", "aarch64") for library in ("gnu", "musl")),
    *("x86_64-apple-darwin", "aarch64-apple-darwin", "x86_64-pc-windows-msvc"),
)
# What crates call their files, by licence; the others have one file.
_NAMES = {"MIT": ("MIT",), "Apache-2.0": ("APACHE",)}
_FILE = re.compile(r"^(LICEN[CS]E|COPYING|NOTICE)", re.IGNORECASE)


class Crate(NamedTuple):
    """A crate in the wheel."""

    name: str
    version: str
    licence: str
    texts: tuple[str, ...]


def metadata() -> dict[str, Any]:
    """What cargo knows of the locked dependencies, on the platforms that wheels are for."""
    platforms = (argument for platform in PLATFORMS for argument in ("--filter-platform", platform))
    command = ["cargo", "metadata", "--format-version", "1", "--locked", *platforms]
    found: dict[str, Any] = json.loads(subprocess.run(command, cwd=REPO, capture_output=True, check=True).stdout)
    return found


def crates(known: dict[str, Any]) -> list[Crate]:
    """The crates that are linked, on some platform: not those that only build or test."""
    packages = {package["id"]: package for package in known["packages"]}
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    waiting = [key for key, package in packages.items() if package["name"] == ROOT]
    seen = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            is_linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            is_macro = any("proc-macro" in target["kind"] for target in packages[dependency["pkg"]]["targets"])
            if is_linked and not is_macro and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    found = (packages[key] for key in seen if packages[key]["source"])
    return sorted(_crate(package) for package in found)


def _crate(package: dict[str, Any]) -> Crate:
    offered = re.split(r"\s+OR\s+|/", package["license"] or "")
    licence = next((one for one in PREFERRED if one in offered), package["license"] or "see the text")
    folder = Path(package["manifest_path"]).parent
    texts = tuple(path.read_text(encoding="utf-8", errors="replace").strip() for path in _files(folder, licence))
    texts += tuple(_in_c_sources(folder))
    if not texts:
        sys.exit(f"{package['name']} {package['version']} ({package['license']}) has no file with its licence")
    return Crate(package["name"], package["version"], licence, texts)


def _files(folder: Path, licence: str) -> Iterator[Path]:
    """The licence's files; also those of C sources that the crate brings along."""
    own = sorted(path for path in folder.iterdir() if path.is_file() and _FILE.match(path.name))
    notices = [path for path in own if path.name.upper().startswith("NOTICE")]
    named = [path for path in own if any(part in path.name.upper() for part in _NAMES.get(licence, ()))]
    yield from named or [path for path in own if path not in notices]
    yield from notices
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and inner.name not in ("src", "tests", "benches", "examples"):
            yield from sorted(path for path in inner.rglob("*") if path.is_file() and _FILE.match(path.name))


def _in_c_sources(folder: Path) -> Iterator[str]:
    """Licences that stand only at the head of C sources, each once."""
    seen = set()
    for path in sorted(folder.rglob("*.[ch]")):
        head = path.read_text(encoding="utf-8", errors="replace")[:8000]
        for comment in re.findall(r"/\*(.*?)\*/", head, re.DOTALL)[:3]:
            # The terms without who holds the copyright, and when.
            _, found, terms = comment.partition("Redistribution and use")
            if found and terms not in seen:
                seen.add(terms)
                yield comment.strip(" *\n")


def document(found: Sequence[Crate]) -> str:
    """The file: a list, then each text once."""
    by_text: dict[str, list[Crate]] = {}
    for crate in found:
        for text in crate.texts:
            by_text.setdefault(text, []).append(crate)
    lines = ["# Licences of third parties", ""]
    lines += ["A wheel of chatspan holds code of these crates. Their licences follow.", ""]
    lines += ["| crate | version | licence |", "|---|---|---|"]
    lines += [f"| {crate.name} | {crate.version} | {crate.licence} |" for crate in found]
    for text, of in by_text.items():
        fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", text) or [""]))
        names = ", ".join(dict.fromkeys(f"{crate.name} {crate.version}" for crate in of))
        clean = "\n".join(line.rstrip() for line in text.splitlines())
        lines += ["", f"## {names}", "", f"{fence}text", clean, fence]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the file is not up to date, and write nothing")
    wanted = document(crates(metadata()))
    if not parser.parse_args().check:
        FILE.write_text(wanted, encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != wanted:
        sys.exit(f"{FILE.name} is not of the crates in Cargo.lock: run python tools/licences.py")


if __name__ == "__main__":
    main()
