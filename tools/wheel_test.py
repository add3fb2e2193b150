"""Runs the quick start of the docs with a wheel in an empty environment: FOLDER, which holds the wheel.

pip installs all that the wheel names. The program runs in an empty folder, without the hub, and must print what
``docs/index.md`` says.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
_PAGE = REPO / "docs" / "index.md"
_BLOCKS = re.compile(r'```python title="quick_start.py"\n(.*?)```\n\n```text title="prints"\n…\n(.*?)```', re.DOTALL)


def quick_start() -> tuple[str, str]:
    """The program of the docs, and the end of what it prints."""
    (found,) = _BLOCKS.findall(_PAGE.read_text(encoding="utf-8"))
    return found


def run_quick_start(python: Path, folder: Path) -> None:
    """Runs it as a reader does: from a file in an empty folder."""
    program, printed = quick_start()
    file = folder / "quick_start.py"
    file.write_text(program, encoding="utf-8")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    done = subprocess.run([python, file], cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    if done.returncode or not done.stdout.endswith(printed):
        sys.exit(f"{done.stderr}\nthe quick start printed\n{done.stdout}\nbut the docs end with\n{printed}")


def main(wheels: Path) -> None:
    found = sorted(wheels.glob("chatspan-*.whl"))
    if len(found) != 1:
        sys.exit(f"{wheels} holds {len(found)} wheels of chatspan: leave the one to test")
    with tempfile.TemporaryDirectory() as temporary:
        environment, folder = Path(temporary, "environment"), Path(temporary, "empty")
        folder.mkdir()
        venv.create(environment, with_pip=True)
        python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", found[0]], check=True)
        run_quick_start(python, folder)
        told = subprocess.run(
            [python, "-m", "chatspan", "--version"], cwd=folder, check=True, capture_output=True, text=True
        )
    print(f"{found[0].name}: the quick start runs in an empty environment; {told.stdout.strip()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
