"""Which results of tools report an error, and traces whose recoveries are marked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.rows.dialects.found import Message

_FLAGS = ("is_error", "isError")
_PREFIX = re.compile(r"\s*error\b[\s:]*", re.IGNORECASE)
_ERROR = re.compile(r"(?:Error|ERROR)(?=[\s:\[(]|\Z)|Traceback \(most recent call last\)|<tool_use_error>")
# Claude Code writes its own errors in tags.
_TAGS = re.compile(r"</?tool_use_error>")
_WORDS = re.compile(r"[^a-z]+")
_EXCEPTION = re.compile(r"^([A-Za-z_.]+(?:Error|Exception|Exit|Interrupt))(?::[ \t]*(.*))?$", re.MULTILINE)
_LONGEST = 40


def error_of(message: Mapping[str, Any]) -> tuple[str, str] | None:
    """The kind and the text of the error that a tool's result reports; ``None`` if it reports none.

    Flags decide where there are any: ``is_error``, ``isError``, ``status: "error"``, ``success: false``, or an
    ``exit_code`` in ``metadata``, on the message or in its content as JSON. Without a flag, a content reports an error
    if it is a JSON object with an ``error`` that is not empty, or text that begins with ``Error`` or with a traceback.
    The word "error" elsewhere in a text says nothing: results quote logs.

    Example:
        >>> error_of({"role": "tool", "content": "Error: not enough seats on flight HAT229"})
        ('not_enough_seats_on_flight_hat', 'Error: not enough seats on flight HAT229')
        >>> error_of({"role": "tool", "content": "3 errors in the log", "is_error": False})
    """
    text = _text(message.get("content"))
    value = _object(text)
    flag = _flag(message)
    if flag is None and value is not None:
        flag = _flag(value)
    if flag is None:
        flag = bool(value.get("error")) if value is not None else _ERROR.match(text.lstrip()) is not None
    return (_kind(text, value), text) if flag else None


def trace_of(
    messages: Sequence[Mapping[str, Any]],
    *,
    trace_id: str | None = None,
    tools: Sequence[Any] | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A trace for :class:`chatspan.ComposerDataCollator`: the turn after a failed result is an error site.

    That turn gets ``tool_error``, the kind of the error, and ``error_meta`` with the tool's name and the error's text.
    Of several failed results before a turn the first one counts. Flags of results are not passed on to templates.

    Args:
        messages: in OpenAI's shape; they are not changed.
        trace_id, tools, chat_template_kwargs: as the trace carries them; without those that are ``None``.

    Example:
        >>> messages = [
        ...     {"role": "tool", "name": "book", "content": "Error: sold out"},
        ...     {"role": "assistant", "content": "I will try another flight."},
        ... ]
        >>> trace_of(messages)["turns"][1]["tool_error"]
        'sold_out'
    """
    names: dict[Any, str] = {}
    turns: list[Message] = []
    failed: dict[str, Any] | None = None
    last_call: str | None = None
    for message in messages:
        turn = {key: value for key, value in message.items() if key not in _FLAGS}
        if message.get("role") == "assistant":
            if failed is not None:
                turn = {**turn, **failed}
            failed = None
            last_call = _add_names(message.get("tool_calls"), names)
        elif message.get("role") == "tool" and failed is None and (found := error_of(message)) is not None:
            name = message.get("name") or names.get(message.get("tool_call_id")) or last_call
            failed = {"tool_error": found[0], "error_meta": {"tool": name, "message": found[1]}}
        turns.append(turn)
    head = {} if trace_id is None else {"trace_id": trace_id}
    rest = {"tools": tools, "chat_template_kwargs": chat_template_kwargs}
    return {**head, "turns": turns, **{key: value for key, value in rest.items() if value}}


def _add_names(calls: Any, names: dict[Any, str]) -> str | None:
    """The names of a message's calls; returns that of the only one."""
    found = []
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            found.append(function["name"])
            if call.get("id") is not None:
                names[call["id"]] = function["name"]
    return found[0] if len(found) == 1 else None


def _flag(value: Mapping[str, Any]) -> bool | None:
    """What flags say; ``None`` if there are none."""
    for key in _FLAGS:
        if isinstance(value.get(key), bool):
            return bool(value[key])
    if value.get("status") == "error":
        return True
    if isinstance(value.get("success"), bool):
        return not value["success"]
    metadata = value.get("metadata")
    for place in (value, metadata if isinstance(metadata, Mapping) else {}):
        if type(place.get("exit_code")) is int:
            return bool(place["exit_code"] != 0)
    return None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))


def _object(text: str) -> Mapping[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _kind(text: str, value: Mapping[str, Any] | None) -> str:
    """A short name of an error: the first words of what it says, without numbers."""
    if value is not None:
        error = next((value[key] for key in ("error", "message", "output", "stderr") if value.get(key)), "")
        error = error.get("message") or error.get("type") or "" if isinstance(error, Mapping) else error
        text = error if isinstance(error, str) else ""
    raised = list(_EXCEPTION.finditer(text)) if "Traceback (most recent call last)" in text else []
    if raised:
        text = f"{raised[-1].group(1)} {raised[-1].group(2) or ''}"
    text = _TAGS.sub("", text)
    prefix = _PREFIX.match(text)
    said = text[prefix.end() :] if prefix else text
    line = next((line for line in said.splitlines() if _WORDS.sub("", line.lower())), "")
    return _WORDS.sub("_", line.lower()).strip("_")[:_LONGEST].strip("_") or "error"
