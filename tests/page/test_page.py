"""The page of ``chatspan inspect --html``, in a real headless Chromium without a network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import assistant, system, user
from chatspan import ChatEncoder, CollatorConfig, Encoding, Offsets
from chatspan.kinds import Kind
from chatspan.view.pair import view_of_pair
from chatspan.view.rows import HintOptions
from chatspan.view.view import SideView, View, view_of_encoding
from conversations import call, calls, schema, tool
from pages import OpenPage, write_page

MESSAGES = [
    system("You are the service agent."),
    user("Move it 🚆, please.\n  Now!"),
    calls(call("rebook", {"train": "IC 900"}), content="I will."),
    tool("done"),
    assistant("Done."),
]
TAGGED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
HOSTILE = (
    "<script>window.ran = 1; alert(1)</script>",
    "<img src=x onerror=\"window.ran = 1; alert(1)\"><svg onload='window.ran = 1'>",
    "</script><script>window.ran = 1</script>",
    "<!--<script>",
    "-->]]></style><base href='https://example.org/'>&lt;&amp;",
    "{{data}} {{script}} ${window.ran = 1} `\\u003c",
)

Open = Callable[..., OpenPage]


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens views as a page; at the end nothing may have happened that must not."""
    opened: list[OpenPage] = []

    def open_views(views: list[View], mask: str = "turn", **options: Any) -> OpenPage:
        opened.append(OpenPage(browser, write_page(tmp_path / "page.html", views, mask), **options))
        return opened[-1]

    yield open_views
    for page in opened:
        page.page.context.close()
        assert page.problems == []


def view_of(tokenizer: Any, messages: list[Any], template: str | None = None, **kwargs: Any) -> View:
    encoding = ChatEncoder(tokenizer, chat_template=template).encode(messages, **kwargs)
    return view_of_encoding(encoding, tokenizer, "data.jsonl:1")


def views_of_trace(tokenizer: Any, trace: Any, **options: Any) -> list[View]:
    config = CollatorConfig(layout="indexed", hint_generator=HintOptions().generate, **options)
    return view_of_pair(trace, tokenizer, config, "traces.jsonl:1")


def owner_of(encoding: Encoding, token: int) -> str:
    index = int(encoding.message_index[token])
    return "no message" if index < 0 else f"message {index}, {encoding.roles[index]}"


def facts_of(side: SideView, token: int) -> dict[str, str]:
    """What the card has to say of a token, from the encoding."""
    encoding = side.encoding
    start, end = encoding.offsets[token].tolist()
    names = [name for name in ("loss", "turn", "content", "generation") if name in side.masks]
    return {
        "text": side.texts[token],
        "id": str(encoding.input_ids[token]),
        "owner": owner_of(encoding, token),
        "path": side.paths[token] or "– (not of a field)",
        "kind": Kind(encoding.kind[token]).name.lower(),
        "characters": f"{start}–{end}",
        "masks": ", ".join(name for name in names if side.masks[name][token]) or "none",
    }


def test_a_token_under_the_pointer_says_what_it_is(small: Any, open_page: Open) -> None:
    view = view_of(small, MESSAGES, tools=[schema()])
    (side,) = view.sides
    page = open_page([view])
    for token in (side.texts.index(" service"), side.texts.index("train"), len(side.texts) - 2):
        page.token("conversation", token).hover()
        card = page.card()
        assert {name: card[name] for name in facts_of(side, token)} == facts_of(side, token)
        assert card["token"] == str(token)
    assert page.card() == {
        "text": "<|im_end|>",
        "id": "2",
        "token": str(len(side.texts) - 2),
        "owner": "message 4, assistant",
        "path": "– (not of a field)",
        "kind": "end_of_turn",
        "characters": f"{len(side.encoding.text) - 11}–{len(side.encoding.text) - 1}",
        "masks": "turn",
    }


