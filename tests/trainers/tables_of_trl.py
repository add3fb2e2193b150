"""Rows that the docs show beside each other: what chatspan trains of them, and what TRL's own masking does."""

from __future__ import annotations

from typing import Any

from cases import assistant, user
from conversations import call, calls, schema, tool

TURNS = [user("Hi"), assistant("Hello!"), user("Bye"), assistant("See you.")]
REASONED = "<think>\nadd\n</think>\n\nIt is {}."
COMPARED: dict[str, dict[str, Any]] = {
    "two turns": {"messages": TURNS},
    "reasoning": {
        "messages": [user("2 + 2?"), assistant(REASONED.format(4)), user("3 + 3?"), assistant(REASONED.format(6))]
    },
    "a call": {
        "messages": [
            user("Move it."),
            calls(call("rebook", {"train": "2"}), content="I will."),
            tool("ok"),
            assistant("Done."),
        ],
        "tools": [schema()],
    },
    "prompt and completion": {"prompt": TURNS[:3], "completion": TURNS[3:]},
}


def as_cell(texts: list[str]) -> str:
    return " · ".join("`" + text.replace("\n", "\\n").replace("|", "\\|") + "`" for text in texts)
