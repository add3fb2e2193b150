"""Prints what to install before the package can be built and tested: its own dependencies and those of its extras."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
needed = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
print("\n".join(requirement for requirement in needed if not requirement.startswith(project["name"])))