def test_every_token_says_what_the_encoding_says(small: Any, open_page: Open) -> None:
    view = view_of(small, MESSAGES, tools=[schema()])
    (side,) = view.sides
    cards = open_page([view]).cards("conversation")
    wanted = [facts_of(side, token) for token in range(len(side.texts))]
    assert [{name: card[name] for name in facts} for card, facts in zip(cards, wanted, strict=True)] == wanted
    paths = {card["path"] for card in cards}
    assert {"content", "tool_calls[0].function.arguments.train", "tools[0].function.description"} <= paths
    assert [card["text"] for card in cards if card.get("part of") == "🚆"] == [t for t in side.texts if t[0] == "⟨"]


@pytest.mark.parametrize("template", [None, TAGGED], ids=["own template", "generation tags"])
def test_what_is_marked_is_the_mask(small: Any, open_page: Open, template: str | None) -> None:
    messages = [user("Hi"), assistant("Hello <b>!"), user("And?\n"), assistant("Yes.")]
    view = view_of(small, messages, template)
    (side,) = view.sides
    page = open_page([view])
    masks = {"none": np.zeros(len(side.encoding), dtype=bool), **side.masks}
    assert "".join(page.marked("conversation")) == "Hello <b>!<|im_end|>Yes.<|im_end|>"
    for name, mask in [*masks.items(), *masks.items()]:
        page.choose(name)
        assert "".join(page.marked("conversation")) == small.decode(side.encoding.input_ids[mask]), name
        counts = page.page.locator(".block .marked").all_inner_texts()
        of_messages = [int((mask & (side.encoding.message_index == index)).sum()) for index in range(4)]
        assert counts == [f"{count} in {name}" if count else "" for count in of_messages]
        assert page.page.locator("#summary").inner_text().endswith(f" {mask.sum()} in {name}" if mask.any() else "ns")
    if template is None:
        label = page.page.locator("#masks label", has_text="generation")
        assert label.locator("input").is_disabled()
        assert "the chat template has no {% generation %} blocks" in label.get_attribute("title")
    else:
        page.page.keyboard.press("4")
        assert "".join(page.marked("conversation")) == "Hello <b>!<|im_end|>Yes.<|im_end|>"


def test_a_mask_that_is_refused_says_why(small: Any, open_page: Open) -> None:
    # The same text on both sides of the content: nobody can say where the header ends.
    view = view_of(small, MESSAGES)
    side = replace(view.sides[0], masks={"content": view.sides[0].masks["content"]}, refused={"turn": "no <end> found"})
    page = open_page([replace(view, sides=[side])], mask="content")
    label = page.page.locator("#masks label", has_text="turn")
    assert label.locator("input").is_disabled()
    assert label.get_attribute("title") == "Cannot be told: no <end> found"
    assert "turn cannot be determined: no <end> found" in page.page.locator(".remarks").inner_text()


def test_student_and_teacher_stand_side_by_side(small_copy: Any, sample_traces: Any, open_page: Open) -> None:
    views = views_of_trace(small_copy, sample_traces[0])
    page = open_page(views, mask="loss")
    student, teacher = views[0].sides
    assert len(views[0].message_map) == 11
    for mine, theirs in views[0].message_map.items():
        left, right = page.block("student", mine).bounding_box(), page.block("teacher", theirs).bounding_box()
        assert left["y"] == right["y"]
        assert left["x"] + left["width"] <= right["x"]
    hint = page.block("teacher", 4)
    assert "the hint: only the teacher sees it" in hint.inner_text()
    assert "The last call of rebook failed with" in hint.inner_text()
    assert page.page.locator(".alone").count() == 2
    assert page.block("student", 4).bounding_box()["y"] > hint.bounding_box()["y"]
    recovered = "IC 900 does not run on Sundays. I look for another train in the morning."
    for side in (student, teacher):
        assert "".join(page.marked(side.name)).startswith(recovered)
        assert "".join(page.marked(side.name)) == small_copy.decode(side.encoding.input_ids[side.masks["loss"]])
    page.page.set_viewport_size({"width": 500, "height": 900})
    left, right = page.block("student", 1).bounding_box(), page.block("teacher", 1).bounding_box()
    assert left["x"] == right["x"]
    assert left["y"] + left["height"] <= right["y"]
    assert page.page.evaluate("document.documentElement.scrollWidth") == 500


