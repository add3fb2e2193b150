"""Reads README and docs for links that lead nowhere, names that do not exist, and figures that nobody can print again.

- A link leads to a file and a heading that are there; ``--online`` also asks for the addresses elsewhere.
- Code in a sentence that begins with ``make``, ``chatspan`` or ``chatspan.`` names a target, a command with its
  options, or an attribute that there is. (Blocks of code run in ``tests/project/test_docs.py``.)
- A section with measured figures, or the head of its page, names the command that prints them; and the page says of
  which release they are: the last one, or the one before.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[1]
PAGES = (REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").rglob("*.md")))

_FENCE = re.compile(r"^(?P<fence>`{3,}).*?^(?P=fence)\s*?$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)\]\((?P<to>[^)\s]+)\)|\b(?:src|srcset|href)=\"(?P<html>[^\"\s]+)\"")
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_ELSEWHERE = re.compile(r"^https?://")

# What was measured: a number with a unit of time, size or speed; how many times as fast; how many of how many; a share
# with a decimal, since whole ones are mostly settings.
_UNITS = r"ms|µs|MB/s|MiB|GiB|tokens/s|(?:million |thousand )?(?:tokens|rows) a second|CPU s"
_FIGURE = re.compile(
    rf"(?<![\w.`=])\d[\d,.]*\s?(?:{_UNITS})\b"
    r"|(?<![\w.`=])\d[\d,.]*x(?= |,|\.|\)|$)|\d[\d,.]* times as (?:fast|long)"
    r"|\b\d[\d,.]* of (?:the )?\d[\d,]*\d\b|\b\d+\.\d+\s?%",
    re.MULTILINE,
)
_PRINTS = re.compile(
    r"make (?:bench|bench-encode|experiment|train-demo|test|attack)\b"
    r"|(?:benches|tools|tests|experiments|examples)/[\w/.-]+\.(?:py|rs)"
    r"|chatspan (?:audit|encode|inspect|teacher|stability)\b|pytest\b"
)
_RELEASE = re.compile(r"[Ff]igures [^.]*?\bversion\s(\d+\.\d+\.\d+)")


class Problem(NamedTuple):
    """A place in a page, and what is wrong there."""

    page: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.what}"


class Page:
    """A page: its text, and the same with blocks of code blanked out."""

    def __init__(self, path: Path, text: str | None = None) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8") if text is None else text
        self.prose = _FENCE.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), self.text)
        self.name = path.relative_to(REPO).as_posix() if path.is_relative_to(REPO) else path.name

    def problem(self, at: int, what: str) -> Problem:
        return Problem(self.name, self.text.count("\n", 0, at) + 1, what)

    def anchors(self) -> set[str]:
        """The anchors of its headings, as the site and GitHub make them."""
        found: set[str] = set()
        for _, title in _HEADING.findall(self.prose):
            words = re.sub(r"[^\w\s-]", "", re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", title)).strip().lower()
            slug = re.sub(r"[-\s]+", "-", words)
            found.add(slug if slug not in found else f"{slug}_1")
        return found

    def sections(self) -> Iterator[tuple[int, str]]:
        """From each heading to the next: where it starts, and its text with code."""
        starts = [0, *(match.start() for match in _HEADING.finditer(self.prose)), len(self.text)]
        for start, end in pairwise(starts):
            yield start, self.text[start:end]


def broken_links(page: Page) -> Iterator[Problem]:
    """Links to files and headings that are not there."""
    for match in _LINK.finditer(page.prose):
        link = match["to"] or match["html"]
        if _ELSEWHERE.match(link) or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        if not target.exists():
            yield page.problem(match.start(), f"there is no {name}")
        elif anchor and target.suffix == ".md" and anchor not in (Page(target) if name else page).anchors():
            yield page.problem(match.start(), f"{name or page.name} has no heading #{anchor}")


def links_elsewhere(page: Page) -> Iterator[tuple[int, str]]:
    """Addresses, and where they stand."""
    for match in _LINK.finditer(page.prose):
        link = match["to"] or match["html"]
        if _ELSEWHERE.match(link):
            yield match.start(), link


def unknown_names(page: Page) -> Iterator[Problem]:
    """Commands and names in sentences that do not exist."""
    for match in _CODE.finditer(page.prose):
        code = match[1].strip()
        what = None
        if re.match(r"make [a-z]", code):
            what = _unknown_target(code)
        elif re.match(r"chatspan [a-z]", code):
            what = _unknown_command(code)
        elif re.fullmatch(r"chatspan(\.\w+)+(\(.*\))?", code):
            what = _unknown_attribute(code.partition("(")[0])
        elif found := re.match(r"python (\S+\.py)", code):
            what = None if (REPO / found[1]).exists() else f"there is no {found[1]}"
        if what:
            yield page.problem(match.start(), what)


def make_targets() -> set[str]:
    """The targets that the Makefile has."""
    return set(re.findall(r"^([a-z][a-z-]*):", (REPO / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _unknown_target(code: str) -> str | None:
    targets = make_targets()
    wanted = [word for word in code.split()[1:] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
    unknown = [word for word in wanted if word not in targets]
    return f"make has no {unknown[0]}" if unknown else None


def _unknown_command(code: str) -> str | None:
    import typer
    from chatspan.cli.app import app

    command = typer.main.get_command(app)
    known = getattr(command, "commands", {})
    words = code.split()
    if words[1] not in known:
        return f"chatspan has no command {words[1]}"
    options = {
        option for parameter in known[words[1]].params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    unknown = [word for word in words[2:] if re.fullmatch(r"--[a-z-]+", word) and word not in (*options, "--help")]
    return f"chatspan {words[1]} has no option {unknown[0]}" if unknown else None


def _unknown_attribute(name: str) -> str | None:
    parts = name.split(".")
    found: object = None
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            fields = getattr(found, "__dataclass_fields__", {})
            annotations = getattr(found, "__annotations__", {})
            if part in fields or part in annotations:
                return None
            if not hasattr(found, part):
                return f"there is no {name}"
            found = getattr(found, part)
        return None
    return f"there is no {name}"


def unprinted_figures(page: Page, releases: list[str]) -> Iterator[Problem]:
    """Figures that name no command, or are of an old release."""
    sections = list(page.sections())
    # The head of a page, and its first heading, are for all of it.
    head = "".join(text for start, text in sections if start < _second_heading(page))
    measured = False
    for start, text in sections:
        own = _without_programs(text)
        found = next((each for each in _FIGURE.finditer(own) if not _is_cited(own, each.start())), None)
        if not found:
            continue
        measured = True
        if not _PRINTS.search(text) and not _PRINTS.search(head):
            yield page.problem(start + found.start(), f"no command prints the figure {found[0].strip()!r}")
    if measured:
        named = _RELEASE.search(page.prose)
        if named is None:
            yield page.problem(0, "its figures name no release: write 'Figures … are of version X.Y.Z'")
        elif named[1] not in releases[:2]:
            yield page.problem(named.start(), f"its figures are of version {named[1]}, older than {releases[1]}")


def _is_cited(text: str, at: int) -> bool:
    """Whether a line names the source elsewhere."""
    line = text[text.rfind("\n", 0, at) + 1 : (text.find("\n", at) + 1 or len(text) + 1) - 1]
    return "](https://" in line


def _second_heading(page: Page) -> int:
    starts = [match.start() for match in _HEADING.finditer(page.prose)]
    return starts[1] if len(starts) > 1 else len(page.text)


def _without_programs(text: str) -> str:
    """Blocks that programs are in are no claims; texts, such as a bench's table, are."""

    def kept(block: re.Match[str]) -> str:
        return block[0] if re.match(r'`+text title="(?!prints)', block[0]) else re.sub(r"[^\n]", " ", block[0])

    return re.sub(r"`[^`\n]+`", lambda code: " " * len(code[0]), _FENCE.sub(kept, text))


