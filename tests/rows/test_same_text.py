"""Equality is of text, not of Python: what is equal there and written differently is told apart everywhere."""

from __future__ import annotations

import collections
import types
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from cases import assistant, user
from chatspan import AlignmentError, ChatEncoder, DistillationConfig, SelfDistillationCollator
from chatspan.attribute.conventions import keywords_key
from chatspan.audit.totals import digest_of
from chatspan.distillation.examples.message_map import map_messages
from chatspan.distillation.examples.rows import row_examples
from chatspan.render.request import request_of
from chatspan.rows.reader import read_row
from chatspan.rows.same_text import Difference, message_key, text_difference, text_key
from conversations import call, calls
from hypothesis import event, example, given

# What templates write of a field: as JSON, and as Python's own text of it.
WRITES = "{% for m in messages %}{{ m.x | tojson }}\n{{ [m.x] }}{% endfor %}"
# What else is in a message, by what renders it: the core reads no keys that are numbers.
ENGINES: dict[str, dict[str, Any]] = {"native": {}, "jinja2": {"y": {1: 2}}}
LOOKS_LIKE_OTHERS = [
    1,
    1.0,
    True,
    "1",
    0,
    0.0,
    -0.0,
    False,
    None,
    "",
    "None",
    [],
    {},
    [1],
    [True],
    {"a": 1},
    {"a": 1.0},
]

VALUES = st.recursive(
    st.sampled_from(LOOKS_LIKE_OTHERS[:10]) | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "", '"', "1"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two values, often ones that Python holds to be equal."""
    value = draw(VALUES)
    return value, draw(VALUES) if draw(st.booleans()) else draw(st.just(retyped(draw, value)))


def retyped(draw: st.DrawFn, value: Any) -> Any:
    """The value with numbers of other types and keys in another order, or as it is."""
    if isinstance(value, dict):
        return {key: retyped(draw, value[key]) for key in draw(st.permutations(list(value)))}
    if isinstance(value, list):
        return [retyped(draw, part) for part in value]
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return draw(st.sampled_from([type(value), int, float, bool]))(value)
    return value


@given(both=pairs())
@example(both=({"a": 1, "b": 2}, {"b": 2, "a": 1}))
@example(both=(0.0, -0.0))
@example(both=(float("nan"), float("nan")))
@example(both=({"a": [1]}, {"a": [True]}))
def test_keys_are_equal_where_renders_are(small: Any, both: tuple[Any, Any]) -> None:
    encoder = ChatEncoder(small, chat_template=WRITES)
    # Around it is a list, so that a field of null is none that transformers takes away.
    is_same = text_key(both[0]) == text_key(both[1])
    event(f"Python: {both[0] == both[1]}, text: {is_same}")
    for more in ENGINES.values():
        renders = [encoder.encode([{"role": "user", "x": [value], **more}]).text for value in both]
        assert is_same == (renders[0] == renders[1])
    assert (text_difference(*both) is None) == is_same


def test_values_that_python_takes_for_equal_have_keys_of_their_own() -> None:
    assert len({text_key(value) for value in LOOKS_LIKE_OTHERS}) == len(LOOKS_LIKE_OTHERS)


def test_what_templates_write_alike_has_one_key(small: Any) -> None:
    class Text(str):
        """A type of a caller's own."""

    encoder = ChatEncoder(small, chat_template=WRITES)

    def written(value: Any) -> str:
        return encoder.encode([{"role": "user", "x": value}]).text

    for one, other in (
        ({"a": 1}, collections.OrderedDict(a=1)),
        ({"a": 1}, types.MappingProxyType({"a": 1})),
        ("a", Text("a")),
        (1.5, np.float64(1.5)),
        (3, np.int64(3)),
        (True, np.bool_(True)),
    ):
        assert text_key(one) == text_key(other)
        assert written(one) == written(other)
    # Without tojson a tuple has brackets of its own.
    assert text_key((1, 2)) != text_key([1, 2])
    assert written((1, 2)).endswith("[(1, 2)]")


def test_keys_of_values_that_nothing_writes() -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    assert text_key(cyclic) == text_key(cyclic) == "[[...]]"
    assert text_key(10**6000) != text_key(10**6000 + 1)
    assert text_key("\ud800") != text_key("\ud801")


def test_the_order_of_a_messages_own_keys_does_not_count() -> None:
    one, other = {"role": "user", "content": "a"}, {"content": "a", "role": "user"}
    assert message_key(one) == message_key(other)
    assert message_key({**one, "x": {"a": 1, "b": 2}}) != message_key({**one, "x": {"b": 2, "a": 1}})


CALLS = ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1.0, "b": 2}, {"a": True, "b": 2})


def test_rows_are_counted_as_the_same_if_their_text_is() -> None:
    rows = [[user("Go."), calls(call("f", arguments))] for arguments in CALLS]
    assert len({digest_of(row, {}) for row in rows}) == 4
    assert len({digest_of(rows[0], {"tools": [{"n": n}], "x": 1}) for n in (1, 1.0, True)}) == 3
    assert digest_of(rows[0], {"x": 1, "y": 2}) == digest_of([dict(m) for m in rows[0]], {"y": 2, "x": 1})
    # What is a message's is no other one's.
    assert digest_of([user("a"), user("b")], {}) != digest_of([user("a")], {"b": user("b")})