def test_the_counterpart_of_a_token_is_shown(small_copy: Any, sample_traces: Any, open_page: Open) -> None:
    (view,) = views_of_trace(small_copy, sample_traces[0])
    page = open_page([view], mask="loss")
    there = page.page.locator(".there")
    for mine, theirs in view.pairs[[0, 10, -1]].tolist():
        page.token("student", mine).hover()
        assert page.card()["counterpart"] == f"token {theirs} of the teacher"
        assert there.get_attribute("data-i") == str(theirs)
        assert there.inner_text() == page.token("student", mine).inner_text()
        page.token("teacher", theirs).hover()
        assert page.card()["counterpart"] == f"token {mine} of the student"
    cards = page.cards("teacher")
    alone = "".join(card["text"] for card in cards if card["counterpart"] == "none: only the teacher has it")
    assert alone.startswith("<|im_start|>system\nThe last call of rebook failed with: train IC 900")
    assert "IC 900 does not run on Sundays. I look" not in alone
    assert [card["counterpart"] for card in cards if card["text"] == " Lugano"] != ["none: only the teacher has it"]


def test_a_hint_inside_of_a_message_is_only_the_teachers(small_copy: Any, sample_traces: Any, open_page: Open) -> None:
    views = views_of_trace(small_copy, sample_traces[0], hint_placement="append_to_previous")
    page = open_page(views, mask="loss")
    texts = page.page.locator(".block[data-side=teacher][data-message='3'] .only").all_text_contents()
    assert "".join(texts).strip() == (
        "The last call of rebook failed with: train IC 900 does not run on Sundays. Do not repeat it unchanged."
    )
    assert "holds the hint" in page.block("teacher", 3).inner_text()
    assert page.page.locator(".alone").count() == 0


def test_html_in_texts_is_shown_and_never_run(small: Any, open_page: Open) -> None:
    messages = [user(text) if i % 2 == 0 else assistant(text) for i, text in enumerate(HOSTILE)]
    messages += [calls(call(HOSTILE[0], {HOSTILE[1]: HOSTILE[2]}), content=HOSTILE[3])]
    view = replace(view_of(small, messages, tools=[schema(HOSTILE[1])]), title=HOSTILE[2])
    page = open_page([view])
    for index, text in enumerate(HOSTILE):
        shown = page.page.locator(f'.block[data-message="{index}"] .t').all_text_contents()
        assert "".join(shown).split("\n", 1)[1].removesuffix("<|im_end|>\n") == text
    page.cards("conversation")
    page.page.fill("#query", "<script>")
    page.page.wait_for_selector(".hit-here")
    assert page.page.title() == HOSTILE[2]
    assert page.page.locator("#title").inner_text() == HOSTILE[2]
    assert page.page.evaluate("window.ran") is None
    assert page.page.locator("main script, main img, main svg, base").count() == 0


