"""What a runtime wrote is nobody's to learn: only ``Kind.TOOL_RESULT`` and the tool's role select it."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import numpy as np
import pytest
from cases import assistant, user
from chatspan import ChatCollator, ChatEncoder, Encoding, Kind, TemplateError, TurnBoundaryError
from chatspan.attribute.turns import EndOfTurn
from conversations import call, tool
from hypothesis import given
from hypothesis import strategies as st
from prompts import SOURCES, tokenizer_for
from slow_attribution import assert_equal_to_slow
from turn_shapes import NEEDED, SHAPES, TOOLS, WITH_RESULTS, Messages, Talk, forms_of
from zoo import require_zoo

POLICIES: tuple[EndOfTurn, ...] = get_args(EndOfTurn)
OTHER_KINDS = [kind for kind in Kind if kind is not Kind.TOOL_RESULT]
RESULT = re.compile(r"mark\d\dres degrees")
CALLED = {"name": "get_weather", "arguments": {"city": "Bern"}}


def answered(key: str, result: Any) -> Messages:
    """A call whose results stand in the same message."""
    return Talk().user().say(calls=1, **{key: [result]}).user().say().messages


def blocks(*parts: Mapping[str, Any]) -> Messages:
    """A structured content."""
    return Talk().user().say(content={"blocks": list(parts)}).user().messages


# Results inside of an assistant's message.
INSIDE: dict[str, Messages] = {
    "tool_responses": answered("tool_responses", {"name": "get_weather", "response": {"value": "mark01res degrees"}}),
    "tool_results": answered("tool_results", {"name": "get_weather", "output": "mark01res degrees"}),
    "tool_outputs": answered("tool_outputs", "mark01res degrees"),
    "blocks": blocks(
        {"type": "thoughts", "text": "mark01why since."},
        {"type": "tool_calls", "calls": [{**CALLED, "arguments": '{"city": "mark01arg0"}'}]},
        {"type": "tool_outputs", "outputs": [{"name": "get_weather", "output": "mark01res degrees"}]},
        {"type": "response", "text": "mark01say it is."},
    ),
}
FORMS = {**{shape: SHAPES[shape][0] for shape in WITH_RESULTS}, **INSIDE}

# Writes calls, results and the content of an assistant's message one after another.
WITH_RESULTS_INSIDE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% for c in m.tool_calls or [] %}{{ '[call ' + c.function.name + ']' }}{% endfor %}"
    "{% for r in m.tool_results or [] %}{{ '(result: ' + r.output + ')' }}{% endfor %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def forms(name: str) -> Mapping[str, Messages]:
    """The conversations that a template may read; one that prints a structured content has no results to tell."""
    return {form: messages for form, messages in FORMS.items() if form != "blocks" or "content.blocks" in SOURCES[name]}


@functools.cache
def encoder_of(name: str) -> ChatEncoder:
    """The encoder of a template; the small tokenizer's own template needs no zoo."""
    return ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name])


def encoded(name: str, messages: Messages) -> Encoding | None:
    """The conversation in the first of its forms that the template takes."""
    for these, keywords in forms_of(messages, {**NEEDED.get(name, {}), "tools": TOOLS}):
        try:
            return encoder_of(name).encode(these, **keywords)
        except TemplateError:
            continue
    return None


def selections(encoding: Encoding) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """All options that name neither the tool's role nor its kind, and the mask that each gives."""
    straddles = ("first", "inside", "touch")
    wheres = [("assistant",), ("assistant", "user", "system")]
    for policy, straddle in itertools.product(POLICIES, straddles):
        yield ("turn", policy, straddle), functools.partial(encoding.mask, end_of_turn=policy, straddle=straddle)
    whats: list[Any] = ["content", *({kind} for kind in OTHER_KINDS), set(OTHER_KINDS)]
    whats += ["generation"] if encoding.has_generation_tags else []
    for what, roles, straddle in itertools.product(whats, wheres, straddles):
        yield (what, roles, straddle), functools.partial(encoding.mask, roles, what, straddle=straddle)
    assistants = [index for index, role in enumerate(encoding.roles) if role == "assistant"]
    weights: list[Any] = [{"assistant": 1}, {"assistant": 1, "user": 0.5}, *({kind: 1} for kind in OTHER_KINDS)]
    weights += [{("assistant", kind): 1} for kind in OTHER_KINDS] + [[(index, 1)] for index in assistants]
    for each in weights:
        yield each, lambda each=each: encoding.weights(each) > 0


