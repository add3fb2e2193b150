"""Session logs of coding agents, as sources of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chatspan import SourceError
from chatspan.rows.dialects.sessions import rows_of_session, session_kind
from chatspan.rows.notes import Note
from chatspan.rows.sources import open_source


class Log:
    """Lines of Claude Code, each a child of the one before."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = [{"type": "file-history-snapshot", "messageId": "m", "snapshot": {}}]
        self.last: str | None = None

    def add(self, role: str, content: Any, *, message_id: str | None = None, **more: Any) -> str:
        uuid = f"u{len(self.lines)}"
        message = {"role": role, "content": content, **({} if message_id is None else {"id": message_id})}
        head = {"type": role, "uuid": uuid, "parentUuid": self.last, "sessionId": "s1", "isSidechain": False}
        self.lines.append({**head, "message": message, **more})
        self.last = uuid
        return uuid


def text(value: str) -> list[Any]:
    return [{"type": "text", "text": value}]


def use(call_id: str, name: str = "Read") -> list[Any]:
    return [{"type": "tool_use", "id": call_id, "name": name, "input": {"path": "a.py"}}]


def result(call_id: str, content: str, **more: Any) -> list[Any]:
    return [{"type": "tool_result", "tool_use_id": call_id, "content": content, **more}]


def call(call_id: str, name: str = "Read", arguments: Any = None) -> dict[str, Any]:
    function = {"name": name, "arguments": {"path": "a.py"} if arguments is None else arguments}
    return {"type": "function", "id": call_id, "function": function}


def tool(call_id: str, content: str, name: str = "Read", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": call_id, "name": name, **more}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def codes(notes: list[Note]) -> set[str]:
    return {note.code for note in notes}


def test_pieces_of_one_message_are_one() -> None:
    log = Log()
    log.add("user", "Fix a.py")
    log.add("assistant", [{"type": "thinking", "thinking": "Look.", "signature": ""}], message_id="m1")
    log.add("assistant", text("I look."), message_id="m1")
    log.add("assistant", use("t1"), message_id="m1")
    log.add("user", result("t1", "x = 1"))
    # The second call of the same message is logged after the first one's result.
    log.add("assistant", use("t2", "Bash"), message_id="m1")
    log.add("user", result("t2", "boom", is_error=True))
    log.add("user", text("Keep it short."))
    log.add("assistant", text("Done."), message_id="m2")
    assert rows_of_session(log.lines) == [
        {
            "messages": [
                said("user", "Fix a.py"),
                said("assistant", "I look.", reasoning_content="Look.", tool_calls=[call("t1"), call("t2", "Bash")]),
                tool("t1", "x = 1"),
                tool("t2", "boom", "Bash", is_error=True),
                said("user", "Keep it short."),
                said("assistant", "Done."),
            ],
            "trace_id": "s1",
        }
    ]


def test_what_no_model_saw_or_wrote_is_left_out() -> None:
    log = Log()
    log.lines.append({"type": "system", "subtype": "informational", "uuid": "x", "content": "hook"})
    log.add("user", "Caveat: local commands", isMeta=True)
    log.add("user", "Hi")
    log.add("assistant", text("API Error: 529"), isApiErrorMessage=True)
    log.add("assistant", text("Hello."), message_id="m1")
    log.lines.append(log.lines[-1])
    log.add("user", "for the screen", isVisibleInTranscriptOnly=True)
    notes: list[Note] = []
    (row,) = rows_of_session(log.lines, notes)
    assert row["messages"] == [said("user", "Caveat: local commands\nHi"), said("assistant", "Hello.")]
    assert codes(notes) == {"synthetic_dropped"}


def test_sidechains_and_compactions_are_conversations_of_their_own() -> None:
    log = Log()
    log.add("user", "Search it")
    log.add("assistant", use("t1", "Task"), message_id="m1")
    main = log.last
    log.last = None
    log.add("user", "You search.", isSidechain=True)
    log.add("assistant", text("Found."), message_id="m2", isSidechain=True)
    log.last = None
    log.add("user", "You too.", isSidechain=True, agentId="a7")
    log.add("assistant", text("Me too."), message_id="m3", isSidechain=True, agentId="a7")
    log.last = main
    log.add("user", result("t1", "Found."))
    log.add("assistant", text("It is there."), message_id="m4")
    log.add("user", "This session is continued: …", isCompactSummary=True, isVisibleInTranscriptOnly=True)
    log.add("assistant", text("I go on."), message_id="m5")
    rows = rows_of_session(log.lines)
    assert {row["trace_id"]: row["messages"] for row in rows} == {
        "s1": [
            said("user", "Search it"),
            said("assistant", "", tool_calls=[call("t1", "Task")]),
            tool("t1", "Found.", "Task"),
            said("assistant", "It is there."),
        ],
        "s1#2": [said("user", "This session is continued: …"), said("assistant", "I go on.")],
        "s1/1": [said("user", "You search."), said("assistant", "Found.")],
        "s1/a7": [said("user", "You too."), said("assistant", "Me too.")],
    }


def test_answers_that_were_given_up_are_left_out() -> None:
    log = Log()
    log.add("user", "Hi")
    log.add("assistant", use("t1") + use("t2"), message_id="m1")
    log.add("user", result("t1", "1"))
    at = log.last
    log.add("user", result("t2", "2"))
    log.last = at
    log.add("user", "Write Rust")
    log.add("assistant", text("fn main"), message_id="m2")
    log.last = at
    log.add("user", "Write Python")
    log.add("assistant", text("def main"), message_id="m3")
    notes: list[Note] = []
    (row,) = rows_of_session(log.lines, notes)
    assert row["messages"][2:] == [
        tool("t1", "1"),
        tool("t2", "2"),
        said("user", "Write Python"),
        said("assistant", "def main"),
    ]
    assert codes(notes) == {"given_up_dropped"}


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"timestamp": "2026-01-01T00:00:00Z", "type": "response_item", "payload": {"type": kind, **fields}}