def test_the_policy_runs_nothing_that_comes_later(small: Any, browser: Any, tmp_path: Path) -> None:
    page = OpenPage(browser, write_page(tmp_path / "page.html", [view_of(small, MESSAGES)]))
    attempts = (
        "document.body.innerHTML = '<img src=x onerror=window.ran=1>'",
        "document.body.appendChild(document.createElement('script')).text = 'window.ran = 1'",
        "document.body.setAttribute('onclick', 'window.ran = 1'); document.body.click()",
        "fetch('https://example.org/').then(() => window.ran = 1, () => 0)",
        "document.body.appendChild(new Image()).src = 'https://example.org/a.png'",
    )
    refused: list[str] = []
    page.page.on("requestfailed", lambda request: refused.append(f"request: {request.url} {request.failure}"))
    for attempt in attempts:
        page.page.evaluate(f"() => {{ try {{ {attempt} }} catch {{ }} }}")
    page.page.wait_for_timeout(100)
    assert page.page.evaluate("window.ran") is None
    assert "Content Security Policy" in " ".join(page.problems)
    # The browser says what it would have asked for; the policy let none of it out.
    asked = [problem for problem in page.problems if problem.startswith(("request", "dialog"))]
    assert refused == [f"{request} csp" for request in asked]
    page.page.context.close()


def test_odd_characters_are_spelled_out_and_break_nothing(small: Any, open_page: Open) -> None:
    view = view_of(
        small, [user("bell\x07esc\x1b[31m\r\n\tx  y "), assistant("مرحبا\u202eabc " + "w" * 3000), user("e\u0301")]
    )
    page = open_page([view], viewport={"width": 700, "height": 700})
    assert page.page.evaluate("document.documentElement.scrollWidth") == 700
    assert page.page.locator("i.escape").all_inner_texts() == ["\\x07", "\\x1b", "\\r"]
    assert page.page.locator("[data-whole='\\\\u202e']").count() == 1
    assert "\u202e" not in page.page.locator("main").inner_text()
    blanks = "".join(page.page.locator(".block[data-message='0'] i.blank").all_text_contents())
    assert blanks == "   "


def test_keys_and_search(small: Any, open_page: Open) -> None:
    view = view_of(small, MESSAGES, tools=[schema()])
    (side,) = view.sides
    page = open_page([view])
    token = side.texts.index(" service")
    page.token("conversation", token).click()
    page.page.mouse.move(0, 0)
    assert page.card()["text"] == " service"
    page.page.keyboard.press("ArrowRight")
    assert page.card()["text"] == " agent"
    page.page.keyboard.press("Escape")
    assert page.page.locator("#card").is_hidden()
    page.page.keyboard.press("/")
    page.page.keyboard.type("ic 900")
    page.page.wait_for_selector(".hit-here")
    assert "".join(page.page.locator(".hit-here").all_text_contents()).strip(' "') == "IC 900"
    assert page.page.locator("#found").inner_text() == "1 of 1"
    page.page.fill("#query", "#2")
    page.page.locator("#found", has_text=f"1 of {side.texts.count('<|im_end|>')}").wait_for()
    assert set(page.page.locator(".hit").all_text_contents()) == {"<|im_end|>"}
    page.page.fill("#query", "nowhere")
    page.page.locator("#found", has_text="not found").wait_for()
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("1")
    assert page.page.evaluate("document.documentElement.dataset.mask") == "turn", "there is no loss to choose"
    page.page.keyboard.press("0")
    assert page.marked("conversation") == []


def test_one_kind_is_looked_for(small: Any, open_page: Open) -> None:
    page = open_page([view_of(small, MESSAGES, tools=[schema()])])
    page.page.get_by_role("button", name="tool call").click()
    clear = """() => [...document.querySelectorAll(".block .t")]
        .filter((element) => getComputedStyle(element).opacity === "1").map((element) => element.textContent)"""
    wanted = '<tool_call>\n{"name": "rebook", "arguments": {"train": "IC 900"}}\n</tool_call>'
    assert "".join(page.page.evaluate(clear)).strip() == wanted
    page.page.get_by_role("button", name="tool call").click()
    assert len(page.page.evaluate(clear)) == page.page.locator(".block .t").count()