def in_results(encoding: Encoding) -> tuple[Any, Any]:
    """The tokens that begin in a result's text, and those that have no other characters."""
    starts, ends = encoding.offsets.T
    begin, inside = (np.zeros(len(encoding), dtype=bool) for _ in range(2))
    for found in RESULT.finditer(encoding.text):
        begin |= (starts >= found.start()) & (starts < found.end())
        inside |= (starts >= found.start()) & (ends <= found.end()) & (starts < ends)
    return begin, inside


def assert_no_result_is_selected(encoding: Encoding) -> int:
    begin, inside = in_results(encoding)
    checked = 0
    for option, mask in selections(encoding):
        try:
            chosen = mask()
        except TurnBoundaryError:
            continue
        trained = chosen & (inside if "touch" in option else begin)
        assert (option, text_of(encoding, trained)) == (option, "")
        checked += 1
    return checked


def text_of(encoding: Encoding, mask: Any) -> str:
    return "".join(encoding.text[start:end] for start, end in encoding.offsets[mask])


@pytest.fixture(scope="module")
def counts(say: Callable[[str], None]) -> Iterator[Counter[str]]:
    found: Counter[str] = Counter()
    yield found
    say("tool results: " + ", ".join(f"{what} {count}" for what, count in found.items()))


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_no_other_option_trains_a_result(name: str, counts: Counter[str]) -> None:
    for messages in forms(name).values():
        encoding = encoded(name, messages)
        if encoding is not None:
            counts["conversations"] += 1
            counts["of them with results in the text"] += in_results(encoding)[1].any()
            counts["selections without a result"] += assert_no_result_is_selected(encoding)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_naming_it_selects_it(name: str) -> None:
    for form, messages in forms(name).items():
        encoding = encoded(name, messages)
        if encoding is None:
            continue
        _, results = in_results(encoding)
        by_kind = encoding.mask(None, {Kind.TOOL_RESULT})
        assert (form, text_of(encoding, results & ~by_kind)) == (form, "")
        if form in WITH_RESULTS:
            for chosen in (
                encoding.mask(("tool",), "content"),
                encoding.mask(("tool",), {Kind.TOOL_RESULT}),
                encoding.weights({"assistant": 1, "tool": 0.3}) == np.float32(0.3),
                encoding.weights({Kind.TOOL_RESULT: 0.5}) == 0.5,
            ):
                assert (form, text_of(encoding, results & ~chosen)) == (form, "")


STEPS = ("user", "say", "call", "calls", "result", "system", "answered", "thought")


def talk_of(steps: list[str]) -> Messages:
    """A conversation of such steps; results stand where calls have none yet."""
    talk, open_calls = Talk().user(), 0
    for step in steps:
        if step == "result" and not open_calls:
            continue
        if step != "result":
            open_calls = {"call": 1, "calls": 2}.get(step, 0)
        if step == "answered":
            response = {"name": "get_weather", "response": {"value": f"mark{len(talk.messages):02d}res degrees"}}
            talk.say(calls=1, tool_responses=[response], tool_results=[{"output": response["response"]["value"]}])
        elif step in ("call", "calls"):
            talk.call(open_calls)
        elif step == "thought":
            talk.say(why=True)
        else:
            getattr(talk, step)()
            open_calls -= step == "result"
    return talk.messages


@given(st.sampled_from(sorted(SOURCES)), st.lists(st.sampled_from(STEPS), min_size=2, max_size=8))
@pytest.mark.filterwarnings("ignore")
def test_no_other_option_trains_a_result_of_any_conversation(name: str, steps: list[str]) -> None:
    encoding = encoded(name, talk_of(steps))
    if encoding is not None:
        assert_no_result_is_selected(encoding)


