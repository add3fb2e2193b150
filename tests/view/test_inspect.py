"""``chatspan inspect`` on a terminal, as a person reads it; and what it says of inputs that are broken."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from chatspan import ChatEncoder
from chatspan.cli.inspect_terminal import print_view
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow
from chatspan.view.rows import views_of_chat
from commands import chatspan, started
from rich.console import Console
from zoo import EXAMPLES, REPO

TOKENIZER = str(EXAMPLES / "tokenizer")
TRACES = str(EXAMPLES / "sample_traces.jsonl")
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi [b]there[/b]"},
    {"role": "assistant", "content": "Hello!"},
]


def printed(row: dict[str, Any], small: Any, *, loss: str = "turn", width: int = 100, colour: bool = False) -> str:
    (view,) = views_of_chat(RowReader().read(RawRow(0, "row 0", row)), ChatEncoder(small), title="row 0")
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        force_terminal=colour,
        color_system="256" if colour else None,
        markup=False,
        highlight=False,
        emoji=False,
    )
    print_view(console, view, loss)
    return console.export_text(styles=colour)


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_what_is_in_the_loss_stands_in_marks(small: Any) -> None:
    text = printed({"messages": CHAT}, small)
    assert re.findall(r"⟦(.*?)⟧", text) == ["Hello!", "<|im_end|>", "in the loss"]
    assert re.findall(r"⟦(.*?)⟧", printed({"messages": CHAT}, small, loss="content")) == ["Hello!", "in the loss"]
    assert "message 1 user" in squeezed(text)
    assert "Hi [b]there[/b]" in text


def test_the_counts_of_each_message(small: Any) -> None:
    encoding = ChatEncoder(small).encode(CHAT)
    text = squeezed(printed({"messages": CHAT}, small))
    trained = int(encoding.mask().sum())
    assert f"row 0: {len(encoding)} tokens, {trained} in the loss (--loss turn)" in text
    mine = int((encoding.message_index == 2).sum())
    assert f" 2 assistant {mine} {trained} " in text


def test_colours_on_a_terminal_that_has_them(small: Any) -> None:
    text = printed({"messages": CHAT}, small, colour=True)
    assert "\x1b[1;37;48;5;22mHello!" in text
    assert "⟦" not in text


def test_a_trace_is_shown_as_student_and_teacher_beside_each_other(sample_traces: Sequence[Any], small: Any) -> None:
    text = printed(sample_traces[0], small, width=160)
    line = next(line for line in text.splitlines() if "the hint, which only the teacher sees" in line)
    assert line.index("message 4") > 70
    first, second = re.findall(r"⟦(IC 900 does not run on Sundays\. [^⟦]*?)(?:⟧|  )", text)[:2]
    assert first[:60] == second[:60]
    narrow = printed(sample_traces[0], small, width=80)
    assert narrow.index("─ student ─") < narrow.index("─ teacher ─")


def test_what_the_template_leaves_out_is_said(sample_traces: Sequence[Any], small: Any) -> None:
    assert "The template leaves out tool_calls[*].id of 3 messages: 2, 4, 8" in printed(sample_traces[0], small)


def test_control_characters_do_not_reach_the_terminal(small: Any) -> None:
    row = {"messages": [{"role": "user", "content": "a\x1b[31mred\x07\r\nb"}, {"role": "assistant", "content": "ok"}]}
    text = printed(row, small)
    assert "\x1b" not in text
    assert "a\\x1b[31mred\\x07\\r\nb" in text


def test_json_for_machines() -> None:
    done = chatspan("inspect", TRACES, "-t", TOKENIZER, "--row", "1", "--json")
    (view,) = json.loads(done.stdout)
    (side,) = view["sides"]
    assert done.returncode == 0
    turn = [side["texts"][i] for start, end in side["masks"]["turn"] for i in range(start, end)]
    assert "".join(turn) == "About three and a half hours, with one change in Lucerne or Zürich.<|im_end|>"
    assert {len(side[key]) for key in ("texts", "input_ids", "kind", "message_index", "path")} == {
        len(side["input_ids"])
    }


def test_help_names_every_command_and_option() -> None:
    assert "inspect" in chatspan("--help").stdout
    text = squeezed(chatspan("inspect", "--help").stdout)
    for option in ("--tokenizer", "--row", "--template", "--loss", "--json", "--hint-placement", "--split"):
        assert option in text
    assert chatspan("--version").stdout.startswith("chatspan 0.")


@pytest.mark.parametrize(
    ("content", "args", "said"),
    [
        ('{"messages": [\n', (), "data.jsonl:1: not JSON: Expecting value at character 15; fix the line"),
        ("", (), "data.jsonl is empty: use a file with one JSON object per line, or a Parquet file"),
        ('{"text": "x"}\n', (), "data.jsonl:1: it has no conversation: expected a column 'messages'"),
        ('{"messages": []}\n', (), "its 'messages' must be a list with at least one message, got list []"),
        (json.dumps({"messages": CHAT}), ("--row", "7"), "data.jsonl has 1 rows, from 0 on: there is no row 7"),
        (json.dumps({"messages": CHAT}), ("--column", "chat"), "it has no column 'chat'; its columns: 'messages'"),
        (json.dumps({"messages": CHAT}), ("--template", "no.jinja"), "cannot read the template no.jinja"),
        (
            json.dumps({"messages": CHAT}),
            ("--template", "{{ raise_exception('no system') }}"),
            "the chat template raised",
        ),
        (json.dumps({"messages": CHAT}), ("--loss", "generation"), "--loss generation cannot be determined"),
    ],
)
def test_broken_input_ends_in_one_line(tmp_path: Path, content: str, args: Sequence[str], said: str) -> None:
    (tmp_path / "data.jsonl").write_text(content, encoding="utf-8")
    done = chatspan("inspect", "data.jsonl", "-t", TOKENIZER, *args, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("chatspan: ")


def test_in_a_process_of_its_own_and_into_a_pipe_that_closes() -> None:
    process = started("inspect", TRACES, "-t", TOKENIZER, "--json")
    assert process.stdout is not None
    assert process.stdout.read(10) == '[{"title":'
    process.stdout.close()
    process.wait(timeout=60)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_a_wrong_tokenizer_or_file_ends_in_one_line(tmp_path: Path) -> None:
    for args, said in [
        (("inspect", TRACES, "-t", "./nowhere"), "there is no tokenizer in ./nowhere: no such folder"),
        (("inspect", TRACES, "-t", str(tmp_path)), "cannot load the tokenizer"),
        (("inspect", "./nowhere.jsonl", "-t", TOKENIZER), "there is no file ./nowhere.jsonl: check the path"),
    ]:
        done = chatspan(*args)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path, command: str) -> None:
    """As ``| head -1``."""
    data = tmp_path / "d.jsonl"
    data.write_text("\n".join(json.dumps({"messages": [*CHAT] * 300}) for _ in range(30)), encoding="utf-8")
    tokenizer = ("--tokenizer", str(EXAMPLES / "tokenizer")) if command == "inspect" else ()
    line = [sys.executable, "-m", "chatspan", command, str(data), *tokenizer]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPO) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0
        assert b"Traceback" not in process.stderr.read()
