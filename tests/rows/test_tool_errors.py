"""Which results are errors, and the turns that follow them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chatspan.rows.dialects.tool_errors import error_of, trace_of
from zoo import ZOO, read_jsonl, require_zoo

TRACEBACK = "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'x'"
EXIT = json.dumps({"output": "ls: no such file", "metadata": {"exit_code": 2}})


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"content": "Error: not enough seats on flight HAT229"}, "not_enough_seats_on_flight_hat"),
        ({"content": "Error 404\nnot found"}, "not_found"),
        ({"content": TRACEBACK}, "keyerror_x"),
        ({"content": '{"error": "No such user 7"}'}, "no_such_user"),
        ({"content": '{"error": {"message": "Quota reached", "code": 3}}'}, "quota_reached"),
        ({"content": EXIT}, "ls_no_such_file"),
        ({"content": "File is gone", "is_error": True}, "file_is_gone"),
        ({"content": "<tool_use_error>File is gone</tool_use_error>"}, "file_is_gone"),
        ({"content": [{"type": "text", "text": "Gone"}], "isError": True}, "gone"),
        ({"content": "x", "status": "error"}, "x"),
        ({"content": '{"success": false}'}, "error"),
        ({"content": "", "is_error": True}, "error"),
        ({"content": "42", "is_error": True}, "error"),
    ],
)
def test_errors(message: dict[str, Any], kind: str) -> None:
    found = error_of({"role": "tool", **message})
    assert found is not None
    assert found[0] == kind
    assert isinstance(message["content"], list) or found[1] == message["content"]


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Error: quoted from a log", "is_error": False},
        {"content": "ErrorBoundary.tsx\nindex.ts"},
        {"content": "0 errors, 3 warnings"},
        {"content": "The log says: Error: x"},
        {"content": '{"error": null, "data": 1}'},
        {"content": '{"error": ""}'},
        {"content": '{"metadata": {"exit_code": 0}, "output": "Error: in the text of a test"}'},
        {"content": '{"success": true, "error": "none"}'},
        {"content": "{not JSON}"},
        {"content": None},
        {"content": ""},
    ],
)
def test_no_errors(message: dict[str, Any]) -> None:
    assert error_of({"role": "tool", **message}) is None


def test_the_turn_after_a_failed_result_is_marked() -> None:
    calls = [{"id": "c1", "function": {"name": "book", "arguments": {}}}, {"id": "c2", "function": {"name": "pay"}}]
    messages = [
        {"role": "user", "content": "Error: I am a user"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        {"role": "tool", "tool_call_id": "c2", "content": "No money", "is_error": True},
        {"role": "user", "content": "Try the other card."},
        {"role": "assistant", "content": "I try."},
        {"role": "assistant", "content": "Done."},
    ]
    tools = [{"type": "function", "function": {"name": "pay"}}]
    trace = trace_of(messages, trace_id="t1", tools=tools, chat_template_kwargs={})
    assert {key: value for key, value in trace.items() if key != "turns"} == {"trace_id": "t1", "tools": tools}
    marked = {index: turn for index, turn in enumerate(trace["turns"]) if "tool_error" in turn}
    assert marked == {
        5: {
            "role": "assistant",
            "content": "I try.",
            "tool_error": "no_money",
            "error_meta": {"tool": "pay", "message": "No money"},
        }
    }
    assert trace["turns"][3] == {"role": "tool", "tool_call_id": "c2", "content": "No money"}
    assert messages[3]["is_error"] is True


def test_the_marks_of_the_airline_traces() -> None:
    """The 72 turns that were marked by those who made the traces: the same turns, kinds and texts."""
    require_zoo()
    count = 0
    rows = read_jsonl(ZOO / "traces" / "tau_airline_messages.jsonl")
    for row, marked in zip(rows, read_jsonl(ZOO / "traces" / "tau_airline_sdpo.jsonl"), strict=True):
        for turn, expected in zip(trace_of(row["messages"])["turns"], marked["turns"], strict=True):
            assert turn.get("tool_error") == expected.get("tool_error")
            if "tool_error" in turn:
                count += 1
                meta = expected["error_meta"]
                assert turn["error_meta"] == {"tool": meta["tool"], "message": meta["message"]}
    assert count == 72
