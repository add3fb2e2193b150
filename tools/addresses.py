"""Links of the README that also work on PyPI: made absolute for a release, from the one address in pyproject.toml.

In the repository links are relative, so that they lead to the same branch or checkout. ``--write TAG`` makes those of
README.md absolute, in place; the workflow that builds what is published does so. ``--check`` only looks: every file
that is linked exists, and the address is that of the repository where this runs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
README = REPO / "README.md"
_IN_MARKDOWN = re.compile(r"(?P<before>\]\()(?P<path>[^)\s]+)(?=\))")
_IN_HTML = re.compile(r'(?P<before>\b(?:src|srcset|href)=")(?P<path>[^"\s]+)(?=")')
_ELSEWHERE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//|#)", re.IGNORECASE)
_PICTURES = (".png", ".svg", ".gif", ".jpg")


def repository() -> str:
    """The repository's address, without a slash at its end."""
    text = (REPO / "pyproject.toml").read_text(encoding="utf-8")
    found = re.findall(r'^Repository = "(https://[^"]+?)/?"$', text, re.MULTILINE)
    if len(found) != 1:
        sys.exit("pyproject.toml: [project.urls] names no Repository")
    return str(found[0])


def relative_links(text: str) -> list[str]:
    """The paths that a page links to, with their anchors."""
    matches = [*_IN_MARKDOWN.finditer(text), *_IN_HTML.finditer(text)]
    return [match["path"] for match in matches if not _ELSEWHERE.match(match["path"])]


def absolute(text: str, tag: str) -> str:
    """The page with links to the files of a tag."""

    def address(match: re.Match[str]) -> str:
        path = match["path"]
        if _ELSEWHERE.match(path):
            return match[0]
        form = "raw" if path.lower().endswith(_PICTURES) else "blob"
        return f"{match['before']}{repository()}/{form}/{tag}/{path}"

    return _IN_HTML.sub(address, _IN_MARKDOWN.sub(address, text))


def problems() -> list[str]:
    """What a release must not have."""
    found = [
        f"README.md: there is no {path}"
        for path in relative_links(README.read_text(encoding="utf-8"))
        if not (REPO / path.partition("#")[0]).exists()
    ]
    here = "/".join(os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"))
    if here != "/" and here.lower() != repository().lower():
        found.append(f"pyproject.toml: Repository is {repository()}, and this runs in {here}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", metavar="TAG", help="make the links of README.md absolute, to the files of this tag")
    parser.add_argument("--check", action="store_true", help="look, and write nothing")
    given = parser.parse_args()
    if not given.write and not given.check:
        parser.error("give --check, or --write TAG")
    if found := problems():
        sys.exit("\n".join(found))
    if given.write:
        README.write_text(absolute(README.read_text(encoding="utf-8"), given.write), encoding="utf-8")


if __name__ == "__main__":
    main()
