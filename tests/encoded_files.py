"""Rows for ``chatspan encode``, and what is in the folder that it writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def chat(number: int) -> dict[str, Any]:
    question = {"role": "user", "content": f"What is {number} + {number}?"}
    return {"messages": [question, {"role": "assistant", "content": f"It is {2 * number}. " + "So it is. " * 9}]}


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
