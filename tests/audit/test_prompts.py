"""``chatspan audit``: turns that no inference prompt leads to, tokens across the border, and ``--turns``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from audits import GOOD, Command, findings, write_rows
from cases import CHATML, assistant, system, user
from conversations import call, calls, schema, tool

_PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
_MESSAGE = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
# Prompts with an opening that it writes before the last turn only, as Qwen3.5 does.
THINKS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' and loop.last and enable_thinking is not defined %}{{ '<think>\\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is not defined %}{{ '<think>\\n' }}{% endif %}{% endif %}"
)
# Keeps the reasoning of what follows the last user's message, as Qwen3 does.
KEEPS_THE_LAST = (
    "{% set ns = namespace(user=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.user = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.reasoning_content and loop.index0 > ns.user %}"
    "{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    + _PROMPT
)
SYSTEM_FIRST = (
    "{% for m in messages if m.role == 'system' %}" + _MESSAGE + "{% endfor %}"
    "{% for m in messages if m.role != 'system' %}" + _MESSAGE + "{% endfor %}" + _PROMPT
)
MARKS_THE_LAST = (
    "{% for m in messages %}{{ '(now) ' if loop.last and m.role == 'user' }}" + _MESSAGE + "{% endfor %}" + _PROMPT
)

TWO_TURNS = [user("Hi"), assistant("Hello!"), user("And?"), assistant("Bye.")]
CAUSES: dict[str, tuple[str, list[dict[str, Any]], str, int, str]] = {
    "another_opening": (
        THINKS,
        TWO_TURNS,
        "the template writes the turn after a different opening than it prompts with",
        1,
        "prompt: <think>\n ¦ row: Hello!<|im_end|>\n<|im_start|>use…",
    ),
    "reasoning_dropped": (
        KEEPS_THE_LAST,
        [user("Hi"), assistant("I look.", reasoning_content="Where?"), tool("here"), *TWO_TURNS[1:]],
        "the row leaves out earlier reasoning that the prompt shows",
        3,
        "prompt: <think>Where?</think>I look.<|im… ¦ row: I look.<|im_end|>\n<|im_start|>to…",
    ),
    "system_moved": (
        SYSTEM_FIRST,
        [*TWO_TURNS[:2], system("Be kind."), *TWO_TURNS[2:]],
        "system text, tools or documents are not where the prompt shows them",
        1,
        "prompt: user\nHi<|im_end|>\n<|im_start|>as… ¦ row: system\nBe kind.<|im_end|>\n<|im_s…",
    ),
    "history_rewritten": (
        MARKS_THE_LAST,
        GOOD,
        "the row writes earlier messages differently than the prompt",
        1,
        "prompt: (now) <|im_start|>user\nHi<|im_en… ¦ row: <|im_start|>user\nHi<|im_end|>\n<|…",
    ),
    "no_prompt": (
        CHATML,
        [assistant("Welcome."), *TWO_TURNS],
        "the template renders no prompt for the turn",
        0,
        "row: <|im_start|>assistant\nWelcome.<|…",
    ),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_turns_that_no_prompt_leads_to_are_notes_by_cause_with_both_texts(audit: Command, cause: str) -> None:
    template, messages, meaning, index, quote = CAUSES[cause]
    report = audit.rows(TWO_TURNS[2:], messages, options=("--template", template))
    found = {key: each for key, each in findings(report).items() if "off their prompt" in key}
    assert f"note, turns off their prompt: {cause}: {meaning}" in found
    told = found[f"note, turns off their prompt: {cause}: {meaning}"]
    assert {"row": "data.jsonl:2", "message_index": index, "quote": quote} in told["places"]
    assert told["advice"].endswith('; off_prompt="drop_turn" of the collators does not train such turns')


def test_off_prompt_error_makes_them_problems(audit: Command) -> None:
    data = write_rows(audit.folder / "d.jsonl", TWO_TURNS, GOOD)
    code, out, _ = audit.run(data, "--template", THINKS)
    assert (code, "0 problems and 1 note" in out) == (0, True)
    shown = " ".join(out.split())
    assert (
        "note 1 turns off their prompt: another_opening: the template writes the turn after a different opening"
        in shown
    )
    assert "d.jsonl:1 message 1 “prompt: <think>⏎ ¦ row: Hello!<|im_end|>⏎<|im_start|>use…”" in shown
    code, out, _ = audit.run(data, "--template", THINKS, "--off-prompt", "error")
    assert (code, "1 problem and 0 notes" in out) == (1, True)
    # With the keywords of inference both are written alike.
    keywords = {"chat_template_kwargs": {"enable_thinking": False}}
    report = audit.rows({"messages": TWO_TURNS, **keywords}, options=("--template", THINKS, "--off-prompt", "error"))
    assert report["findings"] == []


def test_only_turns_that_may_be_trained_are_told(audit: Command) -> None:
    last = {"messages": TWO_TURNS, "loss_messages": [3]}
    completion = {"prompt": TWO_TURNS[:3], "completion": TWO_TURNS[3:]}
    report = audit.rows(last, completion, options=("--template", THINKS, "--turns"))
    assert "off their prompt" not in " ".join(findings(report))
    assert report["turns"]["off_prompt"] == {}


def test_a_token_across_the_border_of_prompt_and_turn(audit: Command) -> None:
    # Byte-level tokenizers join the blank with the first word.
    template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    rows = [[user("Hi"), assistant("to you"), user("So"), assistant("the train")], [user("Hi"), assistant("by it")]]
    report = audit.rows(*rows, options=("--template", template, "--turns"))
    what = "note, tokens across the border of prompt and turn: one token has the last characters of the prompt and the "
    found = findings(report)[what + "first of the turn"]
    assert (found["rows"], found["count"]) == (2, 3)
    assert [place["quote"] for place in found["places"]] == [
        "<|im_end|>assistant:⟦ ¦to⟧ you<|im_end|>user: ",
        "<|im_end|>assistant:⟦ ¦by⟧ it<|im_end|>",
    ]
    assert 'boundaries="as_prompted"' in found["advice"]
    assert (report["turns"]["border"], report["turns"]["turns"]) == (3, 3)


def test_turns_are_shown_as_prompt_opening_turn_and_stop(audit: Command) -> None:
    called = [user("Move it."), calls(call("rebook", {"train": "IC 900"})), tool("done"), assistant("It is moved.")]
    rows = (
        TWO_TURNS,
        [user("Why?"), assistant("Because.")],
        {"messages": called, "tools": [schema()]},
        {"messages": GOOD, "chat_template_kwargs": {"enable_thinking": False}},
    )
    data = write_rows(audit.folder / "d.jsonl", *rows)
    _, out, _ = audit.run(data, "--template", THINKS, "--turns")
    shown = " ".join(out[out.index("\nTurns ") :].split())
    assert "turns after prompt │ opening │ turn │ stop" in shown
    assert (
        "2 user on their prompt d.jsonl:1 message 3 "
        "…user⏎And?<|im_end|>⏎ │ <|im_start|>assistant⏎<think>⏎ │ Bye. │ <|im_end|> "
        "1 off their prompt: another_opening d.jsonl:1 message 1 "
        "…user⏎Hi<|im_end|>⏎ │ <|im_start|>assistant⏎ │ Hello! │ <|im_end|> "
        "the prompt has “<think>⏎”, the row “Hello!<|im_end|>⏎<|im_start|>use…”"
    ) in shown
    assert (
        "1 tool on their prompt d.jsonl:3 message 3 "
        "tools …tool⏎done<|im_end|>⏎ │ <|im_start|>assistant⏎<think>⏎ │ It is moved. │ <|im_end|>"
    ) in shown
    assert ("enable_thinking=False …user⏎Hi<|im_end|>⏎ │ <|im_start|>assistant⏎ │ Hello! │ <|im_end|>") in shown
    assert (
        "Turns: 6 in all, 4 on their prompt, 2 off it (another_opening 2); 0 with a token across the border, "
        "0 that cannot be located. In the loss: turn and stop; never the prompt and the opening."
    ) in shown
    # Without the option nothing of it is printed, and the findings are the same.
    assert "prompt │ opening" not in audit.run(data, "--template", THINKS)[1]


def test_turns_in_json_and_on_the_page(audit: Command) -> None:
    page = audit.folder / "out.html"
    evil = [user("<script>"), assistant("<img>"), user("a"), assistant("b")]
    report = audit.rows(evil, evil[:2], options=("--template", THINKS, "--turns", "--html", page))
    told = report["turns"]
    assert [told[key] for key in ("turns", "on_prompt", "border", "refused")] == [3, 2, 0, 0]
    assert told["off_prompt"] == {"another_opening": 1}
    on, off = told["forms"]
    assert (on["after"], on["opening"], on["stop"], on["off_prompt"]) == (
        "user",
        "<|im_start|>assistant\n<think>\n",
        "<|im_end|>",
        None,
    )
    assert (on["turns"], on["example"]["turn"], on["example"]["message_index"]) == (2, "b", 3)
    assert off["off_prompt"] == "another_opening"
    assert off["example"]["inference"] == "<think>\n"
    assert off["example"]["written"] == "<img><|im_end|>\n<|im_start|>user…"
    html = page.read_text(encoding="utf-8")
    assert "<h2>Turns</h2>" in html
    assert (
        "<code>&lt;|im_start|&gt;assistant⏎&lt;think&gt;⏎</code> │ <code>b</code> │ <code>&lt;|im_end|&gt;</code>"
        in html
    )
    assert "<img" not in html
    assert "Turns: 3 in all, 2 on their prompt, 1 off it (another_opening 1)" in html
    without = audit.rows(evil, options=("--template", THINKS, "--html", page, "--force"))
    assert without["turns"] is None
    assert "<h2>Turns</h2>" not in page.read_text(encoding="utf-8")


def test_turns_without_an_end_are_shown_with_the_reason(audit: Command) -> None:
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    report = audit.rows(TWO_TURNS, options=("--template", template, "--turns"))
    (form,) = report["turns"]["forms"]
    assert (report["turns"]["refused"], form["turns"]) == (2, 2)
    assert (form["refused"], form["stop"], form["off_prompt"]) == ("no end of the turn was found", None, None)
    assert form["example"]["turn"] == "Hello!"
    told = audit.rows(TWO_TURNS, options=("--template", template, "--turns", "--end-of-turn", "none"))["turns"]
    assert (told["refused"], told["turns"]) == (0, 2)


def test_several_processes_show_the_same_turns_and_rare_forms_do_not_fill_the_memory(audit: Command) -> None:
    rows = [{"messages": GOOD, "chat_template_kwargs": {"today": f"day {n}"}} for n in range(250)]
    options = ("--template", CHATML, "--turns")
    one, two = (audit.rows(*rows, options=(*options, "--processes", count)) for count in (1, 2))
    assert one == two
    assert one["turns"]["turns"] == 250
    assert len(one["turns"]["forms"]) == 201
    assert sum(form["turns"] for form in one["turns"]["forms"] if form["keywords"] == "(others)") == 50
    _, out, _ = audit.run(audit.folder / "data.jsonl", *options)
    assert "181 further forms, which --json lists" in " ".join(out.split())


def test_parts_of_a_content_that_nothing_tells_of_are_notes(audit: Command) -> None:
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.content is string %}{{ m.content }}"
        "{% else %}{% for p in m.content %}{{ p if p is string else p.text or p.value or (p | tojson) }}{% endfor %}"
        "{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}" + _PROMPT
    )
    known = ["a", {"type": "text", "text": "b"}, {"text": "c"}, {"type": "output_text", "text": "d"}]
    told = [{"type": "tool_result", "value": "e"}, {"type": "thinking", "text": "f"}]
    unknown = [{"type": "snippet", "value": "IC 900"}, {"type": "snippet", "place": {"x": "Bern", "y": "Thun"}}]
    report = audit.rows(
        [user([{"type": "odd", "value": "not trained"}]), assistant([*known, *told])],
        [user("q"), assistant([*known, *unknown])],
        [user("q"), assistant([{"value": "64 francs"}])],
        options=("--template", template),
    )
    found = {key: each for key, each in findings(report).items() if "content parts of" in key}
    assert found.keys() == {
        "note, content parts of unknown type: assistant: content[*] of type 'snippet'",
        "note, content parts of unknown type: assistant: content[*].value without a type",
    }
    snippet, untyped = (found[key] for key in sorted(found))
    assert snippet["places"] == [{"row": "data.jsonl:2", "message_index": 1, "quote": "IC 900"}]
    assert untyped["places"] == [{"row": "data.jsonl:3", "message_index": 1, "quote": "64 francs"}]
    assert snippet["advice"].startswith(
        "it counts as content, and is trained; if a tool wrote it, give the part a type"
    )


def test_results_of_tools_are_a_kind_of_their_own(audit: Command) -> None:
    messages = [user("Move it."), assistant("I do."), tool("done"), assistant("It is moved.")]
    _, out, _ = audit.run(write_rows(audit.folder / "d.jsonl", messages), "--template", CHATML)
    (line,) = [line.split() for line in out.splitlines() if line.startswith("tool_result")]
    # No token of users and assistants is one, and none is in the loss.
    assert line[:3] == ["tool_result", "·", "·"]
    assert (line[3] == line[4], line[5]) == (True, "·")
    assert json.loads(audit.run(audit.folder / "d.jsonl", "--json")[1])["tokens_by_role"]["tool"]["tool_result"][
        "tokens"
    ]
