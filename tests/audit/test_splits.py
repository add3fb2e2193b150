"""``chatspan audit --stability``: rows as sampled, as JSON, as text and on the page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import chatspan
import pytest
from audits import FORGETFUL, GOOD, Command, write_rows
from cases import assistant, system, user
from transformers import AutoTokenizer
from zoo import EXAMPLES

THINKS = [
    user("2 + 2?"),
    assistant("4", reasoning_content="Add."),
    user("3 + 3?"),
    assistant("6", reasoning_content="Add again."),
    user("Thanks."),
    assistant("Bye."),
]
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('\\x1b[31mno system') }}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
NO_ENDS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def length(text: str) -> int:
    return len(AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")(text, add_special_tokens=False)["input_ids"])


def said(role: str, text: str) -> str:
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


def told(report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = report["stability"]
    return found


def test_rows_split_where_reasoning_is_dropped_and_their_tokens_are_shown_again(audit: Command) -> None:
    report = audit.rows(THINKS, GOOD, THINKS, options=("--template", FORGETFUL, "--stability"))
    found = told(report)
    assert (found["rows"], found["rows_that_split"], found["sampled_rows"]) == (3, 2, 7)
    assert found["rows_by_sampled_rows"] == {"1": 1, "3": 2}
    assert (found["turns"], found["turns_off_prompt"], found["refused"]) == (7, {}, [])
    [cause] = found["causes"]
    assert (cause["cause"], cause["rows"], cause["splits"]) == ("reasoning_dropped", 2, 4)
    assert {key: cause["example"][key] for key in ("row", "message_index", "start_char")} == {
        "row": "data.jsonl:1",
        "message_index": 1,
        "start_char": len(said("user", "2 + 2?") + "<|im_start|>assistant\n"),
    }
    assert cause["example"]["shown"] == "<think>Add.</think>4<|im_end|>\n"
    # The second row shows the first question and its answer again, the third both.
    first = said("user", "2 + 2?") + said("assistant", "4")
    second = first + said("user", "3 + 3?") + said("assistant", "6")
    assert found["tokens_shown_again"] == 2 * (length(first) + length(second))
    opening, end = "<|im_start|>assistant\n", "<|im_end|>"
    rows = [
        said("user", "2 + 2?") + opening + "<think>Add.</think>4" + end,
        first + said("user", "3 + 3?") + opening + "<think>Add again.</think>6" + end,
        second + said("user", "Thanks.") + opening + "Bye." + end,
    ]
    good = said("user", "Hi") + opening + "Hello!" + end
    assert found["tokens"] == 2 * sum(map(length, rows)) + length(good)
    assert found["factor"] == round(found["tokens"] / (found["tokens"] - found["tokens_shown_again"]), 4)


def test_probes_stand_beside_the_rows(audit: Command) -> None:
    report = audit.rows(GOOD, options=("--template", FORGETFUL, "--stability"))
    verdicts = {event["event"]: event["verdict"] for event in told(report)["template"]["events"]}
    assert (verdicts["user turn"], verdicts["user turn after reasoning"]) == ("stable", "rewritten")
    assert report["problems"] == 0


def test_a_template_that_cannot_be_probed_leaves_the_rows(audit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(encoder: Any) -> None:
        raise chatspan.RenderMismatchError("the tokenizer's own render is another one")

    monkeypatch.setattr("chatspan.rollout.stability.run.stability", fails)
    report = audit.rows(THINKS, options=("--template", FORGETFUL, "--stability"))
    assert (told(report)["template"], told(report)["sampled_rows"]) == (None, 3)
    _, out, err = audit.run(audit.folder / "data.jsonl", "--template", FORGETFUL, "--stability")
    assert "--stability cannot determine what the template does: the tokenizer's own render is another one" in err
    assert "Rows as sampled: of 1 in all, 1 would split; they become 3." in out


def test_without_the_option_nothing_of_it_is_told(audit: Command) -> None:
    assert audit.rows(THINKS, options=("--template", FORGETFUL))["stability"] is None
    assert "as sampled" not in audit.run(audit.folder / "data.jsonl", "--template", FORGETFUL)[1]


def test_several_processes_tell_the_same(audit: Command) -> None:
    rows = [THINKS, GOOD, [user("Hi")]] * 50
    options = ("--template", FORGETFUL, "--stability")
    one, two = (audit.rows(*rows, options=(*options, "--processes", count)) for count in (1, 2))
    assert one == two
    assert told(one)["rows_that_split"] == 50


def test_rows_that_cannot_be_told(audit: Command) -> None:
    last = [user("Hi"), assistant("Hello!"), system("Be kind.")]
    template = NO_SYSTEM.replace("m.role == 'system'", "m.role == 'system' and messages | length == 1")
    rows = [[user("Hi")], GOOD, [system("Be kind."), assistant("Hello!"), user("Hi")], last]
    report = audit.rows(*rows, options=("--template", template, "--stability"))
    found = told(report)
    assert (found["rows"], found["turns_off_prompt"]) == (3, {"no_prompt": 1})
    [group] = found["refused"]
    assert (group["category"], group["severity"], group["rows"]) == ("rows whose form as sampled is unknown", "note", 1)
    assert group["what"].startswith("MessageError: the conversation has no assistant message")
    assert group["places"][0]["row"] == "data.jsonl:1"


def test_turns_without_an_end_of_their_own_are_told(audit: Command) -> None:
    two = [*GOOD, user("And?"), assistant("Bye.")]
    found = told(audit.rows(two, options=("--template", NO_ENDS, "--end-of-turn", "none", "--stability")))
    assert (found["rows"], found["sampled_rows"], found["turns"]) == (1, 1, 2)
    assert found["tokens_shown_again"] == 0


AT_60 = """\
stability ──────────────────────────────────────────────────
with the default keywords:
stable     user turn
rewritten  user turn after reasoning: reasoning_dropped
           the template drops the reasoning of earlier turns
           shown   '<think>Zr</think>Zc<|im_end|>'
           written
           'Zc<|im_end|>\\n<|im_start|>user\\nZn<|im_end'
