"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Writes a file under another name and renames it: whoever sees it sees all of it.

    Raises:
        OSError: with ``filename``; what was there before is there still.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, whole."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