def releases() -> list[str]:
    """The released versions, the last first, and at least two: of a first release both are it."""
    text = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", text, re.MULTILINE)
    return found if len(found) > 1 else found * 2


def problems(page: Page) -> list[Problem]:
    """All of a page that can be told without a network."""
    return [*broken_links(page), *unknown_names(page), *unprinted_figures(page, releases())]


def unreachable(address: str) -> str | None:
    """Why an address gives nothing; ``None`` if it does. What only machines are refused counts as there."""
    request = urllib.request.Request(address, headers={"User-Agent": "chatspan-docs"}, method="GET")
    try:
        with urllib.request.urlopen(request, timeout=20):
            return None
    except urllib.error.HTTPError as error:
        return None if error.code in (401, 403, 405, 429) else f"{address}: {error.code}"
    except OSError as error:
        return f"{address}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--online", action="store_true", help="also ask for the addresses elsewhere")
    online = parser.parse_args().online
    found: list[Problem] = []
    for page in map(Page, PAGES):
        found += problems(page)
        if online:
            for at, address in links_elsewhere(page):
                if what := unreachable(address):
                    found.append(page.problem(at, what))
    if found:
        sys.exit("\n".join(map(str, found)))
    print(f"{len(PAGES)} pages: links, names and figures are as they should be")


if __name__ == "__main__":
    main()