@pytest.mark.parametrize("form", ["tools", "parallel calls", "tool_responses"])
@pytest.mark.parametrize("policy", POLICIES)
def test_collators_train_no_result(form: str, policy: EndOfTurn) -> None:
    """By all that a loss can be on, in the template that joins results with the turn of the call."""
    require_zoo()
    name = "google-gemma-4-31B-it"
    row = {"messages": FORMS[form], "tools": TOOLS}
    trained = {}
    kinds: list[Any] = [set(OTHER_KINDS), {"assistant": 1}, {Kind.CONTENT: 1, Kind.TOOL_CALL: 0.5, Kind.OTHER_FIELD: 1}]
    for loss_on in ["turn", "content", *kinds, {"assistant": 1, "tool": 0.3}, {Kind.TOOL_RESULT}]:
        collate = ChatCollator(tokenizer_for(name), chat_template=SOURCES[name], loss_on=loss_on, end_of_turn=policy)
        try:
            labels = collate([row])["labels"]
        except TurnBoundaryError:
            continue
        trained[str(loss_on)] = bool(RESULT.search(tokenizer_for(name).decode(labels[labels != -100])))
    by_name = {
        "{<Kind.TOOL_RESULT: 9>}": form == "tool_responses",
        "{'assistant': 1, 'tool': 0.3}": form != "tool_responses",
    }
    assert trained == {**dict.fromkeys(trained, False), **by_name}


QUESTION, CALL = user("2**10?"), call("calc", {"e": "2**10"})
ANSWERED = assistant("It is 1024.", tool_calls=[CALL], tool_responses=[{"name": "calc", "response": {"v": 1024}}])
NATIVE = [QUESTION, ANSWERED, user("Thanks"), assistant("Bye.")]
BY_ROLE = [QUESTION, assistant("", tool_calls=[CALL]), tool("1024", "calc"), assistant("It is 1024."), user("Thanks")]


def turns_of(encoding: Encoding, index: int, policy: EndOfTurn = "token") -> list[str]:
    return [encoding.text[start:end] for start, end in encoding.turn_ranges(index, end_of_turn=policy)]


def selected(encoder: ChatEncoder, encoding: Encoding, *args: Any, **options: Any) -> str:
    return encoder.decode(encoding.input_ids[encoding.mask(*args, **options)])


def test_a_result_interrupts_a_turn() -> None:
    require_zoo()
    encoder = encoder_of("google-gemma-4-31B-it")
    encoding = encoder.encode(NATIVE)
    called = '<|tool_call>call:calc{e:<|"|>2**10<|"|>}<tool_call|><|tool_response>'
    assert {policy: turns_of(encoding, 1, policy) for policy in POLICIES} == {
        "token": [called, "It is 1024.<turn|>"],
        "all": [called, "It is 1024.<turn|>\n"],
        "none": [called, "It is 1024."],
        "next_header": [called, "It is 1024.<turn|>"],
    }
    assert selected(encoder, encoding, messages=[1]) == f"{called}It is 1024.<turn|>"
    assert selected(encoder, encoding, what="content") == "It is 1024.Bye."
    assert selected(encoder, encoding, what={Kind.TOOL_RESULT}) == "response:calc{v:1024}<tool_response|>"


def test_the_parts_of_an_interrupted_turn_end_with_whole_tokens() -> None:
    require_zoo()
    encoder = encoder_of("google-gemma-4-31B-it-interleaved")
    encoding = encoder.encode(NATIVE)
    called = '<|tool_call>call:calc{e:<|"|>2**10<|"|>}<tool_call|>'
    assert turns_of(encoding, 1)[0] in (called, f"{called}<|tool_response>")
    assert selected(encoder, encoding, messages=[1]) == "".join(turns_of(encoding, 1))


