"""Hints: where they stand in the teacher's text, that each row sees its own, and templates that do otherwise."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from batches import check, recoveries, student_text, teacher_text
from cases import CHATML, TEMPLATES, assistant, config, failed, system, trace, user
from chatspan import ComposerDataCollator, HintError, HintPlacementError

PLACEMENTS = ["before_turn", "append_to_previous", "first_system"]
TURNS = [
    system("Be kind."),
    user("What is it?"),
    failed("A test.", error="one"),
    user("And now?"),
    failed("Another one.", error="two"),
]
ONE, TWO = "Hint: one.", "Hint: two."


def collate(tokenizer: Any, *turns: Any, template: str | None = None, **options: Any) -> Any:
    kwargs = {} if template is None else {"chat_template_kwargs": {"chat_template": template}}
    return ComposerDataCollator(tokenizer=tokenizer, config=config(**options))([trace(*turns, **kwargs)])


def before(text: str, recovery: str) -> str:
    head, found, _ = text.partition(recovery)
    assert found
    return head


@pytest.mark.parametrize("layout", ["aligned", "indexed"])
@pytest.mark.parametrize("role", ["system", "user", "tool"])
def test_a_message_of_its_own(small: Any, role: str, layout: str) -> None:
    batch = collate(small, *TURNS, hint_role=role, layout=layout)
    check(batch, holes=layout == "aligned")
    text = teacher_text(small, batch, 0)
    for hint, recovery in ((ONE, "A test."), (TWO, "Another one.")):
        assert text.count(hint) == 1
        assert before(text, recovery).count(hint) == 1
        assert f"<|im_start|>{role}\n{hint}<|im_end|>\n<|im_start|>assistant\n{recovery}" in text
    assert student_text(small, batch, 0) == small.apply_chat_template(
        [{"role": t["role"], "content": t["content"]} for t in TURNS], tokenize=False
    )


def test_where_a_hint_stands_by_placement(small: Any) -> None:
    def teacher(placement: str, *turns: Any) -> str:
        batch = collate(small, *turns, template=CHATML, hint_placement=placement)
        check(batch)
        return teacher_text(small, batch, 0).replace("<|im_start|>", "<").replace("<|im_end|>\n", ">")

    assert teacher("before_turn", *TURNS) == (
        "<system\nBe kind.><user\nWhat is it?><system\nHint: one.><assistant\nA test.>"
        "<user\nAnd now?><system\nHint: two.><assistant\nAnother one.>"
    )
    assert teacher("append_to_previous", *TURNS) == (
        "<system\nBe kind.><user\nWhat is it?\n\nHint: one.><assistant\nA test.>"
        "<user\nAnd now?\n\nHint: two.><assistant\nAnother one.>"
    )
    assert teacher("first_system", *TURNS) == (
        "<system\nBe kind.\n\nHint: one.\n\nHint: two.><user\nWhat is it?><assistant\nA test.>"
        "<user\nAnd now?><assistant\nAnother one.>"
    )
    assert teacher("first_system", *TURNS[1:3]) == ("<system\nHint: one.><user\nWhat is it?><assistant\nA test.>")
    assert teacher("first_system", {"role": "developer", "content": "Be"}, *TURNS[1:3]) == (
        "<developer\nBe\n\nHint: one.><user\nWhat is it?><assistant\nA test.>"
    )
    assert teacher("first_system", system(""), *TURNS[1:3]) == (
        "<system\nHint: one.><user\nWhat is it?><assistant\nA test.>"
    )
    # The first message of all may be the turn itself.
    assert teacher("before_turn", *TURNS[2:3]) == "<system\nHint: one.><assistant\nA test.>"
    assert teacher("first_system", *TURNS[2:3]) == "<system\nHint: one.><assistant\nA test.>"


def test_in_contents_of_parts_the_hint_ends_the_last_part(small: Any) -> None:
    parts = [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]
    for placement, role in (("first_system", "system"), ("append_to_previous", "user")):
        turns = [{"role": role, "content": parts}, *([user("Go.")] if role == "system" else []), TURNS[2]]
        batch = collate(small, *turns, hint_placement=placement)
        check(batch)
        assert "Be kind.\n\nHint: one.<|im_end|>" in teacher_text(small, batch, 0)


# Templates and the placements that each can take.
TAKES = {
    "chatml": PLACEMENTS,
    "trimming": PLACEMENTS,
    "empty header": ["before_turn", "append_to_previous"],
    "system first": ["append_to_previous", "first_system"],
    "blank in front": PLACEMENTS,
    "twice": PLACEMENTS,
    "alternating": ["append_to_previous"],
    "drops reasoning": PLACEMENTS,
}


@pytest.mark.parametrize("layout", ["aligned", "indexed"])
@pytest.mark.parametrize("scope", ["all", "per_site"])
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_habit_of_templates(small: Any, name: str, placement: str, scope: str, layout: str) -> None:
    turns = TURNS[1:] if name in ("alternating", "empty header") else TURNS
    options = {"hint_placement": placement, "hint_scope": scope, "layout": layout, "template": TEMPLATES[name]}
    if placement not in TAKES[name]:
        with pytest.raises(HintPlacementError, match=r"^trace 't'(, turn \d)?: ") as error:
            collate(small, *turns, **options)
        assert "hint_placement=" in str(error.value)
        return
    batch = collate(small, *turns, **options)
    check(batch, holes=layout == "aligned")
    sites = [("A test.", ONE), ("Another one.", TWO)]
    rows = [sites] if scope == "all" else [[site] for site in sites]
    assert batch["row_index"].tolist() == [0] * len(rows)
    for i, of_row in enumerate(rows):
        text = teacher_text(small, batch, i)
        ids = batch["input_ids"][i, batch["student_response_idx"][i][batch["response_idx_mask"][i]]]
        assert small.decode(ids).split() == " ".join(recovery for recovery, _ in of_row).split() or (
            # Without anything between them words of two recoveries adjoin.
            small.decode(ids).replace(" ", "") == "".join(recovery for recovery, _ in of_row).replace(" ", "")
        )
        for recovery, hint in of_row:
            assert hint in before(text, recovery)
        for recovery, hint in sites:
            assert (hint in text) == ((recovery, hint) in of_row)
        assert "Hint" not in student_text(small, batch, i)


def test_no_recovery_sees_another_ones_hint(small: Any) -> None:
    rows = [trace(user("Hi"), assistant("Yes?")), trace(*TURNS), trace(user("Go."), failed("Gone.", error="three"))]
    for placement in PLACEMENTS:
        collator = ComposerDataCollator(tokenizer=small, config=config(hint_scope="per_site", hint_placement=placement))
        batch = collator(rows)
        check(batch)
        assert batch["row_index"].tolist() == [0, 1, 1, 2]
        texts = [teacher_text(small, batch, i) for i in range(4)]
        assert [[hint in text for hint in (ONE, TWO, "Hint: three.")] for text in texts] == [
            [False, False, False],
            [True, False, False],
            [False, True, False],
            [False, False, True],
        ]
        assert [recoveries(small, batch, i) for i in range(4)] == [[], ["A test."], ["Another one."], ["Gone."]]


MESSAGE = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
FIRST = "{{ '<|im_start|>' + m.role + '\\n' + m.content[:16] + '<|im_end|>\\n' }}"
DISOBEDIENT = {
    "drops system messages": (
        "{% for m in messages if m.role != 'system' %}" + MESSAGE + "{% endfor %}",
        "before_turn",
        r'it moves or drops the message that holds it; use hint_placement="append_to_previous"',
    ),
    "drops the system prompt": (
        "{% for m in messages if m.role != 'system' %}" + MESSAGE + "{% endfor %}",
        "first_system",
        r'it leaves a part of it out; use hint_placement="before_turn" or "append_to_previous"',
    ),
    "moves system messages to the top": (
        TEMPLATES["system first"],
        "before_turn",
        r'it moves or drops the message that holds it; use hint_placement="append_to_previous"',
    ),
    "moves users' messages to the top": (
        "{% for m in messages if m.role == 'user' %}" + MESSAGE + "{% endfor %}"
        "{% for m in messages if m.role != 'user' %}" + MESSAGE + "{% endfor %}",
        "append_to_previous",
        r"it moves or drops the message that holds it; give the message before the turn a role",
    ),
    "cuts contents": (
        "{% for m in messages %}" + FIRST + "{% endfor %}",
        "append_to_previous",
        r"it leaves a part of it out; give the message before the turn a role",
    ),
    "cuts system messages": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content[:7] + '<|im_end|>\\n' }}{% endfor %}",
        "before_turn",
        r'it leaves a part of it out; use hint_placement="append_to_previous"',
    ),
    "cuts the system prompt": (
        "{% for m in messages %}" + FIRST + "{% endfor %}",
        "first_system",
        r'it leaves a part of it out; use hint_placement="before_turn" or "append_to_previous"',
    ),
    "repeats the last question at the end": (
        "{% for m in messages %}" + MESSAGE + "{% endfor %}{{ 'To sum up: ' + messages[-2].content }}",
        "append_to_previous",
        r"a part of it comes after the turn",
    ),
    "repeats the system prompt at the end": (
        "{% for m in messages %}" + MESSAGE + "{% endfor %}{{ 'To sum up: ' + messages[0].content }}",
        "first_system",
        r"a part of it comes after the turn",
    ),
    "shows the last question first": (
        "{% for m in messages %}{% if loop.first %}{{ messages[-2].content }}{% endif %}" + MESSAGE + "{% endfor %}",
        "append_to_previous",
        r"it moves or drops the message that holds it",
    ),
    "dumps all messages first": (
        "{{ messages | tojson }}{% for m in messages %}" + MESSAGE + "{% endfor %}",
        "append_to_previous",
        r"a part of it comes (before other messages|after the turn)",
    ),
    "shows what is to come in a dump": (
        "{{ messages[:-1] | tojson }}{% for m in messages %}" + MESSAGE + "{% endfor %}",
        "before_turn",
        r"a part of it comes before other messages",
    ),
}


@pytest.mark.parametrize("layout", ["aligned", "indexed", "placeholder"])
@pytest.mark.parametrize(("template", "placement", "message"), DISOBEDIENT.values(), ids=DISOBEDIENT.keys())
def test_templates_that_do_otherwise(small: Any, template: str, placement: str, message: str, layout: str) -> None:
    turns = [system("Be kind."), user("Why?"), assistant("So."), user("And now?"), failed("It is.", error="one")]
    with pytest.raises(HintPlacementError, match=rf"^trace 't', turn 4: .*{message}") as error:
        collate(small, *turns, template=template, hint_placement=placement, layout=layout)
    assert (error.value.trace_id, error.value.turn_index) == ("t", 4)


@pytest.mark.parametrize("placement", ["before_turn", "first_system"])
def test_a_template_that_refuses_the_message_of_the_hint_names_it(small: Any, placement: str) -> None:
    turns = [user("What is it?"), failed("A test.", error="one")]
    with pytest.raises(HintPlacementError, match=r"raised at message \d \(role '\w+'\).*without the hint it does not"):
        collate(small, *turns, template=TEMPLATES["alternating"], hint_placement=placement)


def test_append_to_previous_needs_a_message_that_is_not_the_assistants(small: Any) -> None:
    for turns in ([failed("Yes.")], [user("Go."), assistant("One."), failed("Yes.")]):
        with pytest.raises(HintError, match=r"^trace 't', turn \d: .*use hint_placement=.before_turn."):
            collate(small, *turns, hint_placement="append_to_previous")


LEAVES_OUT = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if not m.hidden %}{{ m.content }}{% endif %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("scope", ["all", "per_site"])
def test_a_recovery_that_the_template_leaves_out_is_no_site(
    small: Any, scope: str, placement: str, caplog: pytest.LogCaptureFixture
) -> None:
    turns = [*TURNS[:2], {**TURNS[2], "hidden": True}, *TURNS[3:]]
    with caplog.at_level(logging.WARNING, logger="chatspan"):
        batch = collate(small, *turns, template=LEAVES_OUT, hint_scope=scope, hint_placement=placement)
    check(batch)
    assert [record.getMessage() for record in caplog.records] == [
        "trace 't', turn 2: the chat template leaves the recovery out, so there is nothing to distil"
    ]
    rows = range(len(batch["row_index"]))
    assert batch["dropped_sites"].tolist() == ([1] if scope == "all" else [1, 0])
    assert [recoveries(small, batch, i) for i in rows] == (
        [["Another one."]] if scope == "all" else [[], ["Another one."]]
    )
    for i in rows:
        assert ONE not in teacher_text(small, batch, i)
    assert TWO in teacher_text(small, batch, rows[-1])


def test_a_trace_all_of_whose_recoveries_are_left_out_has_no_loss(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    turns = [{**turn, "hidden": True} for turn in TURNS]
    batch = collate(small, *turns, template=LEAVES_OUT)
    assert "sdpo_loss_mask" not in batch
    assert batch["dropped_sites"].tolist() == [2]
    assert "trace 't', turn 2, 4: the chat template leaves" in caplog.text
    collator = ComposerDataCollator(tokenizer=small, config=config())
    text = collator.explain(trace(*turns, chat_template_kwargs={"chat_template": LEAVES_OUT}))
    assert "2 loss messages left out" in text
    assert "no loss" in text


def test_the_placeholder_of_hints_in_the_system_prompt(small: Any) -> None:
    """Also where filler of blanks alone is tried, which has no place of its own."""
    batch = collate(small, *TURNS, hint_placement="first_system", layout="placeholder")
    check(batch)
    assert recoveries(small, batch, 0) == ["A test.", "Another one."]
    assert "Hint" not in student_text(small, batch, 0)
    turns = [user(""), failed("user"), user("user" * 5), failed("user")]
    batch = collate(
        small, *turns, hint_placement="first_system", layout="placeholder", template=TEMPLATES["blank in front"]
    )
    check(batch)
