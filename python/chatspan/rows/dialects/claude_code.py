"""Session logs of Claude Code: lines that hold Anthropic's messages, in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatspan.rows.dialects.anthropic import of_anthropic
from chatspan.rows.notes import Note

Record = Mapping[str, Any]


def rows_of_claude_code(records: Sequence[Record], notes: list[Note]) -> list[dict[str, Any]]:
    """The conversations of a log of Claude Code.

    - Lines of one ``message.id`` are pieces of one message: each block is logged when it is there.
    - Lines of users that follow each other are one message, as they are for the API.
    - A sidechain, the work of a subagent, is a conversation of its own.
    - A summary of a compaction (``isCompactSummary``) begins a new conversation: from there on the model saw the
      summary in place of what came before.
    - ``isMeta`` lines, which the program wrote in the user's name, stay: the model saw them.
    - Lines for the screen (``isVisibleInTranscriptOnly``), errors of the API and other messages that no model wrote
      (``<synthetic>``) are left out.
    - Where somebody went back and asked something else, the answers that were given up are left out.

    Args:
        records: the lines, in order.
        notes: what was left out is added here.
    """
    rows: list[dict[str, Any]] = []
    for name, lines in _threads(_messages(records, notes)).items():
        parts = _parts(lines)
        for number, part in enumerate(parts):
            trace_id = name if number == 0 else f"{name}#{number + 1}"
            messages = of_anthropic(_joined(_kept(part, notes)), notes)
            rows.append({"messages": messages, **({"trace_id": trace_id} if trace_id else {})})
    return rows


def _messages(records: Sequence[Record], notes: list[Note]) -> Iterator[Record]:
    """The lines with messages that a model saw or wrote, each once."""
    seen: set[str] = set()
    for record in records:
        message = record.get("message")
        if record.get("type") not in ("user", "assistant") or not isinstance(message, Mapping):
            continue
        uuid = record.get("uuid")
        if isinstance(uuid, str):
            if uuid in seen:
                continue
            seen.add(uuid)
        if record.get("isApiErrorMessage") or message.get("model") == "<synthetic>":
            notes.append(Note("synthetic_dropped", "messages that the program wrote in the model's name were left out"))
            continue
        if record.get("isVisibleInTranscriptOnly") and not record.get("isCompactSummary"):
            continue
        yield record


def _threads(records: Iterator[Record]) -> dict[str, list[Record]]:
    """The lines of each conversation, by its name."""
    threads: dict[str, list[Record]] = {}
    name_of: dict[Any, str] = {}
    main: str | None = None
    for record in records:
        session = str(record.get("sessionId") or "")
        if record.get("isSidechain"):
            agent = record.get("agentId")
            name = f"{session}/{agent}" if agent else name_of.get(record.get("parentUuid"))
            if name is None:
                count = sum(1 for other in threads if other.startswith(f"{session}/"))
                name = f"{session}/{count + 1}"
            name_of[record.get("uuid")] = name
        else:
            # A resumed session logs what it goes on from under its own id.
            main = session if main is None else main
            name = main
        threads.setdefault(name, []).append(record)
    return threads


def _parts(lines: Sequence[Record]) -> list[list[Record]]:
    """Divided where a summary takes the place of what came before."""
    parts: list[list[Record]] = [[]]
    for line in lines:
        if line.get("isCompactSummary") and parts[-1]:
            parts.append([])
        parts[-1].append(line)
    return parts


def _kept(lines: Sequence[Record], notes: list[Note]) -> list[Record]:
    """The lines without answers that were given up: those between a message and a later prompt that follows it too."""
    kept: list[Record] = []
    for line in lines:
        if _is_prompt(line):
            at = next((at for at, other in enumerate(kept) if other.get("uuid") == line.get("parentUuid")), None)
            rest = [] if at is None else kept[at + 1 :]
            if any(_is_prompt(other) and other.get("parentUuid") == line.get("parentUuid") for other in rest):
                message = "messages of abandoned branches were left out"
                notes.append(Note("given_up_dropped", message))
                # Results of calls that are kept may be logged after the message that the prompt follows.
                del kept[len(kept) - len(rest) + _results_ahead(rest) :]
        kept.append(line)
    return kept


def _results_ahead(lines: Sequence[Record]) -> int:
    return next((number for number, line in enumerate(lines) if _is_prompt(line)), len(lines))


def _is_prompt(line: Record) -> bool:
    """Whether a line is what somebody asked, not a result of a tool."""
    if line.get("type") != "user" or line.get("isMeta"):
        return False
    content = line["message"].get("content")
    return isinstance(content, str) or not any(map(_is_result, content if isinstance(content, list) else []))


def _is_result(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "tool_result"


def _joined(lines: Sequence[Record]) -> list[dict[str, Any]]:
    """One message for the pieces of one, in the order in which they begin."""
    messages: list[dict[str, Any]] = []
    place_of: dict[Any, int] = {}
    for line in lines:
        message = line["message"]
        role = message.get("role") or line["type"]
        blocks = _blocks(message.get("content"))
        message_id = message.get("id") if role == "assistant" else None
        at = None if message_id is None else place_of.get(message_id)
        if at is not None and not _has_prompt(messages[at + 1 :]):
            messages[at]["content"] += blocks
        elif role == "user" and messages and messages[-1]["role"] == "user":
            messages[-1]["content"] += blocks
        else:
            if message_id is not None:
                place_of[message_id] = len(messages)
            messages.append({"role": role, "content": blocks})
    return messages


def _has_prompt(messages: Sequence[Mapping[str, Any]]) -> bool:
    return any(not all(map(_is_result, message["content"])) for message in messages)


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, list):
        return list(content)
    return [{"type": "text", "text": content}] if isinstance(content, str) else []