def test_a_result_of_the_message_after_a_call() -> None:
    require_zoo()
    encoder = encoder_of("google-gemma-4-31B-it")
    encoding = encoder.encode(BY_ROLE)
    assert turns_of(encoding, 3) == ["It is 1024.<turn|>"]
    assert selected(encoder, encoding, ("tool",), "content") == "1024"
    assert selected(encoder, encoding, ("tool",), {Kind.TOOL_RESULT}) == "1024"
    assert selected(encoder, encoding, what="content") == "It is 1024."
    weighted = encoding.weights({"assistant": 1, "tool": 0.3}) == np.float32(0.3)
    assert encoder.decode(encoding.input_ids[weighted]) == "1024"


def test_structured_contents() -> None:
    require_zoo()
    encoder = encoder_of("Apertus-8B-Instruct")
    encoding = encoder.encode(INSIDE["blocks"])
    before = '<|inner_prefix|>mark01why since.<|tools_prefix|>[{"get_weather": {"city": "mark01arg0"}}]<|tools_suffix|>'
    first, last = turns_of(encoding, 1, "next_header")
    assert first == before
    assert last.endswith("mark01say it is.<|assistant_end|>")
    one = {"messages": [1]}
    assert selected(encoder, encoding, what="content", **one) == "mark01say it is."
    assert selected(encoder, encoding, what={Kind.REASONING}, **one) == "<|inner_prefix|>mark01why since."
    assert selected(encoder, encoding, what={Kind.TOOL_CALL}, **one) == before.removeprefix(
        "<|inner_prefix|>mark01why since."
    )
    assert "mark01res degrees" in selected(encoder, encoding, what={Kind.TOOL_RESULT}, **one)


def test_results_between_a_call_and_a_content(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=WITH_RESULTS_INSIDE)
    answered = assistant("It is 1024.", tool_calls=[CALL], tool_results=[{"output": "1024"}])
    encoding = encoder.encode([QUESTION, answered])
    assert encoding.text.endswith("assistant\n[call calc](result: 1024)It is 1024.<|im_end|>\n")
    assert turns_of(encoding, 1) == ["[call calc]", "It is 1024.<|im_end|>"]
    assert selected(encoder, encoding) == "[call calc]It is 1024.<|im_end|>"
    assert selected(encoder, encoding, what={Kind.TOOL_RESULT}) == "(result: 1024)"
    assert encoding.weights({"assistant": 1}).sum() == encoding.mask(what=set(OTHER_KINDS)).sum()
    both = encoding.weights({"assistant": 1, Kind.TOOL_RESULT: 0.25})
    assert encoder.decode(encoding.input_ids[both == 0.25]) == "(result: 1024)"


@pytest.mark.parametrize("opening", ["<result>", "<tool: "])
def test_results_that_begin_as_the_end_of_a_turn_does(small: Any, opening: str) -> None:
    """What announces a result may begin as what would stand there without it: ``<`` here."""
    source = WITH_RESULTS_INSIDE.replace("(result: ", opening)
    answered = assistant("It is 1024.", tool_calls=[CALL], tool_results=[{"output": "1024"}])
    encoding = ChatEncoder(small, chat_template=source).encode([QUESTION, answered])
    assert turns_of(encoding, 1) == ["[call calc]", "It is 1024.<|im_end|>"]


def test_results_behind_a_call_and_a_content(small: Any) -> None:
    """The content stands before the call, nothing of the assistant's behind the result."""
    source = WITH_RESULTS_INSIDE.replace("{{ m.content + ", "{{ ").replace("{% for c in", "{{ m.content }}{% for c in")
    answered = assistant("I ask.", tool_calls=[CALL], tool_results=[{"output": "1024"}])
    encoding = ChatEncoder(small, chat_template=source).encode([QUESTION, answered, user("Thanks")])
    assert "I ask.[call calc](result: 1024)<|im_end|>" in encoding.text
    assert turns_of(encoding, 1, "all")[0] == "I ask.[call calc]"
    assert "1024" not in "".join(turns_of(encoding, 1, "all"))