def test_keywords_that_python_takes_for_equal_are_kept_apart(small: Any) -> None:
    source = "{% for m in messages %}{{ m.content }}{% endfor %}{{ mode }}"
    modes = (1, 1.0, True, {"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert len({keywords_key(source, request_of([user("a")], mode=mode)) for mode in modes}) == len(modes)
    encoder = ChatEncoder(small, chat_template=source)
    assert [encoder.encode([user("a")], mode=mode).text for mode in modes[:3]] == ["a1", "a1.0", "aTrue"]


def test_a_batch_keeps_messages_apart_that_python_takes_for_equal(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=WRITES)
    for engine, more in ENGINES.items():
        found = encoder.encode_batch([[{"role": "user", "x": value, **more}] for value in CALLS])
        assert {encoding.explain().partition("\n")[0].rpartition(" ")[2] for encoding in found} == {engine}
        assert [encoding.text.splitlines()[0] for encoding in found] == [
            '{"a": 1, "b": 2}',
            '{"b": 2, "a": 1}',
            '{"a": 1.0, "b": 2}',
            '{"a": true, "b": 2}',
        ]


GO, DONE = user("Go."), assistant("Done.")
DIFFERENT: dict[str, tuple[Any, Any, str]] = {
    "a fraction": (
        {"n": 1},
        {"n": 1.0},
        r"'tool_calls\[0\]\.function\.arguments\.n' of the teacher's message 1 is 1\.0, the student's 1$",
    ),
    "a truth value": (
        {"n": [{"m": 1}]},
        {"n": [{"m": True}]},
        r"arguments\.n\[0\]\.m' of the teacher's message 1 is True, the student's 1$",
    ),
    "an order of keys": (
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        r"arguments' of the teacher's message 1 is an object with its keys in the order 'b', 'a', the student's an "
        r"object with its keys in the order 'a', 'b'$",
    ),
}


@pytest.mark.parametrize("given_loss", [None, [1]])
@pytest.mark.parametrize("name", DIFFERENT)
def test_a_teachers_call_that_is_equal_in_python_alone(small: Any, name: str, given_loss: Any) -> None:
    mine, theirs, text = DIFFERENT[name]
    row: dict[str, Any] = {
        "trace_id": "t",
        "messages": [GO, calls(call("f", mine)), DONE],
        "teacher_messages": [GO, calls(call("f", theirs)), DONE],
    }
    assert row["messages"] == row["teacher_messages"]
    if given_loss:
        row["loss_messages"] = given_loss
    collate = SelfDistillationCollator(small, DistillationConfig(loss_on="turn"))
    with pytest.raises(AlignmentError, match=rf"^trace 't', turn 1: .*{text}"):
        collate([row])


def test_it_is_told_of_also_where_another_message_takes_its_place() -> None:
    student = [GO, calls(call("f", {"n": 1})), DONE]
    teacher = [GO, calls(call("f", {"n": 1.0})), assistant("Hm."), DONE]
    # By its role the student's call would be the teacher's other answer.
    assert map_messages(student, teacher) == {0: 0, 1: 2, 2: 3}
    with pytest.raises(AlignmentError, match=r"arguments\.n' of the teacher's message 1 is 1\.0, the student's 1$"):
        row_examples([read_row({"messages": student, "teacher_messages": teacher})])


def test_what_is_not_in_the_loss_may_be_written_differently() -> None:
    student = [{**GO, "x": {"n": 1}}, DONE]
    (example_of_row,) = row_examples(
        [read_row({"messages": student, "teacher_messages": [{**GO, "x": {"n": 1.0}}, DONE]})]
    )
    assert example_of_row.loss_messages == [1]
    assert example_of_row.message_map == {0: 0, 1: 1}


def test_texts_that_differ_are_quoted_around_the_place() -> None:
    long = "The train leaves Bern at nine. " * 20
    row = {
        "messages": [GO, assistant(long + "It is on time, as far as anybody can tell from what the board says.")],
        "teacher_messages": [GO, assistant(long + "It is late.")],
        "loss_messages": [1],
    }
    with pytest.raises(AlignmentError) as error:
        row_examples([read_row(row)])
    assert error.value.start_char == 626
    assert error.value.message == (
        "a loss message must be the same on both sides, but 'content' of the teacher's message 1 is "
        "…'Bern at nine. It is late.', the student's …'Bern at nine. It is on time, as far as anybody can tell from'…; "
        "they differ from character 626 on"
    )


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ([1, 2], [1], Difference("", "2 items", "1 items")),
        ({"a": {"b": 1}}, {"a": {}}, Difference("a.b", "1", "not there")),
        ({"a": {}}, {"a": {"b": None}}, Difference("a.b", "not there", "None")),
        ({"a": [1]}, {"a": (1,)}, Difference("a", "[1]", "(1,)")),
        ([{"x": "ab"}], [{"x": "ac"}], Difference("[0].x", "'ab'", "'ac'", 1)),
        ("a", 1, Difference("", "'a'", "1")),
        ("ab", "a", Difference("", "'ab'", "'a'", 1)),
    ],
)
def test_where_values_differ(one: Any, other: Any, found: Difference) -> None:
    assert text_difference(one, other) == found
