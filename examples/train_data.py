"""Made-up conversations in which a hint decides what an assistant says, and in which the error decides the hint."""

from __future__ import annotations

import random
from typing import Any

Trace = dict[str, Any]

LETTERS = "ABCDEFGHIJKLMNOP"
_CITIES = ("Rome", "Bern", "Oslo", "Kiel", "Lyon", "Graz", "Ulm", "Bonn")
_ERRORS = ("track", "seat", "train", "fare", "card", "date", "class", "name")


def errors() -> list[str]:
    """As many errors as letters."""
    return [f"{noun} {number}" for noun in _ERRORS for number in (1, 2)]


def letter_of(error: str) -> str:
    """What the hint says where the error decides it."""
    return LETTERS[errors().index(error)]


def make_traces(count: int, seed: int, *, error_decides: bool) -> list[Trace]:
    """Traces with one error site each.

    Args:
        error_decides: whether the letter of the hint follows from the error that the student sees, too; else it is
            drawn, so that only the hint tells.
    """
    draw = random.Random(seed)
    traces = []
    for index in range(count):
        error = draw.choice(errors())
        letter = letter_of(error) if error_decides else draw.choice(LETTERS)
        traces.append(
            {
                "trace_id": f"{seed}-{index}",
                "turns": [
                    {"role": "user", "content": f"{draw.choice(_CITIES)} at {draw.randint(1, 9)}."},
                    {"role": "tool", "content": f"error: {error}"},
                    {
                        "role": "assistant",
                        "content": f"{letter} it is",
                        "tool_error": error,
                        "error_meta": {"letter": letter},
                    },
                ],
            }
        )
    return traces


def write_hint(tool_error: Any, error_meta: Any) -> str:
    """The hint that the teacher sees."""
    return f"Say {error_meta['letter']}"
