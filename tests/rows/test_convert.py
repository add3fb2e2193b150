"""``chatspan convert``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chatspan import CollatorConfig, ComposerDataCollator
from commands import chatspan
from transformers import AutoTokenizer
from zoo import EXAMPLES

USER = {"role": "user", "content": "Book it"}
CALL = {"id": "c1", "type": "function", "function": {"name": "book", "arguments": {"seat": "1A"}}}
CALLING = {"role": "assistant", "content": "I book.", "tool_calls": [CALL]}
FAILED = {"role": "tool", "tool_call_id": "c1", "content": "Error: sold out"}
ANSWER = {"role": "assistant", "content": "Sold out, sorry."}
MESSAGES = [USER, CALLING, FAILED, ANSWER]
TOOLS = [{"type": "function", "function": {"name": "book", "parameters": {"type": "object", "properties": {}}}}]
SESSION = [
    {"type": "user", "uuid": "u1", "sessionId": "s1", "message": {"role": "user", "content": "Grüezi"}},
    {
        "type": "assistant",
        "uuid": "u2",
        "sessionId": "s1",
        "message": {"id": "m1", "role": "assistant", "content": [{"type": "text", "text": "Hoi \ud83d"}]},
    },
]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_messages_to_standard_output(tmp_path: Path) -> None:
    rows = [
        {"messages": MESSAGES, "tools": TOOLS, "trace_id": "t1", "chat_template_kwargs": {"enable_thinking": False}},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "loss_messages": [1]},
    ]
    done = chatspan("convert", write(tmp_path / "rows.jsonl", rows))
    assert done.returncode == 0
    assert lines(done.stdout) == [
        rows[0],
        {
            "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
            "loss_messages": [1],
        },
    ]
    assert done.stderr.splitlines()[0] == "chatspan: 2 rows written"


def test_traces_that_the_collator_takes(tmp_path: Path) -> None:
    out = tmp_path / "traces.jsonl"
    file = write(tmp_path / "rows.jsonl", [{"messages": MESSAGES, "tools": TOOLS, "id": 7}])
    done = chatspan("convert", file, "--to", "traces", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == f"chatspan: 1 row written to {out}, 1 error site marked"
    (trace,) = lines(out.read_text(encoding="utf-8"))
    meta = {"tool": "book", "message": "Error: sold out"}
    marked = {**ANSWER, "tool_error": "sold_out", "error_meta": meta}
    assert trace == {"trace_id": "7", "turns": [USER, CALLING, FAILED, marked], "tools": TOOLS}
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    config = CollatorConfig(hint_generator=lambda error, meta: f"{meta['tool']}: {error}")
    batch = ComposerDataCollator(tokenizer, config)([trace])
    mask = batch["sdpo_loss_mask"][0].bool()
    assert "Sold out, sorry." in tokenizer.decode(batch["input_ids"][0][mask])


def test_a_trace_keeps_its_own_marks(tmp_path: Path) -> None:
    turns = [USER, {**ANSWER, "tool_error": "mine", "error_meta": {"tool": "book"}}, ANSWER]
    file = write(tmp_path / "rows.jsonl", [{"trace_id": "t1", "turns": turns}])
    assert lines(chatspan("convert", file, "--to", "traces").stdout) == [{"trace_id": "t1", "turns": turns}]
    assert lines(chatspan("convert", file).stdout)[0]["messages"][1] == ANSWER


def test_rows_that_fail_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [{"messages": [USER, ANSWER]}, {"text": "x"}, {"messages": []}])
    out = tmp_path / "out.jsonl"
    done = chatspan("convert", file, "-o", str(out))
    assert done.returncode == 1
    assert len(lines(out.read_text())) == 1
    assert "rows.jsonl:2: " in done.stderr
    assert "rows.jsonl:3: " in done.stderr
    assert f"chatspan: 1 row written to {out}; 2 rows failed" in done.stderr
    limited = chatspan("convert", file, "--limit", "1")
    assert (limited.returncode, len(lines(limited.stdout))) == (0, 1)


def test_session_logs(tmp_path: Path) -> None:
    done = chatspan("convert", write(tmp_path / "session.jsonl", SESSION))
    assert done.returncode == 0, done.stderr
    messages = [{"role": "user", "content": "Grüezi"}, {"role": "assistant", "content": "Hoi \ud83d"}]
    assert lines(done.stdout) == [{"messages": messages, "trace_id": "s1"}]


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [{"messages": [USER, ANSWER]}])
    out = tmp_path / "out.jsonl"
    assert chatspan("convert", file, "-o", str(out)).returncode == 0
    again = chatspan("convert", file, "-o", str(out))
    assert again.returncode == 1
    assert "exists: use another file, or overwrite it with --force" in again.stderr
    assert chatspan("convert", file, "-o", str(out), "--force").returncode == 0
    assert chatspan("convert", str(tmp_path / "no.jsonl"), "-o", str(tmp_path / "no_out.jsonl")).returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl"]


def test_what_is_not_read_and_belongs_to_the_messages_is_kept(tmp_path: Path) -> None:
    rows = [
        {"messages": [USER, {**ANSWER, "weight": 0}], "images": ["cat.png"]},
        {"messages": [{**USER, "content": "<image>Look"}, ANSWER], "images": ["cat.png"]},
    ]
    kept, placed = lines(chatspan("convert", write(tmp_path / "rows.jsonl", rows)).stdout)
    assert kept == rows[0]
    parts = [{"type": "image", "image": "cat.png"}, {"type": "text", "text": "Look"}]
    assert placed == {"messages": [{**USER, "content": parts}, ANSWER]}
