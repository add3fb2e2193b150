"""Rows of a student's and a teacher's messages: what is the same, what the loss is on, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from batches import check, recoveries, responses, student_text, teacher_text
from cases import TEMPLATES, assistant, failed, system, trace, user
from cases import config as trace_config
from chatspan import (
    AlignmentError,
    ChatspanError,
    ComposerDataCollator,
    DistillationConfig,
    Kind,
    OptionError,
    SelfDistillationCollator,
    TemplateError,
    TextError,
    TraceError,
)
from chatspan.distillation.examples.message_map import ambiguous, map_messages
from conversations import call, calls, schema, tool
from hypothesis import event, given
from references import PlainView
from test_random_conversations import CONTENTS
from zoo import ZOO

GO, NINE, ON, TEN = user("Go."), assistant("At nine."), user("And on?"), assistant("No, at ten.")
STUDENT = [system("Be kind."), GO, NINE, ON, TEN]
LAYOUTS = ["aligned", "indexed"]


def row(messages: Any, teacher_messages: Any = None, **keys: Any) -> dict[str, Any]:
    return {"trace_id": "t", "messages": messages, "teacher_messages": teacher_messages, **keys}


def collate(tokenizer: Any, *rows: Any, **options: Any) -> Any:
    return SelfDistillationCollator(tokenizer, DistillationConfig(**options))(list(rows))


def in_loss(tokenizer: Any, batch: Any, index: int = 0) -> list[str]:
    """The text of each stretch of in-loss tokens, holes passed over."""
    seen = batch["attention_mask"][index] == 1
    only = {key: batch[key][index][seen][None] for key in ("input_ids", "sdpo_loss_mask")}
    return recoveries(tokenizer, only, 0)


# (the teacher's messages, loss_messages, the text that the loss is on)
TEACHERS = {
    "the same": (STUDENT, None, ["At nine.", "No, at ten."]),
    "a message in front of each": (
        [user("First."), STUDENT[0], system("A."), GO, system("B."), NINE, system("C."), ON, system("D."), TEN],
        None,
        ["At nine.", "No, at ten."],
    ),
    "several messages in one place": (
        [*STUDENT[:2], assistant("A try."), user("It failed."), assistant("Another."), *STUDENT[2:]],
        None,
        ["At nine.", "No, at ten."],
    ),
    "a message behind": ([*STUDENT, user("That was right.")], None, ["At nine.", "No, at ten."]),
    "the prompt with the solution": (
        [STUDENT[0], user("Go. The solution is ten."), NINE, user("And on?\nThe solution is ten."), TEN],
        None,
        ["At nine.", "No, at ten."],
    ),
    "another system prompt": ([system("You know all."), *STUDENT[1:]], None, ["At nine.", "No, at ten."]),
    "no system prompt": (STUDENT[1:], None, ["At nine.", "No, at ten."]),
    "an answer that it replaces has no loss": (
        [*STUDENT[:2], assistant("At once."), ON, TEN],
        None,
        ["No, at ten."],
    ),
    "of one message": ([*STUDENT[:3], system("Hm."), *STUDENT[3:]], [4], ["No, at ten."]),
    "of several": ([*STUDENT[:3], system("Hm."), *STUDENT[3:]], [2, 4], ["At nine.", "No, at ten."]),
    "of a tuple": (STUDENT, (2,), ["At nine."]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("teacher", "loss_messages", "texts"), TEACHERS.values(), ids=TEACHERS.keys())
def test_any_teacher(small: Any, teacher: Any, loss_messages: Any, texts: list[str], layout: str) -> None:
    batch = collate(small, row(STUDENT, teacher, loss_messages=loss_messages), layout=layout)
    check(batch, holes=layout == "aligned")
    assert in_loss(small, batch) == texts
    plain = {"tokenize": False}
    assert student_text(small, batch, 0) == small.apply_chat_template(STUDENT, **plain)
    assert teacher_text(small, batch, 0) == small.apply_chat_template(list(teacher), **plain)
    assert responses(small, batch, 0) == ["At nine.", "No, at ten."]
    ids = batch["ctx_teacher_input_ids"][0, batch["teacher_response_idx"][0]]
    assert small.decode(ids) == "".join(texts)


def test_rows_without_a_teacher_or_a_loss_stay_beside_others(small: Any) -> None:
    rows = [
        row(STUDENT),
        row(STUDENT, [*STUDENT[:3], system("Hm."), *STUDENT[3:]]),
        row(STUDENT, STUDENT, loss_messages=[]),
        row([GO], [user("Go on.")]),
    ]
    for layout in LAYOUTS:
        batch = collate(small, *rows, layout=layout)
        check(batch, holes=layout == "aligned")
        assert [in_loss(small, batch, i) for i in range(4)] == [[], ["At nine.", "No, at ten."], [], []]
        assert batch["row_index"].tolist() == [0, 1, 2, 3]
        assert batch["response_idx_mask"].any(dim=1).tolist() == [False, True, False, False]
        for i in (0, 2, 3):
            assert student_text(small, batch, i) == teacher_text(small, batch, i)
    assert "sdpo_loss_mask" not in collate(small, row(STUDENT), row(STUDENT))


def test_a_teacher_that_says_which_of_two_it_is(small: Any) -> None:
    ok = assistant("ok")
    student = [GO, ok]
    teacher = [GO, ok, user("Again, and think of ten."), ok]
    for at, before in ((1, "Go."), (3, "Again, and think of ten.")):
        batch = collate(small, row(student, teacher, loss_messages=[1], teacher_loss_messages=[at]), layout="indexed")
        check(batch, holes=False)
        assert in_loss(small, batch) == ["ok"]
        first = int(batch["teacher_response_idx"][0, 0])
        assert small.decode(batch["ctx_teacher_input_ids"][0, :first]).endswith(
            f"{before}<|im_end|>\n<|im_start|>assistant\n"
        )


def test_messages_that_repeat_are_still_told_apart(small: Any) -> None:
    """What difflib would not find: its longest block first leaves the rest behind."""
    ok = assistant("ok")
    student = [GO, ok, ON, GO, ok]
    teacher = [GO, system("X"), ok, ON, system("Y"), GO, ok]
    batch = collate(small, row(student, teacher, loss_messages=[1, 4]))
    check(batch)
    assert in_loss(small, batch) == ["ok", "ok"]


MESSAGES = st.lists(st.sampled_from([GO, NINE, ON, TEN, user("ok"), assistant("ok")]), min_size=1, max_size=7)


@given(student=MESSAGES, inserted=st.lists(st.tuples(st.integers(0, 7), MESSAGES), max_size=3))
def test_insertions_are_found_or_refused(student: list[Any], inserted: list[Any]) -> None:
    teacher: list[Any] = []
    where = {}
    for index, message in enumerate(student):
        teacher += [new for at, messages in inserted if at == index for new in messages]
        where[index] = len(teacher)
        teacher.append(message)
    teacher += [new for at, messages in inserted if at >= len(student) for new in messages]
    found = map_messages(student, teacher)
    assert list(found) == list(range(len(student)))
    assert all(teacher[at] == student[index] for index, at in found.items())
    assert list(found.values()) == sorted(set(found.values()))
    unclear = ambiguous(student, teacher, list(found))
    for index, at in found.items():
        assert at == where[index] or index in unclear
    # Those that are clear are clear: with another counterpart fewer messages are equal.
    for index in set(found) - set(unclear):
        for other in range(len(teacher)):
            if teacher[other] == student[index] and other != found[index]:
                equal = map_messages(student, teacher, [(index, other)])
                assert sum(teacher[at] == student[i] for i, at in equal.items()) < len(student)


def test_messages_of_the_same_role_are_paired_from_the_end_on() -> None:
    student = [system("s"), user("a"), assistant("x"), user("b"), TEN]
    teacher = [system("other"), user("hint"), user("a, more"), user("b, more"), TEN]
    assert map_messages(student, teacher) == {0: 0, 1: 2, 3: 3, 4: 4}
    assert map_messages(student, teacher, [(1, 1)]) == {0: 0, 1: 1, 3: 3, 4: 4}


EDITS = st.lists(
    st.tuples(
        CONTENTS,
        st.sampled_from(["same", "replaced", "appended", "left out"]),
        CONTENTS,
        st.none() | st.tuples(st.sampled_from(["user", "system", "assistant"]), CONTENTS),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@given(
    edits=EDITS,
    name=st.sampled_from(sorted(TEMPLATES)),
    loss_on=st.sampled_from(["content", "turn", frozenset({Kind.CONTENT, Kind.SCAFFOLD, Kind.END_OF_TURN})]),
    layout=st.sampled_from(LAYOUTS),
    max_length=st.none() | st.integers(5, 80),
)
def test_random_teachers(small: Any, edits: Any, name: str, loss_on: Any, layout: str, max_length: Any) -> None:
    """Whatever the teacher changes: what a batch promises, each side's own text, or a typed error."""
    student: list[Any] = []
    teacher: list[Any] = []
    loss = {}
    for question, edit, answer, inserted, in_the_loss in edits:
        student.append(user(question))
        if edit != "left out":
            teacher.append(user({"same": question, "replaced": answer, "appended": question + answer}[edit]))
        if inserted is not None:
            teacher.append({"role": inserted[0], "content": inserted[1]})
        if in_the_loss:
            loss[len(student)] = len(teacher)
        student.append(assistant(answer))
        teacher.append(assistant(answer))
    kwargs = {"chat_template": TEMPLATES[name]}
    rows = row(student, teacher, loss_messages=list(loss), teacher_loss_messages=list(loss.values()))
    try:
        batch = collate(
            small, {**rows, "chat_template_kwargs": kwargs}, layout=layout, loss_on=loss_on, max_length=max_length
        )
    except ChatspanError as error:
        event(type(error).__name__)
        if error.trace_id != "t":
            raise
        return
    event("answered")
    check(batch, holes=layout == "aligned")
    texts = [student_text(small, batch, 0)]
    texts += [teacher_text(small, batch, 0)] if "sdpo_loss_mask" in batch else []
    if not int(batch["dropped_messages"]):
        for text, messages in zip(texts, (student, teacher), strict=False):
            assert text == small.apply_chat_template(messages, tokenize=False, **kwargs)
    if loss_on == "content" and loss and not int(batch["dropped_tokens"] + batch["dropped_sites"]):
        contents = [student[index]["content"] for index in loss]
        assert "".join("".join(in_loss(small, batch)).split()) == "".join("".join(contents).split())


