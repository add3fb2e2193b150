"""Docstrings as griffe reads them, for the reference of the site.

The docstrings are for people who read the code, and for doctest: they say ``:class:`Kind```, ``Example:`` and
``Returns (of a call):``, and one entry for several names. Here these become links, sections and entries; what is
returned is a text, of which griffe would make an entry of each line.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(class|meth|func|mod|attr|data):`([\w.]+)`")
_SECTION = re.compile(r"^Example:$", re.MULTILINE)
_RETURNS = re.compile(r"^Returns( \(of a call\))?:\n((?:    .*(?:\n|\Z)|\n(?=    ))+)", re.MULTILINE)
_ENTRIES = re.compile(r"^((?:Args|Attributes|Raises):\n)((?:    .*(?:\n|\Z)|\n(?=    ))+)", re.MULTILINE)
_SEVERAL = re.compile(r"    (\w+(?:, \w+)*)(?:: (.*)|\.)")
# Names that go on in the next line.
_WRAPPED = re.compile(r"^(    \w+(?:, \w+)*,)\n +(?=\w+(?:, \w+)*(?:: |,$))", re.MULTILINE)
_CODE = re.compile(r"``(.+?)``", re.DOTALL)


class Docstrings(griffe.Extension):
    """Rewrites each docstring as it is loaded."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value, obj)


def rewritten(text: str, obj: griffe.Object) -> str:
    """The docstring of an object, in griffe's form."""
    text = _CODE.sub(lambda found: f"`{' '.join(found[1].split())}`", text)
    text = _ROLE.sub(lambda found: _link(found[1], found[2], obj), text)
    text = _SECTION.sub("Examples:", text)
    text = _RETURNS.sub(
        lambda found: f"**{'A call returns' if found[1] else 'Returns'}:**\n\n" + _dedented(found[2]), text
    )
    return _ENTRIES.sub(lambda found: found[1] + _one_by_one(found[2]), text)


def _link(role: str, name: str, obj: griffe.Object) -> str:
    """Code, and a link where the name has a place in the reference."""
    if role in ("meth", "attr") and "." not in name:
        owner = obj if obj.is_class else obj.parent
        name = f"{owner.name}.{name}" if owner is not None else name
    identifier = f"chatspan.{name.removeprefix('chatspan.')}"
    return f'<autoref optional identifier="{identifier}">`{name.removeprefix("chatspan.")}`</autoref>'


def _dedented(block: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in block.splitlines()) + "\n"


def _one_by_one(block: str) -> str:
    """An entry for each name, where one stands for several."""
    entries: list[tuple[list[str], list[str]]] = []
    for line in _WRAPPED.sub(r"\1 ", block).splitlines():
        named = _SEVERAL.fullmatch(line)
        if named:
            entries.append((named[1].split(", "), [named[2] or "as its name says."]))
        elif entries:
            entries[-1][1].append(line)
        else:
            return block
    return "".join(f"    {name}: " + "\n".join(lines) + "\n" for names, lines in entries for name in names)
