"""Glaive's function-calling rows: a system text that lists functions, and a chat in one text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from chatspan.rows.dialects.calls import call_of, tool_of
from chatspan.rows.dialects.found import DialectError, Found, Message, shown
from chatspan.rows.notes import Note

_SPEAKER = re.compile(r"^[ \t]*(USER|ASSISTANT|FUNCTION RESPONSE):[ \t]*", re.MULTILINE)
_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_END = "<|endoftext|>"
_CALL = "<functioncall>"
# JSON, but for its arguments: those are JSON in single quotes.
_QUOTED = re.compile(r"""\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*'(.*)'\s*\}""", re.DOTALL)
_ACCESS = re.compile(r",?\s+with access to the following functions\b.*\Z", re.DOTALL)


def is_glaive(row: Mapping[str, Any]) -> bool:
    """Whether a row has a ``chat`` that is a text with speakers."""
    chat = row.get("chat")
    return isinstance(chat, str) and _SPEAKER.search(chat) is not None


def of_glaive(row: Mapping[str, Any]) -> Found:
    """The messages and the tools of a row ``{"system", "chat"}`` of glaive-function-calling-v2.

    The functions of the system text become tools, and the words about them are cut: a template says in its own words
    which tools there are. A ``<functioncall>`` becomes a tool call, a ``FUNCTION RESPONSE`` a tool's message.

    Raises:
        DialectError: the chat is no text with speakers, or begins with something else.
    """
    notes: list[Note] = []
    messages: list[Message] = []
    system, tools = _system(row.get("system"), notes)
    if system:
        messages.append({"role": "system", "content": system})
    chat = row.get("chat")
    if not isinstance(chat, str):
        raise DialectError(f"'chat' must be text, got {shown(chat)}")
    turns = list(_SPEAKER.finditer(chat))
    if not turns or chat[: turns[0].start()].strip():
        raise DialectError(f"'chat' must begin with 'USER:', got {shown(chat)}")
    ends = [*(turn.start() for turn in turns[1:]), len(chat)]
    for turn, end in zip(turns, ends, strict=True):
        text = chat[turn.end() : end].strip().removesuffix(_END).rstrip()
        role = _ROLES[turn.group(1)]
        if role == "assistant" and _CALL in text:
            messages.append(_call_message(text, len(messages), notes))
        else:
            messages.append({"role": role, "content": text})
    return Found(messages, tools=tools, columns=frozenset({"system", "chat"}.intersection(row)), notes=notes)


def _system(value: Any, notes: list[Note]) -> tuple[str, list[Any] | None]:
    if value is None:
        return "", None
    if not isinstance(value, str):
        raise DialectError(f"'system' must be text, got {shown(value)}")
    text = value.strip().removeprefix("SYSTEM:").strip()
    tools, start, end = _functions(text)
    if not tools:
        return text, None
    head, count = _ACCESS.subn(".", text[:start].rstrip())
    # Words of another form that only lead up to the list: the sentence that they are.
    head = head if count else head.rstrip(" -:\n")
    notes.append(Note("functions_cut", "functions of the system text are read as tools, and cut from it"))
    return "\n\n".join(part for part in (head.strip(), text[end:].strip()) if part), tools


def _functions(text: str) -> tuple[list[Any], int, int]:
    """The functions that a text lists as JSON, and where that list stands."""
    decoder = json.JSONDecoder()
    tools: list[Any] = []
    start = end = 0
    at = _next_json(text, 0)
    while at is not None:
        try:
            value, after = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        found = [tool_of(item) for item in (value if isinstance(value, list) else [value])]
        if not found or not all(map(_is_tool, found)):
            break
        start = start if tools else at
        tools, end = [*tools, *found], after
        following = _next_json(text, after)
        at = following if following is not None and not text[after:following].strip(" \n\t,") else None
    return tools, start, end


def _is_tool(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("function"), Mapping)


def _next_json(text: str, start: int) -> int | None:
    places = [at for at in (text.find("{", start), text.find("[", start)) if at >= 0]
    return min(places, default=None)


def _call_message(text: str, index: int, notes: list[Note]) -> Message:
    content, _, written = text.partition(_CALL)
    call = _call(written.removesuffix("</functioncall>").strip())
    if call is None:
        message = "<functioncall> that cannot be read as a call stays text"
        notes.append(Note("functioncall_unreadable", message, f"message {index}"))
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": content.rstrip(), "tool_calls": [call]}


def _call(written: str) -> dict[str, Any] | None:
    try:
        return call_of(json.loads(written))
    except (ValueError, RecursionError):
        pass
    match = _QUOTED.fullmatch(written)
    if match is None:
        return None
    arguments = match.group(2)
    for text in (arguments, arguments.replace("\\'", "'")):
        try:
            return call_of({"name": json.loads(match.group(1)), "arguments": json.loads(text)})
        except (ValueError, RecursionError):
            continue
    return None
