"""Looks that a built site reads without a network, FOLDER, and that its search knows each page.

Links may lead elsewhere; nothing is loaded from there.
"""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

_LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "video": "src"}
# Of <link>: what only says something of the page.
_SAID = {"canonical", "next", "prev", "edit", "alternate", "license"}
_ELSEWHERE = re.compile(r"^(https?:)?//")
_IN_CSS = re.compile(r"url\(\s*['\"]?((?:https?:)?//[^'\")]+)|@import\s+['\"]((?:https?:)?//[^'\"]+)")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(_LOADS.get(tag, ""))
        if address and _ELSEWHERE.match(address) and given.get("rel") not in _SAID:
            self.loaded.append(address)


def loaded_from_elsewhere(site: Path) -> list[str]:
    """``"page: address"`` for all that pages and style sheets would fetch."""
    found = []
    for path in sorted(site.rglob("*.html")):
        page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)}: {address}" for address in page.loaded]
    for path in sorted(site.rglob("*.css")):
        addresses = _IN_CSS.findall(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)}: {one or other}" for one, other in addresses]
    return found


def not_found_by_search(site: Path) -> list[str]:
    """Pages of which the search's index has no text. That it answers is the theme's, which fetches it from a server."""
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    known = {entry["location"].partition("#")[0] or "index.html" for entry in found if entry["text"].strip()}
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")} - {"404.html"}
    return [f"{page}: the search does not know it" for page in sorted(pages - known)]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    pages = list(folder.rglob("*.html"))
    problems = [*loaded_from_elsewhere(folder), *not_found_by_search(folder)]
    if problems or not pages:
        sys.exit("\n".join(problems) or f"{folder} has no pages")
    print(f"{folder}: {len(pages)} pages, which load nothing from elsewhere and are in the search")
