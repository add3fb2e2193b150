"""Makes a small environment with other versions of what renders and tokenizes, on top of the main one: NAME FOLDER.

Run by the main environment's Python. What the small one does not have itself (torch, numpy, pytest, the package as it
is built here) is the main one's, so that it takes seconds and no gigabytes. A virtual environment, not a folder for
PYTHONPATH: pip sees what the main one has and installs only what must differ, with versions that fit each other.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

# Lower bounds that are tested as they are declared. torch's and numpy's are not: old ones lack wheels for new Pythons.
TESTED = ("transformers", "tokenizers", "jinja2")
# Importing transformers checks its own requirements.
CHECK = """
import sys
from importlib.metadata import version
import chatspan, torch, transformers
from chatspan import ComposerDataCollator
assert transformers.__file__.startswith(sys.prefix), f"{transformers.__file__} is not of {sys.prefix}"
assert transformers.__version__ == version("transformers"), version("transformers")
"""


def requirements(name: str) -> list[str]:
    path = Path(__file__).parents[1] / "pyproject.toml"
    declared = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
    bounds = dict(requirement.split(">=") for requirement in declared)
    return {
        "oldest": [f"{package}=={bounds[package]}" for package in TESTED],
        "newest4": [f"transformers>={bounds['transformers']},<5"],
        # Processors of 5 that do not say yet what they make of a placeholder.
        "early5": ["transformers>=5,<5.12"],
        # It wants an older transformers than the newest. Behind it stands what it imports and does not declare.
        "verl": ["verl>=0.9", "cachetools", "fastapi", "uvicorn"],
        # What its rows and its trainer import, of three times as many that it declares.
        "swift": [
            "transformers>=5,<5.20",
            "trl<1",
            "peft<0.21",
            "modelscope>=1.23",
            "aiohttp",
            "dacite",
            "einops",
            "json_repair",
            "msgspec",
        ],
    }[name]


def alone(name: str) -> list[str]:
    """What is installed last, without what it declares."""
    return {"swift": ["ms-swift>=4.6,<5"]}.get(name, [])


def make(name: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = Path(sysconfig.get_path("purelib"))
    # Comes after the small environment's own packages in sys.path; addsitedir also reads the editable install's .pth.
    link = folder / packages.relative_to(sys.prefix) / "main.pth"
    link.write_text(f"import site; site.addsitedir({str(packages)!r})\n", encoding="utf-8")
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements(name)], check=True)
    if alone(name):
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *alone(name)], check=True)
    subprocess.run([python, "-c", CHECK], check=True)


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]).absolute())
