"""Which engine renders, what is left to Jinja2 and why, and that a render shares nothing with what it was made of."""

from __future__ import annotations

import copy
import gc
import pickle
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from cases import CHATML, assistant, user
from chatspan import ChatEncoder, Kind, SelfDistillationCollator, TemplateError
from chatspan.render.request import RenderRequest
from conversations import call, calls, schema, tool
from hypothesis import given
from hypothesis import strategies as st

TALK = [user("Go."), calls(call("rebook", {"train": "IC 900"}), content="I will."), tool("ok"), assistant("Dóne.")]


def test_the_core_renders_and_says_so(small: Any) -> None:
    encoder = ChatEncoder(small)
    assert repr(encoder.renderer) == "native (the core knows every construct of the template)"
    encoding = encoder.encode(TALK, tools=[schema()])
    assert "; rendered by native" in encoding.explain().splitlines()[0]
    assert {key: encoder.stats()[key] for key in ("renders_native", "renders_jinja2")} == {
        "renders_native": 1,
        "renders_jinja2": 0,
    }


LACKING = {
    "{% for m in messages recursive %}{{ m.content }}{% endfor %}": "a recursive loop",
    "{{ messages[0].content }}{{ dict(*[]) }}": "*args or **kwargs",
    "{{ 99999999999999999999 + messages|length }}{{ messages[0].content }}": "a number of more than 64 bits",
}


@pytest.mark.parametrize("template", LACKING)
def test_a_template_with_what_the_core_lacks_goes_to_jinja2(small: Any, template: str) -> None:
    encoder = ChatEncoder(small, chat_template=template)
    assert repr(encoder.renderer) == f"jinja2 ({LACKING[template]})"
    encoding = encoder.encode([user("Go.")])
    assert [encoding.text[s.start_char : s.end_char] for s in encoding.spans] == ["Go."]
    assert "; rendered by jinja2" in encoding.explain().splitlines()[0]
    assert encoder.stats()["renders_jinja2"] == 1


def test_a_row_with_what_the_core_lacks_goes_to_jinja2_by_itself(small: Any) -> None:
    encoder = ChatEncoder(small)
    odd = [user("Go."), calls(call("rebook", {"seats": 2**70}))]
    texts = [encoder.encode(messages).text for messages in (TALK, odd, TALK)]
    assert str(2**70) in texts[1]
    assert texts[0] == texts[2]
    assert {key: encoder.stats()[key] for key in ("renders_native", "renders_jinja2")} == {
        "renders_native": 2,
        "renders_jinja2": 1,
    }
    assert encoder.renderer.reason.endswith("; left to Jinja2: 1 for a number of more than 64 bits")


def test_a_template_that_takes_messages_as_a_prompt_alone(small: Any) -> None:
    """It raises without a prompt, so that no render tells where the prompt begins; where the last message ends does."""
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% else %}{{ raise_exception('no answer') }}{% endif %}"
    )
    encoder = ChatEncoder(small, chat_template=template)
    encoding = encoder.encode([user("Go.")], add_generation_prompt=True)
    assert encoding.text == "<user>Go.<assistant>"
    assert "; rendered by native" in encoding.explain().splitlines()[0]
    (prompt,) = [segment for segment in encoding.segments if segment.kind == Kind.GENERATION_PROMPT]
    assert encoding.text[prompt.start_char : prompt.end_char] == "<assistant>"
    with pytest.raises(TemplateError, match="no answer"):
        encoder.encode([user("Go.")])


def test_an_encoding_keeps_what_it_was_made_of(small: Any) -> None:
    """The fields of a render are found when they are asked for, whatever became of the messages meanwhile."""
    encoder = ChatEncoder(small)
    messages = copy.deepcopy(TALK)
    expected = [(span.path, span.start_char) for span in encoder.encode(messages).spans]
    encoding = encoder.encode(messages)
    messages[0]["content"] = "Stop."
    messages[1]["tool_calls"].clear()
    again = pickle.loads(pickle.dumps(encoding))
    for each in (encoding, again):
        assert [(span.path, span.start_char) for span in each.spans] == expected
        assert each.unrendered == encoder.encode(TALK).unrendered


def test_what_is_encoded_is_freed_at_once(small: Any) -> None:
    """No circle of references keeps renders until Python looks for circles, which takes memory and time."""
    encoder, collate = ChatEncoder(small), SelfDistillationCollator(small)
    said = [TALK[0], TALK[-1]]
    pair = {"messages": said, "teacher_messages": [user("Go!"), said[1]]}
    for work in (lambda: encoder.encode_batch([TALK] * 3), lambda: collate([pair])):
        work()
        gc.collect()
        gc.disable()
        try:
            work()
            assert gc.collect() == 0
        finally:
            gc.enable()


def test_a_template_that_never_ends_is_stopped(small: Any) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}" + CHATML
    with pytest.raises(TemplateError, match="the chat template was stopped at its limit bytes=1073741824"):
        ChatEncoder(small, chat_template=endless).encode(TALK)
    doubling = "{% set n = namespace(x='ab') %}{% for a in range(999) %}{% set n.x = n.x + n.x %}{% endfor %}" + CHATML
    with pytest.raises(TemplateError, match="the chat template was stopped at its limit bytes=1073741824"):
        ChatEncoder(small, chat_template=doubling).encode(TALK)


@given(one=st.text(max_size=200), more=st.text(max_size=200), at=st.integers(0, 500))
def test_a_part_of_a_render_is_that_of_its_text(small: Any, one: str, more: str, at: int) -> None:
    """What reads a part alone reads as from the whole, whatever the characters."""
    renderer = ChatEncoder(small, chat_template="{{ messages[0].content }}").pipeline.renderer
    requests = [RenderRequest([user(text)]) for text in (one, one + more)]
    shown, longer = renderer.render_batch(requests, now=datetime.now(), scaffold_of=lambda *_: None)
    assert longer.native is not None
    # Before the text is made, and after.
    for _ in range(2):
        assert longer.native.text_from(at) == (one + more)[at:]
        assert longer.native.length == len(one + more)
        assert longer.starts_with(shown)
        assert shown.starts_with(longer) == one.startswith(one + more)
        assert longer.text == one + more
    by_python = replace(longer, given_text=longer.text, native=None)
    assert (by_python.length, by_python.text_from(at)) == (longer.length, longer.text_from(at))
    assert by_python.starts_with(shown)
