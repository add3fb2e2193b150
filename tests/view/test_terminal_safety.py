"""Nothing in a data set reaches a terminal as a control character: by no command, on no way out."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from chatspan.cli.console import SafeConsole
from chatspan.cli.text import json_text, printable
from commands import chatspan
from rich.table import Table
from rich.text import Text
from zoo import EXAMPLES

TOKENIZER = str(EXAMPLES / "tokenizer")
# A title, a cleared screen, a link, C1's CSI, a backspace, DEL, and text turned around.
EVIL = "x\x1b]0;pwned\x07\x1b[2J\x1b]8;;http://evil\x1b\\\x9b31m\x08\x7f\r\u202eabc\u202c\u2066\u2069\u200e\u200f"
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello!"}
ROWS: dict[str, dict[str, Any]] = {
    "role": {"messages": [{"role": EVIL, "content": "Hi"}, ANSWER]},
    "name": {"messages": [{**USER, "name": EVIL}, {**ANSWER, "tool_calls": [call(EVIL, {EVIL: EVIL})]}]},
    "content": {"messages": [{"role": "user", "content": EVIL}, {"role": "assistant", "content": EVIL}]},
    "key": {"messages": [{**USER, EVIL: EVIL}, {**ANSWER, EVIL: 0}]},
    "part": {"messages": [{"role": "user", "content": [{"type": EVIL, EVIL: EVIL}]}, ANSWER]},
    "flag": {"messages": [USER, {**ANSWER, "train": EVIL}]},
    "trace_id": {
        "trace_id": EVIL,
        "turns": [USER, ANSWER, {"role": "tool", "content": EVIL}, {**ANSWER, "tool_error": EVIL, "error_meta": EVIL}],
    },
    "bad trace": {"trace_id": EVIL, "turns": [{"role": EVIL}]},
    "column": {"messages": [USER, ANSWER], EVIL: [USER, ANSWER], f"teacher_{EVIL}": 1},
    "keyword": {"messages": [USER, ANSWER], "chat_template_kwargs": {EVIL: EVIL}},
    "tools": {"messages": [USER, ANSWER], "tools": [{"type": "function", "function": {"name": EVIL}}]},
    "source": {"conversations": [{"from": EVIL, "value": EVIL}, {"from": "gpt", "value": "Hello!"}]},
    "no conversation": {EVIL: EVIL},
    "wrong": {"messages": EVIL},
}


def assert_safe(*args: str, cwd: Path | None = None, codes: tuple[int, ...] = (0, 1)) -> tuple[str, str]:
    done = chatspan(*args, cwd=cwd)
    assert done.returncode in codes, done.stderr
    for text in (done.stdout, done.stderr):
        found = RAW.search(text)
        assert found is None, text[max(0, found.start() - 60) : found.end() + 60]
    return done.stdout, done.stderr


@pytest.fixture(params=ROWS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of a bad name with a bad row."""
    path = tmp_path / f"rows \x1b[2J\x9b\u202e{request.param}.jsonl"
    path.write_text(json.dumps(ROWS[request.param]) + "\n", encoding="utf-8")
    return path


def test_no_command_writes_controls(file: Path, tmp_path: Path) -> None:
    name = str(file)
    for more in ((), ("--json",), ("--html", str(tmp_path / "a\x1b.html"))):
        assert_safe("inspect", name, "--tokenizer", TOKENIZER, *more)
        assert_safe("audit", name, "--tokenizer", TOKENIZER, "--turns", "--processes", "1", "--force", *more)
    assert_safe("audit", name, "--tokenizer", TOKENIZER, "--processes", "1", "--against", "hf,prefix-delta")
    assert_safe("convert", name)
    assert_safe("convert", name, "--to", "traces")
    assert_safe("convert", name, "--out", str(tmp_path / "out\x1b.jsonl"))
    out = str(tmp_path / "out\x1b[2J")
    for more in ((), ("--json",)):
        assert_safe("encode", name, "--tokenizer", TOKENIZER, "--out", out, "--processes", "1", *more)


