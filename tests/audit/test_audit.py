"""``chatspan audit``: what it finds on small data sets, how it ends, and what it says of broken input."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import chatspan
import pytest
from audits import FORGETFUL, GOOD, TOKENIZER, Command, findings, write_rows
from cases import TEMPLATES, assistant, system, user
from chatspan.audit.failures import shape, unknown_turn
from chatspan.audit.run import audit as run_audit
from chatspan.audit.settings import AuditSettings
from chatspan.rows.sources import open_source
from conversations import call, calls, tool
from zoo import REPO, ZOO

END = "<|im_end|>"


def test_a_good_data_set_has_no_problems(audit: Command) -> None:
    report = audit.rows(GOOD, [system("Be kind."), user("Q"), assistant("A")])
    assert report["findings"] == []
    assert report["rows"] == 2
    kinds = report["tokens_by_role"]["assistant"]
    count = kinds["content"]["tokens"]
    assert kinds["content"] == {"tokens": count, "in_loss": count}
    assert 2 <= count <= len("Hello!A")
    assert kinds["end_of_turn"] == {"tokens": 2, "in_loss": 2}
    assert report["tokens_by_role"]["user"]["content"]["in_loss"] == 0
    assert report["tokens_in_loss"] == sum(kind["in_loss"] for kind in kinds.values())


def test_rows_that_raise_are_counted_by_kind_with_their_places_and_spoil_no_other(audit: Command) -> None:
    report = audit.rows(
        GOOD,
        '{"messages": [',
        {"text": "no conversation"},
        '{"messages": [}',
        '["a list"]',
        [user("Hi"), {"content": "no role"}],
        [user("Hi"), assistant("a lone \ud800")],
        GOOD,
    )
    found = findings(report)
    assert report["rows"] == 8
    assert report["rows_that_raise"] == 6
    broken = found["problem, rows that fail: RowError: not JSON: Expecting value at character …; fix the line"]
    assert [place["row"] for place in broken["places"]] == ["data.jsonl:2", "data.jsonl:4"]
    words = " ".join(found)
    assert "RowError: it has no conversation: expected a column 'messages'" in words
    assert "RowError: a row is a JSON object, not an array; fix the line" in words
    assert "RowError: message … has no 'role'; its keys: 'content'" in words
    assert "TextError: message … has a lone surrogate" in words
    assert all(each["advice"] for key, each in found.items() if "that raise" in key)
    # The two good rows were counted all the same.
    assert report["messages"] == {"user": 2, "assistant": 2}


def test_a_template_that_raises_on_some_rows_is_told_once_with_the_message(audit: Command) -> None:
    report = audit.rows(
        GOOD,
        [user("a"), user("b"), assistant("c")],
        [user("a"), assistant("b"), assistant("c")],
        options=("--template", TEMPLATES["alternating"]),
    )
    (key,) = [key for key in findings(report) if "rows that fail" in key]
    assert "TemplateError: the chat template raised at message …, line 1 of the template: " in key
    assert "roles must alternate" in key
    raised = findings(report)[key]
    assert raised["rows"] == 2
    assert [(place["row"], place["message_index"]) for place in raised["places"]] == [
        ("data.jsonl:2", 1),
        ("data.jsonl:3", 2),
    ]
    # What may be the reason is told of those rows too.
    assert "note, roles out of order: two user messages in a row" in findings(report)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("raised at message 4 (role 'tool'), line 9", "raised at message 12 (role 'user'), line 9"),
        ("message 3 (assistant), rendered as 'it\\'s\\n': no end", 'message 5 (assistant), rendered as "a\'b": no end'),
    ],
)
def test_messages_of_one_shape_are_one_kind(one: str, other: str) -> None:
    assert shape(one) == shape(other)


def test_messages_of_other_lines_of_the_template_are_another_kind() -> None:
    assert shape("raised at message 4, line 46 of the template") != shape(
        "raised at message 4, line 50 of the template"
    )


def test_dropped_fields_that_matter_are_problems_and_ids_are_notes(audit: Command) -> None:
    report = audit.rows(
        [user("q"), assistant("One.", reasoning_content="because it is"), user("q"), assistant("Two.")],
        [user("q"), calls(call("rebook", {"train": "IC 900"})), tool("done"), assistant("Yes.")],
        options=("--template", FORGETFUL),
    )
    found = findings(report)
    reasoning = found["problem, dropped fields: assistant: reasoning_content"]
    assert (reasoning["rows"], reasoning["characters_lost"]) == (1, len("because it is"))
    assert reasoning["places"] == [{"row": "data.jsonl:1", "message_index": 1, "quote": "because it is"}]
    assert (
        found["problem, dropped fields: assistant: tool_calls[*].function.arguments"]["places"][0]["quote"] == "IC 900"
    )
    assert "problem, dropped fields: assistant: tool_calls[*].function.name" in found
    ids = found["note, dropped fields: ids and names that the template does not write"]
    assert (ids["advice"], ids["details"]) == ("", ["assistant: tool_calls[*].id", "tool: name", "tool: tool_call_id"])


def test_control_tokens_in_text_are_quoted_with_their_message(audit: Command) -> None:
    report = audit.rows([user("Say <|im_end|> and <|im_start|>system"), assistant("No.")])
    found = findings(report)["problem, control tokens in text: user: <|im_end|>"]
    assert found["places"][0]["message_index"] == 0
    assert found["places"][0]["quote"].startswith("<|im_start|>user\nSay <|im_end|> and")
    assert "problem, control tokens in text: user: <|im_start|>" in findings(report)


def test_control_tokens_that_are_not_special_are_notes(audit: Command, small_copy: Any) -> None:
    small_copy.add_tokens(["<think>"])
    small_copy.save_pretrained(audit.folder / "tokenizer")
    data = write_rows(audit.folder / "d.jsonl", [user("Hi"), assistant("<think>So.</think>Hello!")])
    _, out, _ = audit.run(data, "--json", "--template", FORGETFUL, tokenizer=str(audit.folder / "tokenizer"))
    assert "note, control tokens in text: assistant: <think>" in findings(json.loads(out))


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (["user", "system", "assistant"], "problem: a system message that is not first at 1"),
        (["system", "developer", "user", "assistant"], ""),
        (["user", "user", "assistant"], "note: two user messages in a row at 1"),
        (["user", "assistant", "assistant"], "note: two assistant messages in a row at 2"),
        (["user", "tool", "assistant"], "problem: a tool result without an assistant message before it at 1"),
        (["user", "assistant", "tool", "tool", "assistant"], "note: a tool result after an assistant message without "
         "tool_calls at 2"),
        (["assistant", "user", "assistant"], "note: an assistant message before any user message at 0"),
        (["user", "assistant", "user"], "note: the last message is not an assistant’s at 2"),
        (["user", "robot", "assistant"], "note: an unknown role, 'robot' at 1"),
    ],
)  # fmt: skip
def test_roles_out_of_order(audit: Command, roles: list[str], expected: str) -> None:
    report = audit.rows([{"role": role, "content": f"text {i}"} for i, role in enumerate(roles)])
    told = [
        f"{each['severity']}: {each['what']} at {each['places'][0]['message_index']}"
        for each in report["findings"]
        if each["category"] == "roles out of order"
    ]
    assert told == ([expected] if expected else [])


def test_rows_with_nothing_to_train_on(audit: Command) -> None:
    found = findings(audit.rows(GOOD, [user("Hi")], [user("Hi"), user("Hello?")]))
    empty = found["problem, nothing to train on: no assistant message"]
    assert [place["row"] for place in empty["places"]] == ["data.jsonl:2", "data.jsonl:3"]


def test_turns_that_cannot_be_told_are_counted_on_their_own(audit: Command) -> None:
    # Nothing ends a message.
    template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}{% endfor %}"
    found = findings(audit.rows(GOOD, [user("Hi"), assistant("Yo")], options=("--template", template)))
    (key,) = [key for key in found if "turns that cannot be located" in key]
    assert found[key]["rows"] == 2
    assert key == "problem, turns that cannot be located: no end of the turn was found"
    assert found[key]["advice"] == (
        "--end-of-turn next_header also trains the control token that opens the next message, as the stop token; "
        "--end-of-turn none and --loss content train no end"
    )
    assert "problem, rows that fail" not in " ".join(found)


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (
            "its opening is unknown: the template refuses the prompt before it",
            "put a user's message before it, leave the turn out with loss_messages, or use --loss content",
        ),
        (
            "the template writes it in several places, or another message's text into it",
            "use --loss content, which needs no turns",
        ),
        (
            "what follows, 'And?', does not begin with a control token",
            "use --end-of-turn token or none, or --loss content",
        ),
    ],
)
def test_advice_on_turns_fits_the_reason(reason: str, advice: str) -> None:
    end = '; what="content" needs no turns'
    error = chatspan.TurnBoundaryError(
        f"message 3 (assistant), rendered as 'it\\'s: so': {reason}{end}", message_index=3
    )
    found = unknown_turn(error)
    assert (found.what, found.advice, found.message_index) == (reason, advice, 3)


def test_what_a_cut_would_lose(audit: Command) -> None:
    long = [user("a" * 60), assistant("b" * 30), user("c"), assistant("d" * 20)]
    report = audit.rows(GOOD, long, options=("--max-length", 70))
    assert findings(report)["problem, rows over --max-length: more than 70 tokens"]["rows"] == 1
    left, right = report["cuts"]["left"], report["cuts"]["right"]
    count = report["lengths"]["max"]
    assert left["tokens"] == right["tokens"] == count - 70
    # On the left only a part of the question goes; on the right the last turn and the question before it.
    assert (left["rows"], left["trained"], left["messages"], left["last_turns"], left["untrained"]) == (1, 0, 0, 0, 0)
    assert (right["rows"], right["messages"], right["last_turns"], right["untrained"]) == (1, 2, 1, 0)
    assert right["trained"] >= len("d" * 20) // 2
    assert report["lengths"]["min"] < 70 < count


def test_ends_of_turns(audit: Command, small_copy: Any) -> None:
    ends = audit.rows(GOOD)["ends_of_turns"]
    assert ends == [{"text": END, "trained": True, "stops": True, "turns": 1}]
    untrained = audit.rows(GOOD, options=("--loss", "content"))
    assert findings(untrained).keys() == {f"note, ends of turns: {END} is not in the loss"}
    small_copy.eos_token = "<|endoftext|>"
    small_copy.save_pretrained(audit.folder / "tokenizer")
    data = write_rows(audit.folder / "d.jsonl", GOOD)
    code, out, _ = audit.run(data, "--json", tokenizer=str(audit.folder / "tokenizer"))
    assert code == 1
    what = f"problem, ends of turns: {END} is in the loss, but is not an end-of-sequence token"
    assert findings(json.loads(out)).keys() == {what}
    # A model's generation config may say that generation stops there too.
    config = {"eos_token_id": [small_copy.convert_tokens_to_ids(END)]}
    (audit.folder / "tokenizer" / "generation_config.json").write_text(json.dumps(config), encoding="utf-8")
    code, out, _ = audit.run(data, "--json", tokenizer=str(audit.folder / "tokenizer"))
    assert (code, json.loads(out)["findings"]) == (0, [])


def test_rows_that_repeat_another(audit: Command) -> None:
    found = findings(audit.rows(GOOD, [user("Other"), assistant("row")], GOOD, {"tools": [], "messages": GOOD}))
    again = found["note, duplicate rows: the same messages as an earlier row"]
    assert [(place["row"], place["quote"]) for place in again["places"]] == [
        ("data.jsonl:3", "as data.jsonl:1"),
        ("data.jsonl:4", "as data.jsonl:1"),
    ]


def test_several_processes_find_the_same(audit: Command) -> None:
    rows = [[user("q" * n), assistant("a" * (n % 7 + 1))] for n in range(150)]
    rows[70] = [user("no answer")]
    one = audit.rows(*rows, "{", options=("--max-length", 100))
    two = audit.rows(*rows, "{", options=("--max-length", 100, "--processes", 2))
    assert one == two
    assert one["rows"] == 151
    limited = audit.rows(*rows, "{", options=("--limit", 70))
    assert (limited["rows"], limited["problems"]) == (70, 0)


def test_the_printed_report_reads(audit: Command) -> None:
    data = write_rows(
        audit.folder / "d.jsonl",
        GOOD,
        "{",
        [user("\x1b[31mred"), user("a <|im_end|>"), assistant("b")],
    )
    code, out, _ = audit.run(data)
    assert code == 1
    # A long path of the folder breaks the line.
    assert "d.jsonl: 3 rows, 1 failed" in " ".join(out.split())
    assert "2 problems and 1 note, by kind" in out
    assert re.search(r"problem +1 +rows that fail: RowError: not JSON", out)
    assert re.search(r"problem +1 +control tokens in text: user: <\|im_end\|>", out)
    assert "d.jsonl:3 message 1" in out
    assert "\x1b[31m" not in out
    assert re.search(r"^kind +user +assistant +all +in the loss", out, re.MULTILINE)
    assert "2 turns of assistants end in <|im_end|>: in the loss, an end-of-sequence token." in out


def test_the_page_holds_nothing_from_elsewhere_and_escapes_text(audit: Command) -> None:
    evil = "<script>alert(1)</script><img onerror=alert(1)>"
    data = write_rows(
        audit.folder / "d.jsonl", GOOD, [user(evil + "<|im_end|>"), user(evil), assistant("b")], [{"role": evil}]
    )
    page = audit.folder / "out.html"
    code, _, err = audit.run(data, "--html", page, "--against", "hf,prefix-delta", "--max-length", 20)
    assert code == 1
    assert f"the page is in {page}" in err
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    addresses = re.findall(r"\bhref\s*=\s*(\S*?)>", html)
    assert addresses
    assert all(re.fullmatch(r'"out-rows/row-[0-9]+\.html(#message-[0-9]+)?"', address) for address in addresses)
    assert not re.search(r"\b(?:src|srcset|action)\s*=|url\(|@import|https?:", html)
    assert """content="default-src 'none'; style-src 'unsafe-inline';""" in html
    assert html.count("<svg") == 2
    assert re.search(r"<title>[0-9]+ to [0-9]+ tokens: 1 rows</title>", html)
    assert "Against prefix-delta" in html
    # A page that exists is not replaced unless asked.
    code, out, err = audit.run(data, "--html", page)
    assert (code, out) == (1, "")
    assert err.splitlines() == [f"chatspan: {page} exists: use another file, or overwrite it with --force"]
    code, _, _ = audit.run(data, "--html", page, "--force", "--limit", 1)
    assert code == 0
    assert "&lt;script&gt;" not in page.read_text(encoding="utf-8")


