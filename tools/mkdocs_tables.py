"""A hook of the site: in a table GitHub wants ``\\|`` also inside of code, and Python-Markdown shows the backslash."""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"`[^`]*`")


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Takes the backslashes out of the code in tables."""
    lines = markdown.split("\n")
    return "\n".join(unescaped(line) if line.startswith("|") else line for line in lines)


def unescaped(row: str) -> str:
    """A row of a table as Python-Markdown reads it."""
    return _CODE.sub(lambda code: code[0].replace("\\|", "|"), row)