BAD_ROWS = {
    "no dict": ("Go.", TraceError, r"^trace 'row 0': a row is a dict .*; got str"),
    "no messages": ({"trace_id": "t"}, TraceError, r"^trace 't': it has no conversation: .*, got 'trace_id'"),
    "no teacher's": (row(STUDENT, []), TraceError, r"^trace 't': its 'teacher_messages' must"),
    "a bad message of the teacher's": (
        row(STUDENT, [GO, {"content": "x"}]),
        TraceError,
        r"^trace 't': its 'teacher_messages': message 1 has no 'role'",
    ),
    "a surrogate": (row(STUDENT, [user("\ud800")]), TextError, r"^trace 't', turn 0: 'content' has a lone surrogate"),
    "loss without a teacher": (
        row(STUDENT, loss_messages=[2]),
        TraceError,
        r"^trace 't': it has 'loss_messages', but no 'teacher_messages'",
    ),
    "lacks a loss message": (
        row(STUDENT, [*STUDENT[:3], ON], loss_messages=[2, 4]),
        AlignmentError,
        r"^trace 't', turn 4: the teacher's messages lack this loss message",
    ),
    "no assistant's": (
        row(STUDENT, STUDENT, loss_messages=[3]),
        TraceError,
        r"^trace 't', turn 3: a loss message must be an assistant's, not 'user'",
    ),
    "contents differ": (
        row(STUDENT, [*STUDENT[:4], assistant("At eleven.")], loss_messages=[4]),
        AlignmentError,
        r"^trace 't', turn 4: a loss message must be the same on both sides, but 'content' of the teacher's message 4 "
        r"is 'At eleven.', the student's 'No, at ten.'",
    ),
    "calls differ": (
        row([GO, calls(call("a", {"x": 1}))], [GO, calls(call("a", {"x": 2}))], loss_messages=[1]),
        AlignmentError,
        r"^trace 't', turn 1: .* but 'tool_calls\[0\]\.function\.arguments\.x' of the teacher's message 1 is 2, "
        r"the student's 1$",
    ),
    "ambiguous": (
        row([GO, NINE], [GO, NINE, GO, NINE], loss_messages=[1]),
        AlignmentError,
        r"^trace 't', turn 1: .*select it with 'loss_messages' and 'teacher_loss_messages'",
    ),
    "ambiguous by itself": (
        row([GO, NINE], [GO, NINE, GO, NINE]),
        AlignmentError,
        r"^trace 't', turn 1: this message could be several of the teacher's",
    ),
    "the student's is ambiguous": (
        row([GO, NINE, GO, NINE], [GO, NINE], loss_messages=[1]),
        AlignmentError,
        r"^trace 't', turn 1: .* or a teacher's message several of the student's",
    ),
    "out of range": (
        row(STUDENT, STUDENT, loss_messages=[7]),
        TraceError,
        r"^trace 't': its 'loss_messages' names message 7, but there are 5",
    ),
    "negative": (row(STUDENT, STUDENT, loss_messages=[-1]), TraceError, r"'loss_messages' names message -1"),
    "not rising": (
        row(STUDENT, STUDENT, loss_messages=[4, 2]),
        TraceError,
        r"'loss_messages' must be in increasing order: \[4, 2\]",
    ),
    "twice": (
        row(STUDENT, STUDENT, loss_messages=[2, 2]),
        TraceError,
        r"'loss_messages' must be in increasing order: \[2, 2\]",
    ),
    "a number": (row(STUDENT, STUDENT, loss_messages=4), TraceError, r"must be a list of message indices, got int 4"),
    "a mask": (
        row(STUDENT, STUDENT, loss_messages=[False, True]),
        TraceError,
        r"must be a list of message indices, got list \[False, True\]",
    ),
    "the teacher's out of range": (
        row(STUDENT, STUDENT, loss_messages=[4], teacher_loss_messages=[5]),
        TraceError,
        r"^trace 't': 'teacher_loss_messages' names message 5, but there are 5",
    ),
    "one for each": (
        row(STUDENT, STUDENT, loss_messages=[2, 4], teacher_loss_messages=[4]),
        TraceError,
        r"^trace 't': 2 'loss_messages', but 1 'teacher_loss_messages': pass one for each",
    ),
    "the teacher's is another": (
        row(STUDENT, STUDENT, loss_messages=[4], teacher_loss_messages=[2]),
        AlignmentError,
        r"^trace 't', turn 4: .*'content' of the teacher's message 2 is 'At nine.'",
    ),
    "the teacher's alone": (
        row(STUDENT, STUDENT, teacher_loss_messages=[2]),
        TraceError,
        r"^trace 't': it has 'teacher_loss_messages', but no 'loss_messages'",
    ),
    "tools of another type": (row(STUDENT, STUDENT, tools="go"), TraceError, r"^trace 't': its 'tools' must be a list"),
}


