"""``chatspan audit``: faults of rows as people have them, with the words that a person reads and what cures each."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import chatspan
import pytest
from audits import FORGETFUL, GOOD, Command, findings
from cases import CHATML, assistant, user
from chatspan.audit.checks.calls import empty_calls
from chatspan.audit.checks.dropped import dropped_fields
from chatspan.audit.checks.dumps import double_encoded, repr_findings
from chatspan.audit.checks.flags import ignored_flags, ignored_keywords
from chatspan.audit.checks.notes import reader_notes
from chatspan.audit.findings import Finding
from chatspan.encoding import Encoding
from chatspan.render.renderer import ChatRenderer
from chatspan.rows.conversations import Chat
from chatspan.rows.notes import Note
from conversations import CONVERSATIONS, FIREFUNCTION, SPECIAL_TOKENS, call, calls, schema, tool
from zoo import TEMPLATES, ZOO, require_zoo

# ChatML that writes calls, each in the way that stands for `CALL`, and reads one keyword and one flag.
CALLS = (
    "{{ style if style }}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\\n' }}{{ m.content if m.content else '' }}"
    "{% for c in m.tool_calls or [] %}CALL{% endfor %}{{ ' (more)' if m.prefix }}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# What the core lacks, so that traced Jinja2 renders.
JINJA2_ONLY = "{% for x in [] recursive %}{% endfor %}"
TEXT = '{"city": "Bern"}'
ASKED = [user("q"), calls(call("weather", TEXT)), tool("ok"), assistant("Done.")]


def encoded(small: Any, messages: list[dict[str, Any]], template: str, **kwargs: Any) -> Encoding:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return chatspan.ChatEncoder(small, chat_template=template).encode(messages, **kwargs)


def told(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(each.severity, each.what, each.quote) for each in found]


@pytest.mark.parametrize("engine", ["native", "jinja2"])
@pytest.mark.parametrize(
    ("way", "text", "expected"),
    [
        ("{{ c.function | tojson }}", TEXT, ['"{\\"city\\": \\"Bern\\"}"']),
        ("{{ {'arguments': c.function.arguments} | tojson }}", TEXT, ['"{\\"city\\": \\"Bern\\"}"']),
        ("{{ c.function.arguments | tojson }}", '{"city": "Zürich"}', ['"{\\"city\\": \\"Zürich\\"}"']),
        # Nothing in it is escaped, and it is a string all the same.
        ("{{ c.function | tojson }}", "{}", ['"{}"']),
        # A copy is what the model has to write.
        ("{{ c.function.arguments }}", TEXT, []),
        ("{{ '{\"name\": \"' + c.function.name + '\", \"arguments\": ' + c.function.arguments + '}' }}", TEXT, []),
        # Text that is no object.
        ("{{ c.function | tojson }}", "Bern, please", []),
        ("{{ c.function | tojson }}", "{not JSON}", []),
        # An object, of whose texts one may be JSON, as the function takes it.
        ("{{ c.function | tojson }}", {"body": TEXT}, []),
    ],
)
def test_arguments_that_are_json_text_inside_a_json_string(
    small: Any, engine: str, way: str, text: Any, expected: list[str]
) -> None:
    template = CALLS.replace("CALL", way) + (JINJA2_ONLY if engine == "jinja2" else "")
    encoding = encoded(small, [user("q"), calls(call("weather", text)), assistant("a")], template)
    what = "assistant: tool_calls[*].function.arguments"
    found = list(double_encoded(encoding))
    assert told(found) == [("problem", what, quote) for quote in expected]
    assert all('tool_arguments="parse" (--tool-arguments parse)' in each.advice for each in found)


def test_other_texts_that_are_json_inside_a_json_string(small: Any) -> None:
    template = CALLS.replace("CALL", "") + "{{ tools | tojson }}"
    template = template.replace("m.content if", "{'output': m.content} | tojson if m.role == 'tool' else m.content if")
    messages = [user(TEXT), tool('{"ok": true}'), assistant(TEXT)]
    found = list(double_encoded(encoded(small, messages, template, tools=[schema()])))
    assert told(found) == [("note", "tool: content", '"{\\"ok\\": true}"')]
    # A default that a schema describes is no tool.
    described = schema()
    described["function"]["parameters"]["properties"]["train"]["default"] = "{}"
    assert [each.what for each in double_encoded(encoded(small, messages, template, tools=[described]))] == [
        "tool: content"
    ]
    textual = {"type": "function", "function": {"name": "f", "parameters": '{"type": "object"}'}}
    (_, problem) = double_encoded(encoded(small, messages, template, tools=[textual]))
    assert (problem.severity, problem.what) == ("problem", "row: tools[*].function.parameters")
    assert problem.advice == "pass tools as objects, not as JSON text"


@pytest.mark.parametrize("engine", ["native", "jinja2"])
def test_containers_that_are_printed_as_python_does(small: Any, engine: str) -> None:
    template = CALLS.replace("CALL", "{{ c.function.arguments }}") + (JINJA2_ONLY if engine == "jinja2" else "")
    parts = [{"type": "text", "text": "It's"}, {"type": "text", "text": "me"}]
    messages = [user(parts), calls(call("f", {"city": "Bern", "now": True})), tool({"degrees": None}), assistant("a")]
    found = list(repr_findings(encoded(small, messages, template)))
    assert told(found) == [
        ("problem", "user: content", "[{'type': 'text', 'text': \"It's\"}, {'type': 'text', 'text': 'me'}]"),
        ("problem", "assistant: tool_calls[*].function.arguments", "{'city': 'Bern', 'now': True}"),
        ("problem", "tool: content", "{'degrees': None}"),
    ]
    cures = ("--text-parts join", "--tool-arguments as_given", "json.dumps")
    assert all(cure in each.advice for cure, each in zip(cures, found, strict=True))


@pytest.mark.parametrize(
    ("way", "arguments", "expected"),
    [
        ("{{ c.function | tojson }}", {"city": "Bern", "via": ["Köln"], "seats": 2}, []),
        ("{{ c.function.arguments | tojson(indent=2) }}", {"city": "Bern"}, []),
        # The same in both notations.
        ("{{ c.function.arguments }}", {}, []),
        ("{{ c.function.arguments.seats }}", {"seats": [1, 2]}, []),
        ("{{ c.function.arguments.seats | tojson }}", {"seats": 2}, []),
        # The template's way with values; the row cannot help it.
        ("{{ c.function.arguments.seats }}", {"seats": ["1A"]}, ["note"]),
        ("{{ c.function.arguments.seats }}", {"seats": [True]}, ["note"]),
        ("{{ c }}", {"seats": 1}, ["problem"]),
        ("{{ m }}", {"seats": 1}, ["problem"]),
    ],
)
def test_what_is_printed_as_python_does_is_told_from_json(
    small: Any, way: str, arguments: dict[str, Any], expected: list[str]
) -> None:
    messages = [user("q"), calls(call("f", arguments)), assistant("a")]
    found = list(repr_findings(encoded(small, messages, CALLS.replace("CALL", way))))
    assert [each.severity for each in found] == expected


def test_dropped_text_is_a_problem_and_what_no_template_prints_one_note(audit: Command) -> None:
    details = [{"type": "reasoning.text", "text": "I look.", "format": "v1", "index": 0, "signature": "aGVsbG8="}]
    about = {"annotator": "Jane Doe of ours"}
    report = audit.rows(
        [user("q"), assistant("a", reasoning_details=details, metadata=about, finish_reason="stop")],
        [user("q"), calls(call("f", {"user_id": "mia"})), tool("ok"), assistant("a", created_at="Mon, 15 May 2024")],
        [user("q"), assistant("a", tool_responses=[{"name": "f", "response": {"degrees": "hot"}}])],
        options=("--template", CHATML),
    )
    found = findings(report)
    dropped = {key: each for key, each in found.items() if "dropped fields" in key}
    assert [key for key in dropped if key.startswith("problem")] == [
        "problem, dropped fields: assistant: reasoning_details[*].text",
        "problem, dropped fields: assistant: tool_calls[*].function.arguments",
        "problem, dropped fields: assistant: tool_calls[*].function.name",
        "problem, dropped fields: assistant: tool_responses[*].response.degrees",
    ]
    note = dropped["note, dropped fields: ids and names that the template does not write"]
    assert (note["rows"], note["count"]) == (3, 9)
    assert note["details"] == [
        "assistant: created_at",
        "assistant: finish_reason",
        "assistant: metadata.annotator",
        "assistant: reasoning_details[*].format",
        "assistant: reasoning_details[*].signature",
        "assistant: tool_calls[*].id",
        "assistant: tool_responses[*].name",
        "tool: name",
        "tool: tool_call_id",
    ]
    reasoning = dropped["problem, dropped fields: assistant: reasoning_details[*].text"]
    assert reasoning["places"][0]["quote"] == "I look."
    assert reasoning["advice"] == (
        "the model never sees this text: move it to 'reasoning_content' if the template writes that, or use a "
        "template that writes it"
    )


@pytest.mark.parametrize(
    ("template", "message", "what", "advice"),
    [
        (FORGETFUL, assistant("a", reasoning_content="So."), "assistant: reasoning_content", "a row of its own"),
        (
            CHATML,
            assistant("a", reasoning_content="So."),
            "assistant: reasoning_content",
            "this text: use a template that writes it",
        ),
        (
            CHATML.replace("m.content", "m.content.split('</think>')[-1]"),
            assistant("<think>So.</think>a"),
            "assistant: content (reasoning)",
            "a row of its own",
        ),
        (
            CHATML.replace("m.content", "(m.content if not m.tool_calls else '')"),
            calls(content="I look."),
            None,
            "",
        ),
        (
            CHATML.replace("m.content", "(m.content if not m.tool_calls else m.tool_calls | tojson)"),
            calls(call("f", {}), content="I look."),
            "assistant: content beside calls",
            "put it into a message before the calls",
        ),
        # The template takes the tags away, and what stands in them it writes.
        (
            CHATML.replace("m.content", "m.content | replace('<think>', '') | replace('</think>', '')"),
            assistant("<think>So.</think>a"),
            None,
            "",
        ),
    ],
)
def test_advice_on_dropped_text_fits_the_field(
    small: Any, template: str, message: dict[str, Any], what: str | None, advice: str
) -> None:
    messages = [user("q"), message, user("q"), assistant("b")]
    read = ChatRenderer(small, chat_template=template).template(None)
    problems = [
        each
        for each in dropped_fields(encoded(small, messages, template), messages, {}, read)
        if each.severity == "problem"
    ]
    assert [each.what for each in problems] == ([] if what is None else [what])
    assert all(advice in each.advice for each in problems)


def test_tools_and_documents_that_the_template_does_not_read(audit: Command) -> None:
    template = CHATML + "{{ xml_tools }}"
    row = {"messages": GOOD, "tools": [schema()], "documents": [{"text": "About me."}]}
    found = findings(audit.rows(row, {"messages": GOOD, "tools": []}, options=("--template", template)))
    assert found.keys() == {"problem, dropped fields: row: tools", "problem, dropped fields: row: documents"}
    tools = found["problem, dropped fields: row: tools"]
    assert tools["advice"] == ("the model never sees them: use a template that reads 'tools'; this one reads xml_tools")
    assert tools["rows"] == 1


def test_calls_with_nothing_in_them(audit: Command) -> None:
    nameless = {"type": "function", "function": {"name": "", "arguments": "{}"}}
    legacy = assistant("", function_call={"name": None, "arguments": "{}"})
    messages = [user("q"), calls(call("f", ""), nameless), assistant("a", tool_calls=[])]
    told_of = [(each.what, each.message_index) for each in empty_calls([*messages, legacy, calls({"id": "x"}, "no")])]  # type: ignore[arg-type]
    assert told_of == [
        ("assistant: a call whose arguments are an empty text", 1),
        ("assistant: a call without a name", 1),
        ("assistant: tool_calls is an empty list", 2),
        ("assistant: a call without a name", 3),
        ("assistant: a call without a name", 4),
        ("assistant: a call that is not an object", 4),
    ]
    good = [user("q"), calls(call("f", {}), call("g", "{}")), {"role": "tool", "content": "", "tool_calls": None}]
    assert list(empty_calls([*good, assistant("a", function_call=None)])) == []
    rows = ([user("q"), calls(call("f", "")), tool("ok"), assistant("a")],)
    assert not any("empty calls" in key for key in findings(audit.rows(*rows)))
    found = findings(audit.rows(*rows, options=("--tool-arguments", "as_given")))
    call_found = found["problem, empty calls: assistant: a call whose arguments are an empty text"]
    assert call_found["advice"].startswith("use {} if a call has no arguments")


def test_keywords_that_the_template_does_not_read(audit: Command) -> None:
    def row(**kwargs: Any) -> dict[str, Any]:
        return {"messages": GOOD, "chat_template_kwargs": kwargs}

    rows = (row(enable_thinking=False), row(style="brief"), row())
    report = audit.rows(*rows, options=("--template", CALLS.replace("CALL", "")))
    (key,) = findings(report)
    assert key == "problem, flags without effect: the template does not read the keyword 'enable_thinking'"
    found = findings(report)[key]
    assert (found["advice"], found["rows"]) == ("the keywords that it reads: style", 1)
    assert found["places"] == [{"row": "data.jsonl:1", "message_index": None, "quote": "enable_thinking=False"}]
    found = findings(audit.rows(*rows, options=("--template", CHATML)))
    assert {each["advice"] for each in found.values()} == {"it reads no keywords: remove it"}


def test_flags_of_messages_that_nothing_reads(small: Any) -> None:
    template = CALLS.replace("CALL", "")
    messages = [
        {**user("q"), "masked": True, "turn": 3},
        # These the reader of rows takes, and the template.
        assistant("a", weight=0, train=False, prefix=True),
        {**tool("ok"), "is_error": False},
        assistant("b", trainable=False, loss_weight=0.5, text_length=3),
    ]
    read = ChatRenderer(small, chat_template=template).template(None)
    found = list(ignored_flags(messages, encoded(small, messages, template), read))
    assert told(found) == [
        ("problem", "user: masked, which neither chatspan nor the template reads", "masked: True"),
        ("note", "tool: is_error, which neither chatspan nor the template reads", "is_error: False"),
        ("problem", "assistant: trainable, which neither chatspan nor the template reads", "trainable: False"),
        ("problem", "assistant: loss_weight, which neither chatspan nor the template reads", "loss_weight: 0.5"),
    ]
    assert found[0].advice == (
        "it has no effect: 'weight': 0 on the message, or 'loss_messages' of the row, takes messages out of the loss"
    )
    parts = [{"type": "text", "text": "Hm.", "train": False}, {"type": "text", "text": "4.", "cached": True}]
    detail = [{"begin_offset": 0, "end_offset": 1, "train": False}]
    messages = [user("q"), assistant("4.", train_detail=detail), {"role": "assistant", "content": parts}]
    joins = "{% for m in messages %}{{ m.content if m.content is string else m.content[0].text }}{% endfor %}"
    read = ChatRenderer(small, chat_template=joins).template(None)
    assert told(ignored_flags(messages, encoded(small, messages, joins), read)) == [
        ("problem", "assistant: train_detail[*].train, which neither chatspan nor the template reads", "train: False"),
        ("problem", "assistant: content[*].train, which neither chatspan nor the template reads", "train: False"),
    ]
    # A template that prints whole messages prints their flags.
    messages = [{**user("q"), "masked": True}]
    whole = "{% for m in messages %}{{ m | tojson }}{% endfor %}"
    assert list(ignored_flags(messages, encoded(small, messages, whole), read)) == []


def test_what_the_reader_changed_is_a_note() -> None:
    chat = Chat(GOOD)
    assert list(reader_notes(chat)) == []
    note = Note("parsed", "arguments were JSON text and are read as an object", "message 3, tool_calls[0]", 3)
    object.__setattr__(chat, "notes", [note])
    (found,) = reader_notes(chat)
    assert (found.category, found.severity) == ("rows that the reader changed", "note")
    assert (found.what, found.quote, found.message_index) == (note.message, "tool_calls[0]", 3)


def test_the_printed_report_lists_ids_once(audit: Command) -> None:
    report = audit.rows(ASKED, ASKED, options=("--template", CHATML))
    assert (
        len([each for each in report["findings"] if each["severity"] == "note" and "dropped" in each["category"]]) == 1
    )
    _, out, _ = audit.run(audit.folder / "data.jsonl", "--template", CHATML)
    words = " ".join(out.split())
    assert (
        "dropped fields: ids and names that the template does not write: assistant: tool_calls[*].id, tool: name, "
        "tool: tool_call_id (6 times)" in words
    )


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_good_conversations_have_no_such_faults_with_real_templates(small_copy: Any, template: Path) -> None:
    """Objects for arguments, strings for contents: what is left is what the template does with all rows."""
    for name, token in SPECIAL_TOKENS.items():
        if getattr(small_copy, name) is None:
            setattr(small_copy, name, token)
    source = template.read_text(encoding="utf-8")
    read = ChatRenderer(small_copy, chat_template=source)
    found: list[Finding] = []
    for name, (messages, kwargs) in CONVERSATIONS.items():
        if name in ("arguments as text", "parts"):
            continue
        try:
            encoding = encoded(small_copy, messages, source, **kwargs, **FIREFUNCTION)
        except chatspan.TemplateError:
            continue
        found += [*double_encoded(encoding), *repr_findings(encoding), *empty_calls(messages)]
        found += ignored_flags(messages, encoding, read.template(kwargs.get("tools")))
        found += ignored_keywords(
            {key: value for key, value in kwargs.items() if key != "add_generation_prompt"},
            read.template(kwargs.get("tools")),
        )
    assert [each for each in found if each.severity == "problem"] == []


@pytest.mark.parametrize(
    ("template", "problems"),
    [
        ("Qwen-Qwen2.5-7B-Instruct", ["double-encoded JSON"]),
        ("meta-llama-Llama-3.2-3B-Instruct", ["containers written as their Python repr", "double-encoded JSON"]),
        ("Qwen-Qwen3-0.6B", []),
        ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", []),
        ("mistralai-Mistral-Nemo-Instruct-2407", ["double-encoded JSON"]),
    ],
)
def test_rows_of_openai_with_real_templates(small_copy: Any, template: str, problems: list[str]) -> None:
    require_zoo()
    source = (ZOO / "templates" / f"{template}.jinja").read_text(encoding="utf-8")
    for name, token in SPECIAL_TOKENS.items():
        if getattr(small_copy, name) is None:
            setattr(small_copy, name, token)
    found: set[str] = set()
    for name in ("arguments as text", "parts"):
        messages, kwargs = CONVERSATIONS[name]
        try:
            encoding = encoded(small_copy, messages, source, **kwargs)
        except chatspan.TemplateError:
            continue
        found |= {
            each.category
            for each in (*double_encoded(encoding), *repr_findings(encoding))
            if each.severity == "problem"
        }
    assert sorted(found) == problems