def line(kind: str, **payload: Any) -> dict[str, Any]:
    return {"timestamp": "2026-01-01T00:00:00Z", "type": kind, "payload": payload}


def spoken(role: str, value: str) -> dict[str, Any]:
    part = {"type": "output_text" if role == "assistant" else "input_text", "text": value}
    return item("message", role=role, content=[part])


SHELL = '{"command":["ls"]}'
OUTPUT = '{"output":"no such file","metadata":{"exit_code":1,"duration_seconds":0.1}}'
CODEX = [
    line("session_meta", id="r1", cwd="/", instructions=None, base_instructions={"text": "You are an agent."}),
    spoken("developer", "Sandboxed."),
    spoken("user", "List it"),
    line("event_msg", type="user_message", message="List it"),
    line("turn_context", model="m"),
    item("reasoning", summary=[{"type": "summary_text", "text": "**List**"}], content=None, encrypted_content="x"),
    spoken("assistant", "I list."),
    item("function_call", name="shell", arguments=SHELL, call_id="c1"),
    item("custom_tool_call", name="apply_patch", input="*** Begin Patch", call_id="c2", status="completed"),
    item("function_call_output", call_id="c1", output=OUTPUT),
    item("custom_tool_call_output", call_id="c2", output="ok"),
    item("reasoning", summary=[], encrypted_content="x"),
    item("local_shell_call", call_id="c3", status="completed", action={"type": "exec", "command": ["ls"], "env": None}),
    item("function_call_output", call_id="c3", output={"content": "denied", "success": False}),
    item("web_search_call", status="completed", action={"type": "search", "query": "ls"}),
    item("reasoning", summary=[], content=[{"type": "reasoning_text", "text": "So."}]),
    spoken("assistant", "It is empty."),
]


def codex_messages() -> list[dict[str, Any]]:
    shell = call("c1", "shell", SHELL)
    patch = call("c2", "apply_patch", {"input": "*** Begin Patch"})
    local = call("c3", "local_shell", {"command": ["ls"]})
    return [
        said("system", "You are an agent."),
        said("developer", "Sandboxed."),
        said("user", "List it"),
        said("assistant", "I list.", reasoning_content="**List**", tool_calls=[shell, patch]),
        tool("c1", OUTPUT, "shell"),
        tool("c2", "ok", "apply_patch"),
        said("assistant", "", tool_calls=[local]),
        tool("c3", "denied", "local_shell", is_error=True),
        said("assistant", "It is empty.", reasoning_content="So."),
    ]