@pytest.mark.parametrize(("bad", "kind", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
@pytest.mark.parametrize("view", [lambda tokenizer: tokenizer, PlainView], ids=["fast", "plain"])
def test_bad_rows(small: Any, bad: Any, kind: type[Exception], message: str, view: Any) -> None:
    with pytest.raises(kind, match=message) as error:
        collate(view(small), bad)
    assert type(error.value) is kind


@pytest.mark.parametrize("rows", [[], "rows", None, {"messages": []}])
def test_what_is_no_list_of_rows(small: Any, rows: Any) -> None:
    with pytest.raises(TraceError, match="list of rows"):
        SelfDistillationCollator(small)(rows)


def test_a_template_that_refuses_the_teacher_is_not_said_to_refuse_a_hint(small: Any) -> None:
    kwargs = {"chat_template": TEMPLATES["alternating"]}
    with pytest.raises(
        TemplateError, match=r"^trace 't'.*raised at message 1 \(role 'user'\).*must alternate"
    ) as error:
        collate(small, row([GO, NINE], [GO, user("Hm."), NINE], chat_template_kwargs=kwargs))
    assert type(error.value) is TemplateError
    assert "hint" not in str(error.value)


def test_a_teacher_that_the_template_writes_otherwise_is_an_alignment_error(small: Any) -> None:
    template = "{% for m in messages %}{{ m.content | upper if messages | length > 2 else m.content }}|{% endfor %}"
    rows = row([GO, assistant("so be it then")], [GO, ON, assistant("so be it then")])
    with pytest.raises(
        AlignmentError, match=r"^trace 't', turn 1: .*message 1: \d+ of \d+ tokens differ on the teacher's side"
    ):
        collate(small, {**rows, "chat_template_kwargs": {"chat_template": template}})


CALLING = [
    GO,
    calls(call("rebook", {"train": "IC 900"}), content="I will.", reasoning_content="Hm."),
    tool("done"),
    assistant("Done."),
]
WITH_ALL = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.reasoning_content %}"
    "{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ '[call]' + c.function.name + ' ' + c.function.arguments.train + '[/call]' }}{% endfor %}{{ '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# (loss_on, the text in the loss, the weights of its stretches)
LOSS_ON = {
    "content": ("content", ["I will.", "Done."], {1.0}),
    "turn": (
        "turn",
        ["<think>Hm.</think>I will.[call]rebook IC 900[/call]<|im_end|>", "Done.<|im_end|>"],
        {1.0},
    ),
    "kinds": ({Kind.REASONING, Kind.END_OF_TURN}, ["<think>Hm.</think>", "<|im_end|>", "<|im_end|>"], {1.0}),
    "a kind": ([Kind.TOOL_CALL], ["[call]rebook IC 900[/call]"], {1.0}),
    "weights": (
        {Kind.CONTENT: 1.0, Kind.TOOL_CALL: 0.25, Kind.END_OF_TURN: 0.5},
        ["I will.[call]rebook IC 900[/call]<|im_end|>", "Done.<|im_end|>"],
        {1.0, 0.25, 0.5},
    ),
    "weights by role": ({"user": 3, "assistant": 2, Kind.SCAFFOLD: 0, Kind.REASONING: 0}, None, {2.0}),
    "a weight of 0 is no loss": ({Kind.CONTENT: 0, Kind.TOOL_CALL: 1}, ["[call]rebook IC 900[/call]"], {1.0}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("loss_on", "texts", "weights"), LOSS_ON.values(), ids=LOSS_ON.keys())
def test_what_the_loss_is_on(small: Any, loss_on: Any, texts: Any, weights: set[float], layout: str) -> None:
    teacher = [GO, system("Hm."), *CALLING[1:3], system("Well."), CALLING[3]]
    kwargs = {"chat_template": WITH_ALL}
    batch = collate(small, row(CALLING, teacher, chat_template_kwargs=kwargs), layout=layout, loss_on=loss_on)
    check(batch, holes=layout == "aligned")
    if texts is not None:
        assert in_loss(small, batch) == texts
    assert set(batch["sdpo_loss_weight"][batch["sdpo_loss_mask"] == 1].tolist()) == weights
    assert batch["dropped_tokens"].tolist() == [0]


def test_a_weight_is_that_of_its_token(small: Any) -> None:
    loss_on = {Kind.CONTENT: 1.0, Kind.END_OF_TURN: 0.5, (Kind.CONTENT, 4): 0.25}
    batch = collate(small, row(STUDENT, [GO, *STUDENT]), loss_on=loss_on)
    texts = {
        weight: small.decode(batch["input_ids"][0][batch["sdpo_loss_weight"][0] == weight])
        for weight in (1.0, 0.5, 0.25)
    }
    assert texts == {1.0: "At nine.", 0.5: "<|im_end|><|im_end|>", 0.25: "No, at ten."}
    assert batch["sdpo_loss_weight"].dtype == torch.float32


def test_a_call_is_in_the_loss_where_the_template_drops_the_words_beside_it(small: Any) -> None:
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.tool_calls %}"
        "{{ '[call]' + m.tool_calls[0].function.name + '[/call]' }}{% else %}{{ m.content }}{% endif %}"
        "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    rows = row(CALLING, [GO, *CALLING], loss_messages=[1, 3], chat_template_kwargs={"chat_template": template})
    batch = collate(small, rows, loss_on="turn")
    check(batch)
    assert in_loss(small, batch) == ["[call]rebook[/call]<|im_end|>", "Done.<|im_end|>"]
    assert batch["dropped_sites"].tolist() == [0]
    batch = collate(small, rows)
    assert in_loss(small, batch) == ["Done."]
    assert batch["dropped_sites"].tolist() == [1]


@pytest.mark.parametrize(
    "loss_on",
    ["contents", "", [], set(), None, 3, {"content"}, [1], {}, {Kind.CONTENT: -1}, {Kind.CONTENT: float("nan")}],
    ids=repr,
)
def test_bad_loss_on(loss_on: Any) -> None:
    with pytest.raises(OptionError, match=r"^loss_on="):
        DistillationConfig(loss_on=loss_on)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "placeholder"}, r"layout='placeholder': use one of 'aligned', 'indexed'"),
        ({"max_length": 0}, "max_length=0: expected the number of tokens"),
        ({"max_length": 7.0}, r"max_length=7\.0: expected the number of tokens"),
        ({"pad_to_multiple_of": True}, "pad_to_multiple_of=True: expected the number of tokens"),
        ({"overflow": "cut"}, "overflow='cut': use one of 'error', 'drop_row', 'drop_site'"),
        ({"padding_side": "top"}, "padding_side='top': use one of 'right', 'left'"),
        ({"max_dropped": 2}, "max_dropped=2: expected a fraction"),
        ({"packing": True}, r'packing=True needs layout="indexed", not .aligned.'),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        DistillationConfig(**options)


