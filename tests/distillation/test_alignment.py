"""Tokens are paired by where they come from and by id: compared with a slow twin, and case by case as text."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from cases import TEMPLATES, assistant, system, user
from chatspan import AlignmentError, ChatEncoder, ChatspanError, Encoding, Kind, OptionError, align
from chatspan.distillation.pairs.alignment import predicted
from conversations import call, calls, tool
from hypothesis import event, given
from test_random_conversations import CONTENTS
from transformers import AutoTokenizer
from zoo import EXAMPLES

TOOL_CALLS = (
    "{% for m in messages %}{{ '<' + m.role + '>' }}{% if m.reasoning_content %}<think>{{ m.reasoning_content }}"
    "</think>{% endif %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
    "{{ '[call]' + c.function | tojson + '[/call]' }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}"
)


@functools.cache
def encoder(template: str) -> ChatEncoder:
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    tokenizer.chat_template = template
    return ChatEncoder(tokenizer, backend="hf")


def encode(messages: Sequence[Any], template: str = TEMPLATES["chatml"]) -> Encoding:
    return encoder(template).encode(messages)


def text(encoding: Encoding, tokens: Any) -> str:
    return encoder(TEMPLATES["chatml"]).decode(encoding.input_ids[tokens])


def place(encoding: Encoding, token: int) -> tuple[Any, ...] | None:
    """Whose a token is, and which character of which field it begins at, or of which segment of its message."""
    start, end = encoding.offsets[token].tolist()
    if start == end:
        return None
    message = int(encoding.message_index[token])
    for span in encoding.spans:
        if span.verbatim and span.start_char <= start < span.end_char:
            return (message, span.message_index, span.path, span.field_start_char + start - span.start_char)
    seen: list[tuple[int, Kind]] = []
    for segment in encoding.segments:
        key = (segment.message_index, segment.kind)
        if segment.start_char <= start < segment.end_char:
            return (message, *key, seen.count(key), start - segment.start_char)
        seen.append(key)
    raise AssertionError("the segments have no gaps")


def twin(student: Encoding, teacher: Encoding, message_map: dict[int, int], wanted: Any) -> list[tuple[int, int]]:
    """For each token, in order, the first one of the teacher's that is free, has its place and its id."""
    mapped = {-1: -2, **message_map}  # what belongs to no message is the same as nothing
    free = [(token, place(teacher, token)) for token in range(len(teacher))]
    pairs: list[tuple[int, int]] = []
    for token in range(len(student)):
        at = place(student, token)
        if at is None or at[0] not in message_map:
            continue
        there = (mapped[at[0]], mapped.get(at[1], -2), *at[2:])
        for other, candidate in free:
            if candidate == there and teacher.input_ids[other] == student.input_ids[token]:
                free.remove((other, candidate))
                if not pairs or pairs[-1][1] < other:
                    pairs.append((token, other))
                break
    return [(s, t) for s, t in pairs if wanted[s]]


# For each message: the question (what the teacher makes of it), the answer, what is inserted in front of it.
EDITS = st.one_of(st.none(), CONTENTS.map(lambda new: ("replace", new)), CONTENTS.map(lambda new: ("append", new)))
TURNS = st.lists(st.tuples(CONTENTS, EDITS, CONTENTS, st.none() | CONTENTS), min_size=1, max_size=3)


@given(name=st.sampled_from(sorted(TEMPLATES)), turns=TURNS, role=st.sampled_from(["user", "system"]))
def test_pairs_are_those_of_the_twin(name: str, turns: list[Any], role: str) -> None:
    student: list[Any] = []
    teacher: list[Any] = []
    message_map = {}
    for question, edit, answer, inserted in turns:
        message_map |= {len(student): len(teacher)}
        student.append(user(question))
        kind, new = edit or ("append", "")
        teacher.append(user(new if kind == "replace" else question + new))
        if inserted is not None:
            teacher.append({"role": role, "content": inserted})
        message_map |= {len(student): len(teacher)}
        student.append(assistant(answer))
        teacher.append(assistant(answer))
    try:
        mine, theirs = encode(student, TEMPLATES[name]), encode(teacher, TEMPLATES[name])
    except ChatspanError as error:
        event(type(error).__name__)
        return
    for wanted in (mine.mask(what="content"), np.ones(len(mine), dtype=bool)):
        found = align(mine, theirs, message_map, wanted=wanted, max_dropped=1)
        assert list(zip(*found[:2], strict=True)) == twin(mine, theirs, message_map, wanted)
        assert mine.input_ids[found.student_tokens].tolist() == theirs.input_ids[found.teacher_tokens].tolist()
        assert sorted([*found.student_tokens, *found.dropped]) == np.flatnonzero(wanted).tolist()
        for tokens in found[:2]:
            assert (np.diff(tokens) > 0).all()
    event("compared")


