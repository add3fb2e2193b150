"""xLAM's function-calling rows: a query, tools, and the calls that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatspan.rows.dialects.calls import calls_of, decoded, tools_of
from chatspan.rows.dialects.found import DialectError, Found, Message, shown
from chatspan.rows.notes import Note


def is_xlam(row: Mapping[str, Any]) -> bool:
    """Whether a row has ``query``, ``answers`` and ``tools``."""
    return all(row.get(name) is not None for name in ("query", "answers", "tools"))


def of_xlam(row: Mapping[str, Any]) -> Found:
    """The messages and the tools of a row ``{"query", "answers", "tools"}``; the last two may be JSON text.

    Answers that are text and no calls are the assistant's content. Parameters of the tools stay as they are: in xLAM's
    own files they are no JSON Schema.

    Raises:
        DialectError: the query is no text, or the answers are no calls, or the tools no list.

    Example:
        >>> answers = '[{"name": "add", "arguments": {"x": 2, "y": 2}}]'
        >>> row = {"query": "2+2?", "answers": answers, "tools": '[{"name": "add"}]'}
        >>> of_xlam(row).messages[1]["tool_calls"][0]["function"]
        {'name': 'add', 'arguments': {'x': 2, 'y': 2}}
    """
    query, answers = row["query"], row["answers"]
    if not isinstance(query, str):
        raise DialectError(f"'query' must be text, got {shown(query)}")
    tools = tools_of(row["tools"])
    if tools is None and decoded(row["tools"]) != []:
        raise DialectError(f"'tools' must be a list of functions, got {shown(row['tools'])}")
    calls = calls_of(answers)
    if calls is not None:
        answer: Message = {"role": "assistant", "content": "", "tool_calls": calls}
    elif isinstance(answers, str) and isinstance(decoded(answers), str):
        answer = {"role": "assistant", "content": answers}
    else:
        raise DialectError(f"'answers' must be calls with 'name' and 'arguments', or text, got {shown(answers)}")
    return Found(
        [{"role": "user", "content": query}, answer],
        tools=tools,
        columns=frozenset({"query", "answers", "tools"}),
        notes=[Note("query_read", "'query' is read as the user's message, 'answers' as the assistant's")],
    )