def test_kinds_need_a_fast_tokenizer(small: Any) -> None:
    with pytest.raises(OptionError, match="loss_on='turn' needs an HF fast tokenizer"):
        SelfDistillationCollator(PlainView(small), DistillationConfig(loss_on="turn"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tokenizer_without_offsets_gives_the_same_batch(small: Any, layout: str) -> None:
    rows = [row(STUDENT, teacher, loss_messages=loss) for teacher, loss, _ in TEACHERS.values()]
    batch, reference = collate(small, *rows, layout=layout), collate(PlainView(small), *rows, layout=layout)
    assert set(batch) == set(reference)
    for key in batch:
        assert torch.equal(batch[key], reference[key]), key


def test_tools_and_keywords_reach_both_sides(small: Any) -> None:
    teacher = [GO, system("Hm."), *CALLING[1:]]
    batch = collate(small, row(CALLING, teacher, tools=[schema()]))
    check(batch)
    for text in (student_text(small, batch, 0), teacher_text(small, batch, 0)):
        assert '"name": "rebook", "description"' in text
        assert '<tool_call>\n{"name": "rebook", "arguments": {"train": "IC 900"}}\n</tool_call>' in text


def test_has_signal_and_explain(small: Any) -> None:
    collator = SelfDistillationCollator(small)
    signal = row(STUDENT, [*STUDENT[:3], system("Hm."), *STUDENT[3:]])
    assert collator.has_signal(signal)
    assert [collator.has_signal(other) for other in (row(STUDENT), row([GO], [ON]), row(STUDENT, [GO]))] == [False] * 3
    text = collator.explain(signal)
    assert text.startswith("trace 't' (row 0)\n  student: ")
    assert stripped_lines(text)[-2:] == [
        f"turn 2, {count(small, 'At nine.')} tokens in the loss: 'At nine.'",
        f"turn 4, {count(small, 'No, at ten.')} tokens in the loss: 'No, at ten.'",
    ]
    assert stripped_lines(collator.explain(row(STUDENT)))[-1] == "no loss"
    hinted = ComposerDataCollator(tokenizer=small, config=trace_config())
    assert "turn 1, hint in the teacher's message 1" in hinted.explain(trace(GO, failed("Yes.")))
    dropping = SelfDistillationCollator(small, DistillationConfig(keep_empty=False))
    assert dropping.explain(row(STUDENT)) == "left out\n"
    assert not dropping.has_signal(row(STUDENT))


def count(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text)["input_ids"])


def stripped_lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n")]


def test_prompts_are_tokenized_apart_on_both_sides(zoo_tokenizer: Any) -> None:
    """``<think>\\n`` and ``\\n</think>`` join to one token that inference never meets."""
    tokenizer = copy.deepcopy(zoo_tokenizer("qwen3"))
    tokenizer.chat_template = (ZOO / "templates" / "Qwen3.5-4B.jinja").read_text(encoding="utf-8")
    answer = {"role": "assistant", "content": "It is 4."}
    sides = [[{"role": "user", "content": text}, answer] for text in ("2 + 2?", "2 + 2? (It is 4.)")]
    row = {"messages": sides[0], "teacher_messages": sides[1]}
    turn = "</think>\n\nIt is 4.<|im_end|>"
    for boundaries, expected in (("as_rendered", turn), ("as_prompted", "\n" + turn)):
        config = DistillationConfig(loss_on="turn", boundaries=boundaries)
        batch = SelfDistillationCollator(tokenizer, config)([row])
        student = batch["input_ids"][0, batch["student_response_idx"][0]]
        teacher = batch["ctx_teacher_input_ids"][0, batch["teacher_response_idx"][0]]
        assert [tokenizer.decode(ids) for ids in (student, teacher)] == [expected, expected]