def test_messages_are_jumped_to(small_copy: Any, sample_traces: Any, open_page: Open) -> None:
    page = open_page(views_of_trace(small_copy, sample_traces[0]), mask="loss", viewport={"width": 1200, "height": 500})
    current = page.page.locator(".jump[aria-current]")
    for key, line in [
        # From the hint on, where the page opens.
        ("n", "5assistant 69"),
        ("n", "12assistant 26"),
        ("k", "11system● 47"),
        ("p", "5assistant 69"),
    ]:
        page.page.keyboard.press(key)
        assert " ".join(current.inner_text().split()) == line
        message = re.match(r"\d+", line)[0]
        box = page.block("teacher", int(message)).bounding_box()
        assert 0 < box["y"] < 500
    page.page.locator(".jump", has_text="tools").click()
    assert page.block("student", -1).bounding_box()["y"] > 0


def test_the_page_opens_at_the_hint(small_copy: Any, sample_traces: Any, open_page: Open) -> None:
    page = open_page(views_of_trace(small_copy, sample_traces[0]), mask="loss", viewport={"width": 1200, "height": 500})
    assert " ".join(page.page.locator(".jump[aria-current]").inner_text().split()).startswith("4system")
    assert 0 < page.block("teacher", 4).bounding_box()["y"] < 300


def test_a_hint_far_down_in_a_message_is_on_the_screen(small_copy: Any, sample_traces: Any, open_page: Open) -> None:
    trace = {**sample_traces[0], "turns": [dict(turn) for turn in sample_traces[0]["turns"]]}
    before = next(i for i, turn in enumerate(trace["turns"]) if turn.get("tool_error")) - 1
    trace["turns"][before]["content"] = "A line of what the tool wrote.\n" * 300
    page = open_page(
        views_of_trace(small_copy, trace, hint_placement="append_to_previous"),
        mask="loss",
        viewport={"width": 1200, "height": 500},
    )
    box = page.page.locator(".block[data-side='teacher'] .t.only").first.bounding_box()
    assert 0 < box["y"] < 500


def test_the_page_opens_at_the_message_that_its_address_names(small: Any, browser: Any, tmp_path: Path) -> None:
    messages = [message for n in range(400) for message in (user(f"Question {n}?"), assistant("An answer.\n" * 9))]
    path = write_page(tmp_path / "page.html", [view_of(small, messages)])
    page = browser.new_context(viewport={"width": 1000, "height": 600}).new_page()
    page.goto(f"{path.as_uri()}#message-701")
    page.wait_for_selector("html[data-drawn]")
    message = page.locator(".block[data-message='701']")
    assert 0 < message.bounding_box()["y"] < 400
    page.evaluate("location.hash = '#message-2'")
    page.wait_for_function("document.querySelector('.jump[aria-current] .index').textContent === '2'")
    assert 0 < page.locator(".block[data-message='2']").bounding_box()["y"] < 400
    for nowhere in ("#message-9999", "#elsewhere", "#message-"):
        page.evaluate(f"location.hash = '{nowhere}'")
    assert 0 < page.locator(".block[data-message='2']").bounding_box()["y"] < 400


def test_a_question_mark_shows_the_keys(small: Any, open_page: Open) -> None:
    page = open_page([view_of(small, MESSAGES)])
    keys = page.page.locator("#keys")
    assert keys.is_hidden()
    page.page.keyboard.press("?")
    assert "next and previous message" in keys.inner_text()
    page.page.keyboard.press("0")
    assert page.page.evaluate("document.documentElement.dataset.mask") == "turn", "other keys wait until it is closed"
    page.page.keyboard.press("Escape")
    assert keys.is_hidden()
    page.page.get_by_role("button", name="Keys").click()
    assert keys.is_visible()
    keys.get_by_role("button", name="Close").click()
    assert keys.is_hidden()
    page.page.keyboard.press("/")
    page.page.keyboard.type("why?")
    assert keys.is_hidden(), "in the search it is a letter"