@given(student=st.lists(st.integers(1, 3), max_size=8), teacher=st.lists(st.integers(1, 3), max_size=8))
def test_predicted_keeps_pairs_with_a_common_column_in_front(student: list[int], teacher: list[int]) -> None:
    """The columns are laid out one pair after the other: those of both sides, behind those of one side."""
    count = min(len(student), len(teacher))
    mine, theirs = np.cumsum(student[:count]) - 1, np.cumsum(teacher[:count]) - 1
    kept = []
    last = (-1, -1)
    for s, t in zip(mine.tolist(), theirs.tolist(), strict=True):
        # In front of it stands a pair that is kept, or a token of its own on both sides.
        between = (s - last[0] - 1, t - last[1] - 1)
        adjoins = between == (0, 0) and last != (-1, -1)
        kept.append(adjoins or (between[0] > 0 and between[1] > 0))
        if kept[-1]:
            last = (s, t)
    assert predicted(mine, theirs).tolist() == kept


QUESTION, ANSWER = user("When does it leave?"), assistant("It leaves at nine.")
INSIDE = assistant("One moment, please.", tool_calls=[call("rebook", {"train": "IC 900", "seats": 2})])
# (the template, the student's messages, the teacher's, the map, the text of the pairs of the student's messages in it)
CASES = {
    "inserted": (
        "chatml",
        [QUESTION, ANSWER],
        [QUESTION, system("Be kind."), ANSWER],
        {1: 2},
        "<|im_start|>assistant\nIt leaves at nine.<|im_end|>\n",
    ),
    "the same text twice": (
        "chatml",
        [QUESTION, ANSWER, QUESTION, ANSWER],
        [QUESTION, ANSWER, ANSWER, QUESTION, system("Hm."), ANSWER],
        {3: 5},
        "<|im_start|>assistant\nIt leaves at nine.<|im_end|>\n",
    ),
    "replaced": (
        "chatml",
        [QUESTION, ANSWER],
        [user("A question, and its solution: nine."), ANSWER],
        {1: 1},
        "<|im_start|>assistant\nIt leaves at nine.<|im_end|>\n",
    ),
    "appended: what was there is paired": (
        "chatml",
        [QUESTION, ANSWER],
        [user("When does it leave?\n\nHint: soon."), ANSWER],
        {0: 0},
        "<|im_start|>user\nWhen does it leave?<|im_end|>\n",
    ),
    "emoji, whose tokens share characters": (
        "chatml",
        [QUESTION, assistant("🚆🚆 and 👩‍👩‍👧‍👦")],
        [QUESTION, system("🚆"), assistant("🚆🚆 and 👩‍👩‍👧‍👦")],
        {1: 2},
        "<|im_start|>assistant\n🚆🚆 and 👩‍👩‍👧‍👦<|im_end|>\n",
    ),
    "a field that is rendered twice": (
        "twice",
        [QUESTION, ANSWER],
        [system("Be kind."), QUESTION, ANSWER],
        {0: 1},
        "When does it leave? / When does it leave?<|im_end|>",
    ),
    "a blank that the template joins with the first word": (
        "blank in front",
        [QUESTION, assistant("the train.")],
        [QUESTION, system("Hm."), assistant("the train.")],
        {1: 2},
        "assistant: the train.\n\n",
    ),
    "calls and reasoning": (
        TOOL_CALLS,
        [QUESTION, {**INSIDE, "reasoning_content": "I must."}, tool("done")],
        [QUESTION, tool("a hint"), {**INSIDE, "reasoning_content": "I must."}, tool("done")],
        {1: 2},
        "<assistant><think>I must.</think>One moment, please."
        '[call]{"name": "rebook", "arguments": {"train": "IC 900", "seats": 2}}[/call]<|im_end|>',
    ),
    "a dumped container that differs in one field": (
        TOOL_CALLS,
        [calls(call("rebook", {"train": "IC 900", "to": "Bonn"}))],
        [calls(call("rebook", {"train": "IC 471", "to": "Bonn"}))],
        {0: 0},
        '<assistant>[call]{"name": "rebook", "arguments": {"train": "IC", "to": "Bonn"}}[/call]<|im_end|>',
    ),
    "no message": ("chatml", [QUESTION, ANSWER], [QUESTION, ANSWER], {}, ""),
}