def test_codex() -> None:
    notes: list[Note] = []
    assert rows_of_session(CODEX, notes) == [{"messages": codex_messages(), "trace_id": "r1"}]
    assert codes(notes) == {"reasoning_summary", "encrypted_reasoning_dropped", "web_search_dropped"}


def test_codex_without_envelopes() -> None:
    head = {"id": "r0", "timestamp": "2025-06-01T00:00:00Z", "instructions": "x"}
    bare = [record["payload"] for record in CODEX if record["type"] == "response_item"]
    rows = rows_of_session([head, {"record_type": "state"}, *bare])
    assert rows == [{"messages": codex_messages()[1:], "trace_id": "r0"}]


def test_a_compaction_of_codex_begins_a_conversation() -> None:
    lines = [*CODEX, line("compacted", message="So far: …"), spoken("assistant", "On.")]
    first, second = rows_of_session(lines)
    assert first["messages"] == codex_messages()
    assert second == {
        "messages": [said("system", "You are an agent."), said("user", "So far: …"), said("assistant", "On.")],
        "trace_id": "r1#2",
    }
    history = [spoken("user", "List it")["payload"]]
    lines = [*CODEX, line("compacted", message="", replacement_history=history), spoken("assistant", "On.")]
    assert rows_of_session(lines)[1]["messages"][1:] == [said("user", "List it"), said("assistant", "On.")]


@pytest.mark.parametrize(
    ("records", "kind"),
    [
        (CODEX[:1], "codex"),
        ([{"id": "r0", "timestamp": "", "instructions": None}, CODEX[1]["payload"]], "codex"),
        ([{"type": "summary", "summary": "x", "leafUuid": "u"}, *Log().lines], None),
        ([{"type": "mode", "sessionId": "s"}, {"type": "user", "message": {}, "sessionId": "s"}], "claude_code"),
        ([{"type": "user", "message": {"role": "user"}}], None),
        ([{"type": "message", "role": "user", "content": "Hi"}], None),
        ([{"messages": [], "type": "chat"}], None),
        ([{"type": "chat", "turns": []}, {"type": "response_item", "payload": {}}], None),
        ([{"instruction": "Q", "output": "A"}], None),
        ([None], None),
        ([], None),
    ],
)  # fmt: skip
def test_kinds(records: list[Any], kind: str | None) -> None:
    assert session_kind(records) == kind


def write(path: Path, records: list[Any], end: str = "\n") -> str:
    path.write_text("\n".join(json.dumps(record) for record in records) + end, encoding="utf-8")
    return str(path)


def test_a_log_is_a_source_of_rows(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "rollout.jsonl", CODEX, '\n{"type": "resp'))
    (row,) = source.rows()
    assert (row.index, row.place, row.position) == (0, "rollout.jsonl", 1.0)
    assert row.parsed() == {"messages": codex_messages(), "trace_id": "r1"}
    two = [*CODEX, line("compacted", message="So far"), spoken("assistant", "On.")]
    source = open_source(write(tmp_path / "two.jsonl", two))
    assert [row.place for row in source.rows()] == ["two.jsonl, conversation 1", "two.jsonl, conversation 2"]
    assert [row.index for row in source.rows(1)] == [1]


def test_broken_logs(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a session log, but its line 2 is not a JSON object; fix the line"):
        open_source(write(tmp_path / "a.jsonl", [CODEX[0], 3, CODEX[1]]))
    with pytest.raises(SourceError, match="is a session log without an answer in it"):
        open_source(write(tmp_path / "b.jsonl", CODEX[:3]))


def test_rows_with_a_type_are_no_log(tmp_path: Path) -> None:
    rows = [{"type": "chat", "messages": [said("user", "Hi")]}, {"type": "user", "text": "x"}]
    source = open_source(write(tmp_path / "rows.jsonl", rows))
    assert [row.parsed() for row in source.rows()] == rows