def test_long_system_messages_are_folded(small: Any, open_page: Open) -> None:
    view = view_of(small, [system("A rule.\n" * 400), user("Hi"), assistant("Yes.")])
    page = open_page([view])
    block = page.block("conversation", 0)
    folded = block.bounding_box()["height"]
    assert folded < 300
    assert page.page.locator(".block[data-message='0'] .t").count() > 1000
    block.get_by_role("button").click()
    assert block.bounding_box()["height"] > 5000
    block.get_by_role("button").click()
    assert block.bounding_box()["height"] == folded
    # A hit of a search is never hidden in what is folded.
    page.page.fill("#query", "#2")
    page.page.wait_for_selector(".hit-here")
    assert block.bounding_box()["height"] > 5000


def test_what_a_person_should_know_is_said(small: Any, open_page: Open) -> None:
    view = view_of(
        small, [user("Hi"), assistant("Yes.", refusal="none"), {**user("And"), "name": "Ann"}, tool("ok", "Bo")]
    )
    cut = replace(view.sides[0].encoding, truncated=7, straddling=np.array([3]))
    page = open_page([replace(view, sides=[replace(view.sides[0], encoding=cut)])])
    remarks = page.page.locator(".remarks").inner_text()
    assert "7 tokens were cut off at the maximal length." in remarks
    assert "The template leaves out: refusal of message 1; name of messages 2, 3; tool_call_id of message 3" in remarks
    assert "1 token across an edge" in remarks
    page.page.locator(".remarks .token-link").click()
    assert page.card()["across"] == "an edge: its first character decides"


@pytest.mark.parametrize(
    ("messages", "blocks"),
    [
        ([user("Hi")], ["user"]),
        ([assistant("Hello")], ["assistant"]),
        ([user("")], ["user"]),
        ([user("Hi"), user("Hi")], ["user", "user"]),
    ],
)
def test_few_messages(small: Any, open_page: Open, messages: list[Any], blocks: list[str]) -> None:
    page = open_page([view_of(small, messages, add_generation_prompt=True)])
    assert page.page.locator(".block .role").all_inner_texts() == [*blocks, "generation prompt"]
    assert page.page.locator(".jump .role").all_inner_texts() == [*blocks, "generation prompt"]


def test_cut_and_empty_encodings(small: Any, open_page: Open) -> None:
    encoder = ChatEncoder(small)
    encoding = encoder.encode(MESSAGES, max_length=9, truncation="right")
    page = open_page([view_of_encoding(encoding, small, "cut")])
    assert "".join(page.page.locator(".block .t").all_text_contents()) == encoder.decode(encoding.input_ids)
    offsets = encoding.offsets.copy()
    offsets[4] = offsets[3, 1]
    page = open_page([view_of_encoding(replace(encoding, table=Offsets(offsets)), small, "a token without text")])
    assert page.cards("conversation")[4]["characters"] == f"none, at {offsets[3, 1]}"
    assert page.token("conversation", 4).inner_text().startswith("⟨")


def test_a_long_conversation_stays_smooth(small: Any, open_page: Open, say: Any) -> None:
    turns = [user("Move my booking to nine, please.\n" * 6), assistant("I look for another train. " * 12)]
    view = view_of(small, turns * 160)
    (side,) = view.sides
    assert len(side.texts) > 20_000
    page = open_page([view])
    assert page.page.locator(".block .t").count() == len(side.texts)
    times = page.times()
    milliseconds = {name: f"{value:.0f} ms" for name, value in times.items()}
    say(f"the page of {len(side.texts):,} tokens: {milliseconds}")
    page.choose("content")
    assert "".join(page.marked("conversation")) == small.decode(side.encoding.input_ids[side.masks["content"]])


def test_a_line_without_end_is_drawn_whole(small: Any, open_page: Open) -> None:
    view = view_of(small, [user("Go"), assistant("on and on 🚆 " * 900)])
    page = open_page([view])
    assert page.page.locator(".block .t").all_text_contents() == list(view.sides[0].texts)
    assert page.page.locator(".same-line").count() >= 2
