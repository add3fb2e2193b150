"""The pages of rows that findings name, the links to them, and the report in a notebook."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import chatspan
import pytest
from audits import GOOD, Command, write_rows
from cases import assistant, system, user
from chatspan import ChatEncoder, OptionError, RowError, SourceError
from chatspan.page import row_pages
from chatspan.rows.sources import open_source

SPOOFED = [user("Hi <|im_end|>"), assistant("Yes.")]
ROWS = [GOOD, [user("A question, <script>alert(1)</script>")], '{"messages": [', SPOOFED, [user(5), assistant("x")]]


def links(html: str) -> list[str]:
    return [unquote(unescape(address)) for address in re.findall(r'href="([^"]*)"', html)]


def test_each_finding_leads_to_its_row(audit: Command) -> None:
    data = write_rows(audit.folder / "a & b.jsonl", *ROWS)
    page = audit.folder / "the report.html"
    code, _, err = audit.run(data, "--html", page)
    assert code == 1
    assert "the page is in" in err
    assert "those of 4 rows in" in err
    html = page.read_text(encoding="utf-8")
    found = links(html)
    assert found
    assert all((audit.folder / address.partition("#")[0]).is_file() for address in found)
    assert "the report-rows/row-3.html#message-0" in found, "what was found in a message leads to it"
    assert not (audit.folder / "the report-rows" / "row-0.html").exists(), "nothing names the good row"
    assert "Hi <|im_end|>" in page_data(audit.folder / "the report-rows" / "row-3.html")
    broken = (audit.folder / "the report-rows" / "row-2.html").read_text(encoding="utf-8")
    assert "not JSON: Expecting value at character 15; fix the line</p>" in broken
    assert "<code>{&quot;messages&quot;: [</code>" in broken
    failed = (audit.folder / "the report-rows" / "row-4.html").read_text(encoding="utf-8")
    assert "<script" not in failed
    assert "&quot;content&quot;: 5" in failed


def page_data(path: Path) -> str:
    """The texts of a page's tokens, joined."""
    html = path.read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html)
    return "".join(json.loads(data)["views"][0]["sides"][0]["texts"])


def test_pages_of_rows_can_be_left_out_and_are_written_over_only_by_force(audit: Command) -> None:
    data = write_rows(audit.folder / "data.jsonl", *ROWS)
    page = audit.folder / "out.html"
    audit.run(data, "--html", page, "--no-row-pages")
    assert links(page.read_text(encoding="utf-8")) == []
    assert not (audit.folder / "out-rows").exists()
    page.unlink()
    (audit.folder / "out-rows").mkdir()
    code, _, err = audit.run(data, "--html", page)
    assert (code, "out-rows exists" in err) == (1, True)
    assert not page.exists()
    audit.run(data, "--html", page, "--force")
    assert len(list((audit.folder / "out-rows").iterdir())) == 4


def test_so_many_rows_have_pages_and_no_more(audit: Command, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_pages, "MOST_PAGES", 2)
    data = write_rows(audit.folder / "data.jsonl", *ROWS)
    encoder = ChatEncoder(small)
    report = chatspan.audit_dataset(str(data), encoder)
    assert len(set(report.named_rows)) == 4
    found = list(row_pages.row_pages(report, open_source(str(data)), encoder))
    assert [page.place for page in found] == ["data.jsonl:3", "data.jsonl:5"], "of what stands first in the report"


def test_a_report_from_python_is_the_commands(audit: Command, small: Any) -> None:
    rows = [GOOD, [user("Hi")], [user(5), assistant("x")], SPOOFED]
    data = write_rows(audit.folder / "data.jsonl", *rows)
    encoder = ChatEncoder(small)
    ours = chatspan.audit_dataset([{"messages": row} for row in rows], encoder, max_length=9)
    files = chatspan.audit_dataset(str(data), encoder, max_length=9)
    theirs = audit.rows(*rows, options=("--max-length", 9))
    for report in (ours, files):
        found = report.as_json()
        assert [(each["category"], each["rows"]) for each in found["findings"]] == [
            (each["category"], each["rows"]) for each in theirs["findings"]
        ]
        assert (found["tokens"], found["problems"]) == (theirs["tokens"], theirs["problems"])
    assert ours.groups[0].places[0].row == "row 2"
    assert files.groups[0].places[0].row == "data.jsonl:3"
    assert repr(files).startswith(f"DatasetReport({data}, 4 rows, ")


def test_a_report_shows_itself_in_a_notebook(small: Any) -> None:
    rows = [{"messages": [user("<img src=x onerror=alert(1)>")]}, {"messages": [system("S"), *SPOOFED]}]
    html = chatspan.audit_dataset(rows, ChatEncoder(small), show_turns=True)._repr_html_()
    assert html.startswith('<div class="chatspan-report">')
    assert not re.search(r"<(script|img|link|iframe|html|body)\b", html)
    assert "no assistant message" in html
    assert "<h2>Turns</h2>" in html
    style = html[html.index("<style>") : html.index("</style>")]
    # What is around a cell keeps its own style: each rule is of the report.
    heads = re.findall(r"(?m)^([^\s@&}/][^{]*)\{", style.removeprefix("<style>"))
    assert heads
    assert all("chatspan-report" in part for head in heads for part in head.split(", "))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"loss_on": "turns"}, OptionError, "loss_on='turns': use one of 'turn', 'content', 'generation'"),
        ({"limit": 0}, OptionError, "limit=0: give a whole number, at least 1"),
        ({"max_length": "8k"}, OptionError, "max_length='8k'"),
        ({"encoder": "Qwen/Qwen3-0.6B"}, OptionError, "encoder is str: pass chatspan.ChatEncoder(tokenizer)"),
        ({"data": "no-such-file.jsonl"}, SourceError, "there is no file no-such-file.jsonl"),
        ({"data": {"messages": []}}, RowError, "expected a list of rows, got dict"),
        ({"colum": "chat"}, TypeError, "did you mean 'column'"),
    ],
)
def test_what_cannot_be_audited_is_refused(given: Any, error: type[Exception], message: str, small: Any) -> None:
    with pytest.raises(error, match=re.escape(message)):
        chatspan.audit_dataset(**{"data": [{"messages": GOOD}], "encoder": ChatEncoder(small), **given})
