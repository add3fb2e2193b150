"""What the package offers, a line for each public name, method and property, with its signature.

python tests/project/public_api.py > tests/project/public_api.txt
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

MODULES = ("chatspan", "chatspan.errors", "chatspan.loss", "chatspan.trl", "chatspan.verl", "chatspan.ray")
MODULES += ("chatspan.prefix_delta", "chatspan.swift", "chatspan.nemo_rl")
# What Python's own classes bring with them is not listed.
_OTHERS = (BaseException, tuple, int, str)


def lines() -> Iterator[str]:
    for name in MODULES:
        module = importlib.import_module(name)
        for each in sorted(_names(module, name)):
            found = getattr(module, each)
            yield f"{name}.{each}{signature(found)}"
            if isinstance(found, type) and not issubclass(found, BaseException):
                yield from (f"    {line}" for line in _members(found))


def signature(of: Any) -> str:
    """As it is written, without parameters that begin with an underscore."""
    try:
        found = inspect.signature(of)
    except (TypeError, ValueError):
        return ""
    return str(found.replace(parameters=[p for p in found.parameters.values() if not p.name.startswith("_")]))


def _names(module: Any, name: str) -> list[str]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    own = {each for each, found in vars(module).items() if getattr(found, "__module__", None) == name}
    return [each for each in own if each[0].isupper() or name != "chatspan.errors" if not each.startswith("_")]


def _members(of: type) -> Iterator[str]:
    inherited = {name for other in _OTHERS if issubclass(of, other) for name in dir(other)}
    for name in sorted(set(dir(of)) - inherited):
        if name.startswith("_"):
            continue
        found = getattr(of, name)
        yield f".{name}{signature(found)}" if callable(found) else f".{name}"


if __name__ == "__main__":
    print("\n".join(lines()))
