"""Session logs of coding agents: a file of JSON lines → one row a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from chatspan.rows.dialects.claude_code import rows_of_claude_code
from chatspan.rows.dialects.codex import ENVELOPES, ITEMS, rows_of_codex
from chatspan.rows.notes import Note

SessionKind = Literal["claude_code", "codex"]

# How many records at most are looked at: logs begin with lines about themselves.
PEEKED_RECORDS = 50
# What may stand before the first message of a log of Claude Code.
_PREAMBLE = ("summary", "file-history-snapshot", "queue-operation", "system", "progress", "attachment")


def may_be_session(record: Any) -> bool:
    """Whether the first line of a file leaves it open that the file is a session log."""
    if not isinstance(record, Mapping) or "messages" in record or "conversations" in record:
        return False
    return (
        isinstance(record.get("type"), str) or "record_type" in record or ("id" in record and "instructions" in record)
    )


def session_kind(first_records: Sequence[Any]) -> SessionKind | None:
    """Whose session log begins with these records; ``None`` if it is none.

    Args:
        first_records: the first lines of a file, at least until a message; up to :data:`PEEKED_RECORDS`.

    Example:
        >>> session_kind([{"type": "user", "uuid": "u1", "message": {"role": "user", "content": "Hi"}}])
        'claude_code'
        >>> session_kind([{"messages": []}]) is None
        True
    """
    if not first_records or not may_be_session(first_records[0]):
        return None
    for record in first_records:
        if not isinstance(record, Mapping):
            return None
        kind, payload = record.get("type"), record.get("payload")
        if kind in ("user", "assistant") and isinstance(record.get("message"), Mapping):
            return "claude_code" if "uuid" in record or "sessionId" in record else None
        if kind in ENVELOPES and isinstance(payload, Mapping):
            return "codex"
        if kind in ITEMS and "message" not in record and _is_bare_item(record):
            return "codex"
        is_head = kind is None and ("record_type" in record or "instructions" in record)
        is_note = isinstance(kind, str) and (kind in _PREAMBLE or "sessionId" in record)
        if not is_head and not is_note:
            return None
    return None


def _is_bare_item(record: Mapping[str, Any]) -> bool:
    """Whether a record without an envelope is an item of OpenAI's Responses API."""
    if record["type"] != "message":
        return True
    content = record.get("content")
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, Mapping) and part.get("type") in ("input_text", "output_text") for part in parts)


def rows_of_session(
    records: Iterable[Mapping[str, Any]], notes: list[Note] | None = None, *, kind: SessionKind | None = None
) -> list[dict[str, Any]]:
    """The conversations of a session log, each as a row ``{"messages", "trace_id"}``.

    See :func:`~chatspan.rows.dialects.claude_code.rows_of_claude_code` and
    :func:`~chatspan.rows.dialects.codex.rows_of_codex` for what becomes of which lines. Conversations without an
    answer are left out.

    Args:
        records: the lines of the file.
        notes: what was changed or left out is added here.
        kind: whose log it is, if that is known.
    """
    records = list(records)
    notes = [] if notes is None else notes
    kind = kind or session_kind(records[:PEEKED_RECORDS])
    if kind is None:
        return []
    rows = (rows_of_claude_code if kind == "claude_code" else rows_of_codex)(records, notes)
    return [row for row in rows if any(message.get("role") == "assistant" for message in row["messages"])]