stable     tool result
rewritten  tool result after reasoning: reasoning_dropped
           the template drops the reasoning of earlier turns
           shown   '<think>Zr</think><|im_end|>'
           written
           '<|im_end|>\\n<|im_start|>tool\\nZt<|im_end|>\\n'
"""
AT_80 = """\
Rows as sampled: of 2 in all, 1 would split; they become 4.
Tokens: 137, 48 of them shown again in a later row: 1.54 times those of rows
that do not split.
Turns: 4, 0 that no prompt leads to.

rows   splits   why, and where first
────────────────────────────────────────────────────────────────────
   1        2   reasoning_dropped  d.jsonl:1 message 1
                shown   '<think>Add.</think>4<|im_end|>\\n'
                written '4<|im_end|>\\n<|im_start|>user\\n3 + 3?<|im_'
"""


@pytest.mark.parametrize(("columns", "text"), [(60, AT_60), (80, AT_80)])
def test_the_report_on_a_terminal(audit: Command, columns: int, text: str) -> None:
    data = write_rows(audit.folder / "d.jsonl", THINKS, GOOD)
    _, out, _ = audit.run(data, "--template", FORGETFUL, "--stability", columns=columns)
    lines = [line.rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= columns
    assert text.strip() in "\n".join(lines), out


def test_no_terminal_obeys_the_data_or_the_template(audit: Command) -> None:
    evil = [user("a\x1b[31m"), assistant("b", reasoning_content="\x1b]0;x\x07"), user("c"), assistant("d")]
    _, out, _ = audit.run(write_rows(audit.folder / "d.jsonl", evil), "--template", FORGETFUL, "--stability")
    assert "'<think>\\x1b]0;x\\x07</think>b<|im_end|>" in out
    _, other, _ = audit.run(audit.folder / "d.jsonl", "--template", NO_SYSTEM, "--stability")
    assert "'\\x1b[31mno system'" in other
    # Rich's own codes are off, as it writes to no terminal.
    assert not {"\x1b", "\x07"} & {*out, *other}


def test_the_page(audit: Command) -> None:
    page = audit.folder / "out.html"
    evil = [user("a"), assistant("<img src=x>", reasoning_content="<b>"), user("c"), assistant("d")]
    audit.rows(evil, [user("Hi")], options=("--template", FORGETFUL, "--stability", "--html", page))
    html = page.read_text(encoding="utf-8")
    assert "<img" not in html
    found = texts_of(html)
    assert "What the template does with rollouts" in found
    assert "rewritten user turn after reasoning: reasoning_dropped the template drops the reasoning" in found
    assert "Rows as sampled: of 1 in all, 1 would split; they become 2." in found
    assert "1 1 reasoning_dropped <think><b></think><img src=x><|im_end|>⏎ <img src=x><|im_end|>⏎" in found
    assert "data.jsonl:1 message 1" in found
    assert "why it is unknown where first 1 MessageError: the conversation has no assistant message" in found


def texts_of(html: str) -> str:
    """The texts of a page one after the other; each tag that opens is closed."""
    texts: list[str] = []
    stack: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in ("meta", "br", "rect"):
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag != "rect":
                assert stack.pop() == tag

        def handle_data(self, data: str) -> None:
            texts.append(data)

    Reader().feed(html)
    assert stack == []
    return " ".join(" ".join(texts).split())


def test_json_is_one_line_that_no_terminal_obeys(audit: Command) -> None:
    write_rows(audit.folder / "d.jsonl", GOOD)
    _, out, _ = audit.run(audit.folder / "d.jsonl", "--template", NO_SYSTEM, "--stability", "--json")
    assert "\x1b" not in out
    events = {event["event"]: event for event in json.loads(out)["stability"]["template"]["events"]}
    assert events["system in the middle"]["words"] == "\x1b[31mno system"