@pytest.mark.parametrize("command", ["inspect", "audit", "encode", "convert"])
def test_files_that_are_not_there(command: str, tmp_path: Path) -> None:
    evil = str(tmp_path / "\x1b[2J\x9b\u202e")
    more = [] if command == "convert" else ["--tokenizer", TOKENIZER]
    more += ["--out", evil] if command == "encode" else []
    _, said = assert_safe(command, evil + ".jsonl", *more, codes=(1,))
    assert "\\x1b[2J\\x9b\\u202e" in said
    if command != "convert":
        rows = tmp_path / "rows.jsonl"
        rows.write_text(json.dumps(ROWS["role"]) + "\n")
        more[1] = evil
        assert_safe(command, str(rows), *more, codes=(1,))
        more[1] = TOKENIZER
        assert_safe(command, str(rows), *more, "--template", evil, codes=(1,))


# What the CLI library itself refuses, and quotes in its errors.
WRONG_USAGE: dict[str, tuple[str, ...]] = {
    "no such command": (EVIL,),
    "no such option": ("encode", f"--{EVIL}"),
    "an option that is nearly one": ("encode", f"--tokenize{EVIL}"),
    "no such short option": ("encode", "-\x1b"),
    "no number": ("encode", "rows.jsonl", "--processes", EVIL),
    "no such choice": ("encode", "rows.jsonl", "--loss", EVIL),
    "an argument too many": ("convert", "rows.jsonl", EVIL),
    "an option without its value": ("encode", EVIL, "--tokenizer"),
    "nothing that is needed": ("encode", "--tokenizer", EVIL),
    "a folder that is not there": ("inspect", EVIL, "--tokenizer", EVIL, "--row", EVIL),
    "an unknown one behind a wrong one": ("encode", "--bogus", EVIL),
}


@pytest.mark.parametrize("case", WRONG_USAGE)
def test_wrong_usage_is_told_without_controls(case: str) -> None:
    _, said = assert_safe(*WRONG_USAGE[case], codes=(2,))
    assert "Error" in said


def test_what_is_wrong_is_still_told() -> None:
    _, said = assert_safe("encode", f"--{EVIL}", codes=(2,))
    assert said.startswith("Usage: ")
    # In a box, whose lines are broken anywhere.
    said = re.sub(r"[│\s]", "", said)
    assert r"Nosuchoption:--x\x1b]0;pwned\x07\x1b[2J" in said
    assert r"\u202eabc\u202c" in said
    _, said = assert_safe("convert", "rows.jsonl", "--to", "\x9b31m", codes=(2,))
    assert r"\x9b31m" in said
    shown, _ = assert_safe("--help", codes=(0,))
    assert "Usage: " in shown
    shown, _ = assert_safe("--version", codes=(0,))
    assert shown.startswith("chatspan ")
    _, said = assert_safe(codes=(2,))
    assert "Usage: " in said + _


def test_json_says_what_the_row_has(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS["content"]) + "\n")
    out, _ = assert_safe("convert", str(path), codes=(0,))
    assert json.loads(out)["messages"] == ROWS["content"]["messages"]
    assert "\\u001b]0;pwned\\u0007" in out
    assert "\\u009b31m" in out
    assert "\\u202eabc\\u202c\\u2066\\u2069\\u200e\\u200f" in out


@pytest.mark.parametrize("value", ["Grüße 漢字 😀", {"a\x85": ["\x7f", 1.5, None]}, "\u2028\ud800", EVIL])
def test_json_text_is_read_as_what_it_was(value: Any) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert not RAW.search(text)
    text.encode()
    if value == "Grüße 漢字 😀":
        assert text == '"Grüße 漢字 😀"'


def test_a_console_lets_nothing_through_but_its_own_codes() -> None:
    console = SafeConsole(file=io.StringIO(), force_terminal=True, color_system="256", width=60)
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(Text(EVIL, style="red"))
    with console.status(Text(EVIL)):
        console.print(EVIL, Text(EVIL), table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[31m" in text
    # Colours, and how a status line comes and goes.
    left = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", text)
    assert not RAW.search(left)
    assert "\x1b[2J" not in text
    assert "\x1b[2J".encode("unicode_escape").decode() in text.replace("\n", "")
    assert printable(printable(EVIL)) == printable(EVIL)