@pytest.mark.parametrize("name", ["google-gemma-4-31B-it", "google-gemma-4-31B-it-interleaved", "chat_template"])
def test_results_before_anything_that_was_said(name: str) -> None:
    answered = assistant(
        "It is 1024.", tool_responses=[{"name": "calc", "response": {"v": 1024}}], tool_results=[{"output": "1024"}]
    )
    if name == "chat_template":
        encoder = ChatEncoder(tokenizer_for(name), chat_template=WITH_RESULTS_INSIDE)
    else:
        require_zoo()
        encoder = encoder_of(name)
    encoding = encoder.encode([QUESTION, answered])
    assert selected(encoder, encoding).removesuffix("<|im_end|>").removesuffix("<turn|>") == "It is 1024."


def test_the_name_of_a_result_announces_it() -> None:
    """Written in the assistant's message, where no id says which call it answers."""
    source = (
        "{% for m in messages %}{% if m.role != 'tool' %}{{ '<|im_start|>' + m.role + '\n' + (m.content or '') }}"
        "{% for c in m.tool_calls or [] %}{{ '[call ' + c.function.name + ']' }}{% endfor %}"
        "{% if m.tool_calls and loop.nextitem is defined and loop.nextitem.role == 'tool' %}"
        "{% set r = messages[loop.index] %}{{ '(' + r.name + ' says ' + r.content + ')' }}{% endif %}"
        "{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    )
    messages = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALLED}]},
        {"role": "tool", "name": "weather", "content": "mark01res"},
    ]
    encoding = ChatEncoder(tokenizer_for("chat_template"), chat_template=source).encode(messages)
    assert_equal_to_slow(encoding._attributed)
    told = "".join(encoding.text[s.start_char : s.end_char] for s in encoding.segments if s.kind == Kind.TOOL_RESULT)
    assert told.startswith("(weather says mark01res)")
    turn = "".join(encoding.text[start:end] for start, end in encoding.turn_ranges(1, end_of_turn="none"))
    assert turn.endswith("[call get_weather]")
    assert "weather says" not in turn


def test_the_next_header_is_not_what_announces_a_result() -> None:
    """A call, and its results in the next assistant's message: the turn has its own end already."""
    require_zoo()
    encoder = encoder_of("google-gemma-4-31B-it")
    results = assistant("It is 1024.", tool_responses=[{"name": "calc", "response": {"v": 1024}}])
    encoding = encoder.encode([QUESTION, assistant("", tool_calls=[CALL]), results])
    called = '<|tool_call>call:calc{e:<|"|>2**10<|"|>}<tool_call|><|tool_response>'
    assert turns_of(encoding, 1) == [called]
    with pytest.raises(
        TurnBoundaryError,
        match="the control token that follows, '<|tool_response>', belongs to another".replace("|", r"\|"),
    ):
        turns_of(encoding, 1, "next_header")


@pytest.mark.parametrize("tagged", ["all of the message", "the results alone"])
def test_generation_blocks_that_hold_results(small: Any, tagged: str) -> None:
    """A template may say that the model wrote all of an assistant's message: its results it did not."""
    results = "{% for r in m.tool_results or [] %}{{ '(result: ' + r.output + ')' }}{% endfor %}"
    called = "{% for c in m.tool_calls or [] %}{{ '[call ' + c.function.name + ']' }}{% endfor %}"
    first, last = ("{% generation %}", "{% endgeneration %}") if tagged == "all of the message" else ("", "")
    block = results if first else "{% generation %}" + results + "{% endgeneration %}"
    source = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
        f"{first}{called}{block}{{{{ m.content + '<|im_end|>' }}}}{last}"
        "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    encoder = ChatEncoder(small, chat_template=source)
    answered = assistant("It is.", tool_calls=[CALL], tool_results=[{"output": "1024"}])
    encoding = encoder.encode([QUESTION, answered])
    assert "[call calc](result: 1024)It is.<|im_end|>" in encoding.text
    said = selected(encoder, encoding, what="generation")
    assert said == ("[call calc]It is.<|im_end|>" if first else "")