@pytest.mark.parametrize(("template", "student", "teacher", "message_map", "paired"), CASES.values(), ids=CASES.keys())
def test_what_is_paired(template: str, student: Any, teacher: Any, message_map: dict[int, int], paired: str) -> None:
    mine, theirs = (encode(side, TEMPLATES.get(template, template)) for side in (student, teacher))
    found = align(mine, theirs, message_map, max_dropped=1)
    assert text(mine, found.student_tokens) == text(theirs, found.teacher_tokens) == paired
    wanted = np.isin(mine.message_index, list(message_map))
    assert list(zip(*found[:2], strict=True)) == twin(mine, theirs, message_map, wanted)


def test_a_token_that_came_out_different_is_reported() -> None:
    # The template writes a letter that joins the content's last word.
    template = "{% for m in messages %}{{ m.content }}{{ 'e ' if m.role == 'assistant' and not loop.last }}{% endfor %}"
    mine = encode([user("Go.\n"), assistant("one of th")], template)
    theirs = encode([user("Go.\n"), assistant("one of th"), user("On.")], template)
    found = align(mine, theirs, {1: 1}, wanted=mine.mask(what="content"))
    assert text(mine, found.student_tokens) + text(mine, found.dropped) == "one of th"
    assert text(mine, found.student_tokens) == "one of"
    assert text(theirs, found.teacher_tokens) == text(mine, found.student_tokens)


def test_two_tokens_may_always_fall_out_and_more_by_their_part() -> None:
    words = [f"w{i} and" for i in range(60)]

    def dropped(changed: int, max_dropped: float = 0.02) -> int:
        other = [word.upper() if i in range(20, 20 + changed) else word for i, word in enumerate(words)]
        mine, theirs = (encode([QUESTION, assistant(" ".join(side))]) for side in (words, other))
        return len(align(mine, theirs, {1: 1}, wanted=mine.mask(what="content"), max_dropped=max_dropped).dropped)

    assert dropped(0) == 0
    of_one = dropped(1, max_dropped=1)
    assert of_one > 0
    count = int(encode([QUESTION, assistant(" ".join(words))]).mask(what="content").sum())
    assert max(2, 0.02 * count) < dropped(5, max_dropped=1)
    with pytest.raises(
        AlignmentError,
        match=rf"^message 1: \d+ of {count} tokens differ on the teacher's side, from ' ?w?20.*' on$",
    ) as error:
        dropped(5)
    assert error.value.message_index == 1
    assert dropped(5, max_dropped=0.3) == dropped(5, max_dropped=1)


def test_two_of_a_short_message_are_no_error_and_three_are() -> None:
    def drop(student: str, teacher: str) -> str:
        mine, theirs = encode([QUESTION, assistant(student)]), encode([QUESTION, assistant(teacher)])
        return text(mine, align(mine, theirs, {1: 1}, wanted=mine.mask(what="content"), max_dropped=0).dropped)

    assert drop("a b", "a c") == " b"
    assert drop("a b t", "a c s") == " b t"
    with pytest.raises(AlignmentError, match=r"^message 1: 3 of 4 tokens differ on the teacher's side, from ' b t a"):
        drop("a b t a", "a c s i")


def test_each_message_is_judged_by_itself() -> None:
    conversation = [QUESTION, assistant("word " * 200 + "end"), QUESTION, assistant("a b t a")]
    mine, theirs = encode(conversation), encode([*conversation[:3], assistant("a c s i")])
    with pytest.raises(AlignmentError, match=r"^message 3: 3 of 4 tokens") as error:
        align(mine, theirs, {1: 1, 3: 3}, wanted=mine.mask(what="content"))
    assert error.value.message_index == 3


@pytest.mark.parametrize(
    ("message_map", "options", "message"),
    [
        ({2: 1}, {}, "message_map names message 2 of the student, which has 2"),
        ({1: 5}, {}, "message_map names message 5 of the teacher, which has 2"),
        ({-1: 1}, {}, "message_map names message -1 of the student, which has 2"),
        ({1: 1}, {"wanted": np.ones(3, dtype=bool)}, r"wanted has the shape \(3,\), the student \d+ tokens"),
    ],
)
def test_bad_arguments(message_map: dict[int, int], options: Any, message: str) -> None:
    encoding = encode([QUESTION, ANSWER])
    with pytest.raises(OptionError, match=message):
        align(encoding, encoding, message_map, **options)