def test_broken_input_is_a_line_that_says_what_to_do(audit: Command, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", GOOD)
    (empty := tmp_path / "empty.jsonl").write_text("", encoding="utf-8")

    def line(*arguments: object, tokenizer: str = TOKENIZER) -> str:
        code, out, err = audit.run(*arguments, tokenizer=tokenizer)
        assert (code, out) == (1, "")
        (told,) = [line for line in err.splitlines() if not line.endswith("…")]
        return told.removeprefix("chatspan: ")

    assert line(empty) == f"{empty} is empty: use a file with one JSON object per line, or a Parquet file"
    (blank := tmp_path / "blank.jsonl").write_text("\n \n", encoding="utf-8")
    assert line(blank) == f"{blank} contains no rows: use a file with one JSON object per line, or a Parquet file"
    assert line(tmp_path / "none.jsonl") == f"there is no file {tmp_path / 'none.jsonl'}: check the path"
    assert "no such folder; name a folder or a model on the hub" in line(data, tokenizer=str(tmp_path / "no"))
    assert "cannot read the template none.jinja" in line(data, "--template", "none.jinja")
    known = "hf, trl, renderers, axolotl-style, verl-style, prefix-delta or all"
    assert f"--against verl: unknown name; use {known}" in line(data, "--against", "hf,verl")
    assert "there is no folder" in line(data, "--html", tmp_path / "no" / "out.html")
    assert "is a folder: name a file" in line(data, "--html", tmp_path)
    assert "has no {% generation %} blocks" in line(data, "--loss", "generation")
    # A column that no row has is told of the rows, which are all counted.
    code, out, _ = audit.run(data, "--column", "chat", "--json")
    (found,) = json.loads(out)["findings"]
    assert (code, found["what"]) == (1, "RowError: it has no column 'chat'; its columns: 'messages'")


def test_ctrl_c_prints_what_there_is(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", *([GOOD] * 120_000))
    command = [sys.executable, "-m", "chatspan", "audit", str(data), "-t", TOKENIZER, "--json"]
    python = str(Path(chatspan.__file__).parents[1])
    environment = {"PYTHONPATH": python, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=REPO
    ) as process:
        # Behind the imports; where it is not there yet, the report is of no rows.
        time.sleep(6)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode == 130, err
    if out:
        report = json.loads(out)
        assert report["partial"].startswith("stopped: the report covers only the first ")
        assert report["rows"] < 120_000
        assert report["partial"] in err


def test_memory_does_not_grow_with_the_places_of_findings(small: Any, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", *([[user("<|im_end|>")]] * 300))
    totals = run_audit(open_source(str(data)), chatspan.ChatEncoder(small), AuditSettings())
    assert totals.rows == 300
    assert {len(group.places) for group in totals.groups} == {5}
    assert totals.digests == []


@pytest.mark.parametrize("name", ["tau_airline_sdpo", "tau_airline_messages"])
@pytest.mark.parametrize("tokenizer", ["qwen3", "llama3_2"])
def test_the_real_conversations(audit: Command, zoo_tokenizer: Any, name: str, tokenizer: str) -> None:
    data = ZOO / "traces" / f"{name}.jsonl"
    as_given = ("--tool-arguments", "as_given", "--null-content", "as_given")
    _, out, _ = audit.run(data, "--json", *as_given, tokenizer=str(ZOO / "tokenizers" / tokenizer))
    report = json.loads(out)
    found = findings(report)
    assert report["rows"] == 200
    problems = {key for key in found if key.startswith("problem")}
    if name == "tau_airline_sdpo":
        assert problems == set()
        assert report["messages"]["assistant"] == 2454
    elif tokenizer == "llama3_2":
        # Llama-3.2's template writes a call and leaves out the words beside it; a text for arguments it quotes.
        assert problems == {
            "problem, dropped fields: assistant: content beside calls",
            "problem, double-encoded JSON: assistant: tool_calls[*].function.arguments",
        }
        dumped = found["problem, double-encoded JSON: assistant: tool_calls[*].function.arguments"]
        assert (dumped["rows"], dumped["count"]) == (182, 1164)
        assert dumped["places"][0]["quote"] == '"{\\"user_id\\":\\"mia_li_3668\\"}"'
    else:
        # Messages with calls have a content of null, which transformers leaves out before the template runs.
        assert all("TemplateError" in key and "has no attribute 'content'" in key for key in problems)
        advice = {found[key]["advice"] for key in problems}
        cure = 'null_content="empty" (--null-content empty) makes it an empty string'
        assert advice == {f"messages lack a content, or it is null: {cure}"}
        # Two lines of the template ask for it.
        assert sorted(found[key]["rows"] for key in problems) == [5, 166]
        assert report["rows_that_raise"] == 171
    assert all(end["trained"] and end["stops"] for end in report["ends_of_turns"])


@pytest.mark.parametrize("tokenizer", ["qwen2_5", "qwen3", "llama3_2"])
def test_the_real_conversations_are_read_as_the_template_takes_them(
    audit: Command, zoo_tokenizer: Any, tokenizer: str
) -> None:
    data = ZOO / "traces" / "tau_airline_messages.jsonl"
    code, out, _ = audit.run(data, "--json", tokenizer=str(ZOO / "tokenizers" / tokenizer))
    report = json.loads(out)
    found = findings(report)
    dropped = {"problem, dropped fields: assistant: content beside calls"} if tokenizer == "llama3_2" else set()
    assert {key for key in found if key.startswith("problem")} == dropped
    assert (report["rows_that_raise"], code) == (0, int(bool(dropped)))
    told = {each["what"]: each["rows"] for each in report["findings"] if "reader changed" in each["category"]}
    emptied = {"a null content beside calls is read as an empty text": 171} if tokenizer == "qwen3" else {}
    assert told == {"a call's arguments are JSON text and are read as an object": 182, **emptied}
