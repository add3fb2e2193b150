"""What is selected of an encoding or of a run: what is not there is an error that names what was seen."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import CHATML, assistant, system, user
from chatspan import ChatCollator, ChatEncoder, DistillationConfig, Encoding, Kind, OptionError
from chatspan.encode.first_rows import RolesSummary, weights_of_row
from chatspan.options import ROLES, near_role
from chatspan.render.jinja.template import compiled

CHAT = [system("Be kind."), user("2 + 2?"), assistant("It is 4."), user("Sure?"), assistant("Yes.")]
SEEN = "the 5 messages, from 0 on: system, user, assistant, user, assistant"
# It asks for one role that is not usual, by name, and writes all.
NAMING = CHATML.replace("{% for m in messages %}", "{% for m in messages %}{% if m.role == 'critic' %}C{% endif %}", 1)

NEAR = {
    "assistant": "asistant asssistant assitant asistent assistent assistnat assistat assistants Assistant ASSISTANT",
    "user": "User usr userr usre uesr users",
    "system": "sytem systm systme System systems",
    "tool": "tol tooll TOOL tools",
    "developer": "developper devloper",
    "function": "fucntion functions",
    "observation": "observaton",
}
OPEN = (
    "environment root critic planner human gpt model bot narrator agent python assistant_2 assistant1 tool_response "
    "tool_results function_call observer judge expert customer student teacher thought knowledge context pool"
)


def trained(encoder: ChatEncoder, encoding: Encoding, mask: Any) -> str:
    return encoder.decode(encoding.input_ids[mask])


@pytest.fixture
def encoder(small: Any) -> ChatEncoder:
    return ChatEncoder(small, chat_template=CHATML)


@pytest.mark.parametrize(("role", "misspelt"), [(role, word) for role, words in NEAR.items() for word in words.split()])
def test_near_misses_of_usual_roles(role: str, misspelt: str) -> None:
    assert near_role(misspelt) == role
    assert near_role(f" {misspelt}\n") == role


@pytest.mark.parametrize("word", [*ROLES, *OPEN.split(), "", "  "])
def test_usual_roles_and_other_words_are_no_near_misses(word: str) -> None:
    assert near_role(word) is None


@pytest.mark.parametrize("role", ROLES)
def test_any_letter_left_out_doubled_or_swapped_is_a_near_miss_of_a_long_role(role: str) -> None:
    for at in range(len(role) - 1):
        swapped = role[:at] + role[at + 1] + role[at] + role[at + 2 :]
        for word in (role[:at] + role[at + 1 :], role[:at] + role[at] + role[at:], swapped):
            if word not in (*ROLES, "python"):
                assert near_role(word) == role


WRONG_MESSAGES: list[tuple[Any, str]] = [
    ([99], rf"messages=\[99\]: there is no message 99; {SEEN}$"),
    ([2, 5], rf"messages=\[2, 5\]: there is no message 5; {SEEN}$"),
    ([-2], rf"there is no message -2; {SEEN}$"),
    (np.array([7]), r"there is no message 7; the 5 messages"),
    ([True], "True is bool, not the index of a message"),
    ([2.0], r"2\.0 is float, not the index of a message"),
    (["2"], "'2' is str, not the index of a message"),
    (CHAT, "is dict, not the index of a message"),
    (0, "^messages=0: pass a collection of message indices, or None for all$"),
    ("2", "^messages='2': pass a collection of message indices"),
    pytest.param(iter([2]), "pass a collection of message indices", id="an iterator"),
]


@pytest.mark.parametrize(("messages", "text"), WRONG_MESSAGES, ids=lambda value: str(value)[:30])
def test_messages_that_are_not_there(encoder: ChatEncoder, messages: Any, text: str) -> None:
    encoding = encoder.encode(CHAT)
    for what in ("turn", "content", {Kind.CONTENT}):
        for select in (encoding.mask, encoding.labels):
            with pytest.raises(OptionError, match=text):
                select(what=what, messages=messages)  # type: ignore[operator]
    with pytest.raises(OptionError, match=text):
        encoding.mask(None, "content", messages=messages, straddle="touch")


def test_messages_that_are_there(encoder: ChatEncoder) -> None:
    encoding = encoder.encode(CHAT)
    for messages in ([4], (4,), {4}, range(4, 5), np.array([4]), {4: "the last"}, [np.int32(4)]):
        assert trained(encoder, encoding, encoding.mask(messages=messages)) == "Yes.<|im_end|>"
    assert not encoding.mask(messages=[]).any()
    # As in `message_index`, and only where it can be meant: with all roles.
    assert encoding.mask(None, {Kind.SCAFFOLD}, messages=[-1]).tolist() == (encoding.message_index == -1).tolist()
    with pytest.raises(OptionError, match="there is no message -1"):
        encoding.mask(messages=[-1])
    # One that is of no selected role is there all the same.
    assert trained(encoder, encoding, encoding.mask(messages=[1, 2])) == "It is 4.<|im_end|>"


WRONG_ROLES: list[tuple[Any, str]] = [
    (
        ("asistant",),
        rf"no message has the role 'asistant', and it is not a usual role; {SEEN}; did you mean 'assistant'\?$",
    ),
    ("Assistant", r"did you mean 'assistant'\?$"),
    (["user", "usr"], r"no message has the role 'usr'.*did you mean 'user'\?$"),
    ("root", rf"no message has the role 'root', and it is not a usual role; {SEEN}$"),
    ((), "^roles is empty, which selects nothing: pass at least one role, or None for all$"),
    (0, "^roles=0: expected a role, a collection of roles, or None for all$"),
    ([2], r"^roles=\[2\]: expected a role"),
    (b"user", "expected a role"),
]


@pytest.mark.parametrize(("roles", "text"), WRONG_ROLES, ids=lambda value: str(value)[:30])
def test_roles_that_nothing_knows(encoder: ChatEncoder, roles: Any, text: str) -> None:
    encoding = encoder.encode(CHAT)
    for what in ("turn", "content", {Kind.CONTENT}):
        with pytest.raises(OptionError, match=text):
            encoding.mask(roles, what)  # type: ignore[arg-type]


def test_roles_are_open_where_the_template_renders_them(encoder: ChatEncoder) -> None:
    encoding = encoder.encode([{"role": "environment", "content": "It rains."}, {"role": "asistant", "content": "Oh."}])
    assert trained(encoder, encoding, encoding.mask("environment", "content")) == "It rains."
    # A misspelt message is selected by its name, too.
    assert trained(encoder, encoding, encoding.mask(["asistant"], "content")) == "Oh."
    assert not encoding.mask().any()


def test_usual_roles_and_those_of_the_template_may_be_missing_in_a_row(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=NAMING)
    for encoding in (encoder.encode(CHAT), pickle.loads(pickle.dumps(encoder.encode(CHAT)))):
        for role in ("developer", "tool", "ipython", "critic"):
            assert not encoding.mask(role, "content").any()
            assert not encoding.weights({role: 1.0}).any()
        with pytest.raises(OptionError, match=r"'critics', and it is not a usual role; .*; did you mean 'critic'\?$"):
            encoding.mask("critics", "content")
        with pytest.raises(OptionError, match="'planner', and it is not a usual role"):
            encoding.weights({"planner": 1.0})


def test_what_a_template_compares_with_is_told_from_what_it_writes() -> None:
    source = (
        "{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m['role'] %}"
        "{% if m.role in ['tool', 'ipython'] or 'content' in m %}{{ {'judge': 'j'}[role] }}{% endif %}{% endfor %}"
        "{{ messages | selectattr('role', 'equalto', 'root') | list | length }}{{ 'user' }}"
    )
    words = compiled(source).compared_words
    assert {"assistant", "tool", "ipython", "judge", "root"} <= words
    assert not {"model", "content", "user"} & words


def test_long_conversations_are_quoted_in_part(encoder: ChatEncoder) -> None:
    encoding = encoder.encode([user("a"), assistant("b")] * 40)
    with pytest.raises(
        OptionError, match=r"no message 80; the 80 messages.*: (user, assistant, ){5}user, assistant, …"
    ):
        encoding.mask(messages=[80])
    with pytest.raises(OptionError, match=r"there is no message 1; the only message, 0: user$"):
        encoder.encode([user("a")]).mask(messages=[1])


WRONG_WEIGHTS: list[tuple[Any, str]] = [
    ({"asistant": 1}, rf"^a weight for 'asistant': no message has the role.*; {SEEN}; did you mean 'assistant'\?$"),
    ({("asistant", Kind.CONTENT): 1}, r"^a weight for \('asistant', <Kind.CONTENT: 1>\): .*did you mean 'assistant'"),
    ({9: 1.0}, rf"^a weight for 9: there is no message 9; {SEEN}$"),
    ({(-1, Kind.CONTENT): 1.0}, "there is no message -1"),
    ({"assistant": float("nan")}, "^the weight of 'assistant' is nan: weights must be numbers, at least 0"),
    ({"assistant": -0.5}, r"^the weight of 'assistant' is -0\.5"),
    ({"assistant": float("inf")}, "is inf"),
    ({"assistant": 1e300}, r"is 1e\+300.*at most 3.4e38"),
    ({"assistant": True}, "is True"),
    ({"assistant": "1"}, "is '1'"),
    ({"assistant": None}, "is None"),
    ({1.5: 1}, r"^a weight for 1\.5: expected a role, a Kind, a message's index, a Span, or a tuple of those$"),
    ({True: 1}, "^a weight for True: expected a role"),
    ({(): 1}, r"^a weight for \(\): expected a role"),
    ({("assistant", None): 1}, "expected a role"),
    ("assistant", "^weights 'assistant': pass a mapping, or pairs of a key and its weight$"),
    (1.0, "pass a mapping, or pairs"),
    ([("assistant", 1.0, 2)], "pass a mapping, or pairs"),
]


@pytest.mark.parametrize(("weights", "text"), WRONG_WEIGHTS, ids=lambda value: str(value)[:30])
def test_weights_that_cannot_be(encoder: ChatEncoder, weights: Any, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        encoder.encode(CHAT).weights(weights)


def test_spans_of_another_encoding(encoder: ChatEncoder) -> None:
    short, long = encoder.encode(CHAT[:2]), encoder.encode([*CHAT, user("And on?")])
    last = long.spans[-1]
    for span in (last, replace(short.spans[-1], message_index=4), replace(short.spans[-1], start_char=-1)):
        with pytest.raises(OptionError, match=r"the span is of another encoding; this one has .* and 2 messages$"):
            short.weights({span: 1.0})
    assert trained(encoder, long, long.weights({last: 2}) == 2) == "And on?"


def test_weights_are_those_of_the_last_key_that_fits(encoder: ChatEncoder) -> None:
    encoding = encoder.encode(CHAT)
    weights = encoding.weights({"assistant": np.float32(0.5), 4: 2, (np.int64(4), Kind.SCAFFOLD): 0})
    assert trained(encoder, encoding, weights == 2) == "Yes.<|im_end|>"
    assert "It is 4." in trained(encoder, encoding, weights == 0.5)


WRONG_LOSS_ON: list[tuple[Any, str]] = [
    ({"asistant": 1.0}, r"a weight for 'asistant': 'asistant' is not a role; did you mean 'assistant'\?$"),
    ({"assistant": 1, ("Tool", Kind.CONTENT): 1}, r"'Tool' is not a role; did you mean 'tool'\?$"),
    ({"": 1.0}, "expected the name of a role"),
    ({-1: 1.0}, "messages are counted from 0"),
    ({1.5: 1.0}, "expected a role, a Kind, a message's index, or a tuple of those"),
    ({None: 1.0}, "expected a role"),
    ({("assistant", True): 1.0}, "expected a role"),
    ({"assistant": float("nan")}, "the weight of 'assistant' is nan: weights must be numbers, at least 0"),
    ({"assistant": True}, "is True"),
    ({}, "at least one weight"),
]


@pytest.mark.parametrize(("loss_on", "text"), WRONG_LOSS_ON, ids=lambda value: str(value)[:30])
def test_a_loss_on_that_cannot_be_is_told_when_it_is_given(encoder: ChatEncoder, loss_on: Any, text: str) -> None:
    def config(**options: Any) -> Any:
        return DistillationConfig(**options)

    for make in (lambda **options: ChatCollator(encoder.tokenizer, **options), encoder.as_map_fn, config):
        with pytest.raises(OptionError, match=rf"^loss_on=.*{text}"):
            make(loss_on=loss_on)


def test_weights_of_roles_that_only_some_rows_have(small: Any) -> None:
    collate = ChatCollator(
        small, chat_template=CHATML, loss_on={"assistant": 1.0, "critic": 0.5, ("critic", Kind.SCAFFOLD): 0.0}
    )
    rows = [{"messages": CHAT[:3]}, {"messages": [*CHAT[:3], {"role": "critic", "content": "Right."}]}]
    batch = collate(rows)
    found = [
        small.decode(ids[weights == 0.5]) for ids, weights in zip(batch["input_ids"], batch["loss_weight"], strict=True)
    ]
    assert found == ["", "Right.<|im_end|>"]
    with pytest.raises(
        OptionError, match=r"^row 1 of the batch: a weight for 3: there is no message 3; the 3 messages"
    ):
        ChatCollator(small, loss_on={3: 1.0})([rows[1], rows[0]])
    assert weights_of_row({("critic", 3): 1, Kind.CONTENT: 2, 0: 3}, ["user"]) == [(Kind.CONTENT, 2), (0, 3)]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "selected role" in record.getMessage()]


def test_selected_roles_that_no_row_had_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "chatspan")
    summary = RolesSummary(["assistant", "root", "critic"])
    summary.tell_of([("user", "assistant")] * 200)
    assert summary.missing() == ["root", "critic"]
    assert warnings_of(caplog) == []
    summary.tell_of(iter([("user", "critic")] * 300))
    summary.tell_of([("user",)] * 300)
    summary.tell()
    assert warnings_of(caplog) == [
        "none of the first 256 rows has a message of the selected role 'root'; their roles: user (in 256), "
        "assistant (in 200), critic (in 56)"
    ]


def test_a_run_that_ends_early_can_be_told_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "chatspan")
    for selected in ((), ("user",), ("root",)):
        summary = RolesSummary(selected)
        summary.tell()
        summary.tell_of([("user",), ("user", "user")])
        summary.tell()
    assert warnings_of(caplog) == [
        "none of the first 2 rows has a message of the selected role 'root'; their roles: user (in 2)"
    ]


def test_collators_and_map_functions_name_selected_roles_that_no_row_had(
    small: Any, caplog: pytest.LogCaptureFixture
) -> None:
    loss_on = {"assistant": 1.0, ("environment", Kind.CONTENT): 0.5}
    rows = [{"messages": CHAT[1:3]}] * 64
    collate = ChatCollator(small, chat_template=CHATML, loss_on=loss_on)
    mapped = ChatEncoder(small, chat_template=CHATML).as_map_fn(loss_on=loss_on)
    for consume in (collate, lambda rows: mapped({"messages": [row["messages"] for row in rows]})):
        caplog.clear()
        for _ in range(3):
            consume(rows)  # type: ignore[operator]
        assert warnings_of(caplog) == []
        for _ in range(3):
            consume(rows)  # type: ignore[operator]
        (warning,) = warnings_of(caplog)
        assert "none of the first 256 rows has a message of the selected role 'environment'" in warning
