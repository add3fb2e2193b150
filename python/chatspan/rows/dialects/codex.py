"""Rollouts of Codex: lines that hold items of OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.rows.dialects.calls import json_text
from chatspan.rows.dialects.found import Message
from chatspan.rows.notes import Note

ENVELOPES = frozenset({"session_meta", "response_item", "event_msg", "turn_context", "compacted"})
_CALLS = ("function_call", "custom_tool_call", "local_shell_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")
ITEMS = frozenset({"message", "reasoning", "web_search_call", *_CALLS, *_OUTPUTS})
_TEXT_PARTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")


def rows_of_codex(records: Sequence[Mapping[str, Any]], notes: list[Note]) -> list[dict[str, Any]]:
    """The conversations of a rollout of Codex, also of older files without envelopes.

    - What the model wrote between two inputs is one assistant's message: its reasoning, its texts with a blank line
      between two, and its calls.
    - Reasoning is the item's own text; where that is not there its summary; reasoning that is only there encrypted is
      dropped.
    - A tool's output stays the text that the model saw, also where that is JSON; ``success: false`` is kept as
      ``is_error``.
    - The text of a custom tool's call is its argument ``input``.
    - A web search has no result in the log and is dropped.
    - A compaction begins a new conversation.

    Args:
        records: the lines, in order.
        notes: what was left out is added here.
    """
    rollout = _Rollout(notes)
    for record in records:
        kind, payload = record.get("type"), record.get("payload")
        if kind in ENVELOPES and isinstance(payload, Mapping):
            if kind == "session_meta":
                rollout.begin(payload)
            elif kind == "compacted":
                rollout.compact(payload)
            elif kind == "response_item":
                rollout.add(payload)
        elif kind in ITEMS:
            rollout.add(record)
        elif kind is None and "id" in record and "record_type" not in record:
            rollout.begin(record)
    return rollout.rows()


class _Rollout:
    def __init__(self, notes: list[Note]) -> None:
        self._notes = notes
        self._session: str | None = None
        self._system: list[Message] = []
        self._conversations: list[list[Message]] = []
        self._messages: list[Message] = []
        self._names: dict[Any, str] = {}
        # The assistant's message that further items of the model go to.
        self._open: Message | None = None

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for number, messages in enumerate([*self._conversations, self._messages]):
            name = self._session if number == 0 or self._session is None else f"{self._session}#{number + 1}"
            rows.append({"messages": [*self._system, *messages], **({"trace_id": name} if name else {})})
        return rows

    def begin(self, meta: Mapping[str, Any]) -> None:
        # A forked session repeats the head of what it was forked from: the first one is its own.
        if self._session is not None:
            return
        self._session = str(meta["id"]) if meta.get("id") is not None else None
        base = meta.get("base_instructions")
        text = base.get("text") if isinstance(base, Mapping) else base
        if isinstance(text, str) and text:
            self._system = [{"role": "system", "content": text}]

    def compact(self, payload: Mapping[str, Any]) -> None:
        if self._messages:
            self._conversations.append(self._messages)
        self._messages, self._open = [], None
        history = payload.get("replacement_history")
        if isinstance(history, list) and history:
            for item in history:
                if isinstance(item, Mapping):
                    self.add(item)
        elif isinstance(payload.get("message"), str) and payload["message"]:
            self._messages.append({"role": "user", "content": payload["message"]})

    def add(self, item: Mapping[str, Any]) -> None:
        kind = item.get("type")
        if kind == "message":
            self._message(item)
        elif kind == "reasoning":
            self._reason(item)
        elif kind in _CALLS:
            self._call(item, str(kind))
        elif kind in _OUTPUTS:
            self._output(item)
        elif kind == "web_search_call":
            self._note("web_search_dropped", "web searches, whose results are not in the log, were dropped")

    def _note(self, code: str, message: str) -> None:
        self._notes.append(Note(code, message))

    def _assistant(self) -> Message:
        if self._open is None:
            self._open = {"role": "assistant", "content": ""}
            self._messages.append(self._open)
        return self._open

    def _message(self, item: Mapping[str, Any]) -> None:
        role, content = item.get("role"), _content(item.get("content"))
        if role != "assistant":
            self._open = None
            self._messages.append({"role": role, "content": content})
            return
        message = self._assistant()
        text = content if isinstance(content, str) else json_text(content)
        message["content"] = f"{message['content']}\n\n{text}" if message["content"] else text

    def _reason(self, item: Mapping[str, Any]) -> None:
        text = _text(item.get("content"))
        if not text:
            text = _text(item.get("summary"))
            if text:
                self._note("reasoning_summary", "reasoning is the log's summary of it")
        if not text:
            self._note("encrypted_reasoning_dropped", "encrypted reasoning was dropped")
            return
        message = self._assistant()
        before = message.get("reasoning_content")
        message["reasoning_content"] = f"{before}\n\n{text}" if before else text

    def _call(self, item: Mapping[str, Any], kind: str) -> None:
        if kind == "function_call":
            name, arguments = item.get("name"), item.get("arguments", "{}")
        elif kind == "custom_tool_call":
            name, arguments = item.get("name"), {"input": item.get("input", "")}
        else:
            action = item.get("action")
            given = action if isinstance(action, Mapping) else {}
            name = "local_shell"
            arguments = {key: value for key, value in given.items() if key != "type" and value is not None}
        call_id = item.get("call_id") or item.get("id")
        if call_id is not None:
            self._names[call_id] = str(name)
        head = {"type": "function"} if call_id is None else {"type": "function", "id": call_id}
        function = {"name": name, "arguments": arguments}
        self._assistant().setdefault("tool_calls", []).append({**head, "function": function})

    def _output(self, item: Mapping[str, Any]) -> None:
        self._open = None
        output, call_id = item.get("output"), item.get("call_id")
        message: Message = {"role": "tool", "content": output}
        if isinstance(output, Mapping) and "content" in output:
            message["content"] = output["content"]
            if output.get("success") is False:
                message["is_error"] = True
        message["content"] = _content(message["content"])
        if call_id is not None:
            message["tool_call_id"] = call_id
        if call_id in self._names:
            message["name"] = self._names[call_id]
        self._messages.append(message)


def _content(value: Any) -> Any:
    """One text, a line break between two parts; parts where there is something else."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(isinstance(part, Mapping) for part in value):
        if all(part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str) for part in value):
            return _text(value)
        return [_part(part) for part in value]
    return json_text(value)


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") in _TEXT_PARTS:
        return {"type": "text", "text": part.get("text", "")}
    if part.get("type") == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    return dict(part)


def _text(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    found = [part.get("text") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return "\n".join(text for text in found if isinstance(text, str))
