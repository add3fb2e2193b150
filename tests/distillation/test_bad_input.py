"""What is wrong with the input is said with its place: the trace, the turn, and what to do."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from cases import assistant, config, failed, system, trace, user
from chatspan import (
    ChatspanError,
    CollatorConfig,
    ComposerDataCollator,
    HintError,
    OptionError,
    TemplateError,
    TextError,
    TokenizerError,
    TraceError,
)
from references import PlainView

GO = user("Go.")
BAD_TRACES = {
    "no turns": ({"trace_id": "t"}, r"^trace 't': it has no conversation: .* got 'trace_id'"),
    "empty turns": (trace(), r"^trace 't': its 'turns' must be a list with at least one message, got list \[\]"),
    "turns of another type": ({"trace_id": "t", "turns": "Go."}, r"'turns' must be a list with at least one message"),
    "no dict": ("Go.", r"^trace 'row 0': a row is a dict .*; got str"),
    "a turn that is none": (
        trace(GO, "Yes."),
        r"^trace 't', turn 1: message 1 of 'turns' must be a dict with 'role' and 'content', got str 'Yes.'",
    ),
    "no role": (trace({"content": "Go."}), r"^trace 't', turn 0: message 0 has no 'role'; its keys: 'content'"),
    "a role that is none": (trace(GO, {"role": 7, "content": "Go."}), r"^trace 't', turn 1: message 1 has the role 7"),
    "a number as content": (trace(GO, assistant(7)), r"^trace 't', turn 1: 'content' is int 7: expected a string"),
    "an image part": (trace(user([{"type": "image"}])), r"^trace 't', turn 0: part 0 of "),
    "a part without text": (trace(user([{"type": "text"}])), r"^trace 't', turn 0: part 0 of 'content' is dict"),
    "two forms of calls": (
        trace(GO, assistant("", tool_call={}, tool_calls=[])),
        r"turn 1: it has both 'tool_call' and",
    ),
    "a call that is none": (trace(GO, assistant("", tool_call="go")), r"turn 1: 'tool_call' must be a dict, got str"),
    "tools of another type": (trace(GO, tools="go"), r"^trace 't': its 'tools' must be a list"),
    "kwargs of another type": (trace(GO, chat_template_kwargs=[1]), r"'chat_template_kwargs' must be a dict"),
    "a reserved kwarg": (
        trace(GO, chat_template_kwargs={"tokenize": True, "tools": []}),
        r"must not contain tokenize, tools; pass tools as the row's own column",
    ),
    "no trace id": ({"turns": [{"content": "Go."}]}, r"^trace 'row 0', turn 0: message 0 has no 'role'"),
}


def collate(tokenizer: Any, *traces: Any, **options: Any) -> Any:
    return ComposerDataCollator(tokenizer=tokenizer, config=config(**options))(list(traces))


@pytest.mark.parametrize(("bad", "message"), BAD_TRACES.values(), ids=BAD_TRACES.keys())
@pytest.mark.parametrize("view", [lambda tokenizer: tokenizer, PlainView], ids=["fast", "plain"])
def test_bad_traces(small: Any, bad: Any, message: str, view: Any) -> None:
    with pytest.raises(TraceError, match=message):
        collate(view(small), bad)


def test_the_row_that_is_bad_is_named(small: Any) -> None:
    with pytest.raises(TraceError, match=r"^trace 'second', turn 0: message 0 has no 'role'") as error:
        collate(small, trace(GO), {"trace_id": "second", "turns": [{"content": "x"}]})
    assert (error.value.trace_id, error.value.turn_index) == ("second", 0)


@pytest.mark.parametrize("traces", [[], "traces", None, {"turns": []}])
def test_what_is_no_list_of_traces(small: Any, traces: Any) -> None:
    with pytest.raises(TraceError, match="list of traces"):
        ComposerDataCollator(tokenizer=small, config=config())(traces)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (lambda error, meta: 7, r"^trace 't', turn 1: hint_generator returned int 7, not a string"),
        (lambda error, meta: None, r"hint_generator returned NoneType None, not a string; return \"\" for no hint"),
        (lambda error, meta: "a\udc00", r"^trace 't', turn 1: hint_generator returned text with a lone surrogate"),
        (lambda error, meta: meta["tool"], r"^trace 't', turn 1: hint_generator raised KeyError: 'tool'"),
    ],
)
def test_bad_hint_generators(small: Any, generator: Any, message: str) -> None:
    with pytest.raises(HintError, match=message):
        collate(small, trace(GO, failed("Yes.")), hint_generator=generator)


def test_a_template_that_raises_names_the_message(small: Any) -> None:
    template = (
        "{% for m in messages %}{% if m.content == 'No.' %}{{ raise_exception('not so') }}{% endif %}{% endfor %}"
    )
    turns = trace(
        GO, assistant("Yes."), user("On."), assistant("No."), chat_template_kwargs={"chat_template": template}
    )
    for tokenizer in (small, PlainView(small)):
        with pytest.raises(TemplateError, match=r"^trace 't', turn 3: the chat template raised at message 3.*not so"):
            collate(tokenizer, turns)


def test_a_template_that_cannot_take_the_content_names_the_message(small: Any) -> None:
    template = "{% for m in messages %}{{ m.role + m['content'] }}{% endfor %}"
    with pytest.raises(
        TemplateError, match=r"^trace 't', turn 1: the chat template raised at message 1 \(role 'assistant'\)"
    ):
        collate(
            small,
            trace(GO, assistant([{"type": "text", "text": "Yes."}]), chat_template_kwargs={"chat_template": template}),
            text_parts="as_given",
        )


def test_a_tokenizer_without_a_chat_template(small_copy: Any) -> None:
    small_copy.chat_template = None
    with pytest.raises(TokenizerError, match=r"^trace 't': the tokenizer has no chat template"):
        collate(small_copy, trace(GO))
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    batch = collate(small_copy, trace(GO, chat_template_kwargs={"chat_template": template}))
    assert small_copy.decode(batch["input_ids"][0]) == "Go."
    bare = type("Bare", (), {"pad_token_id": 0})()
    with pytest.raises(TokenizerError, match=r"^trace 't': Bare has no apply_chat_template"):
        collate(bare, trace(GO))


def test_a_tokenizer_with_nothing_to_pad_with(small_copy: Any) -> None:
    small_copy.pad_token = small_copy.eos_token = None
    with pytest.raises(TokenizerError, match="neither a pad nor an eos token"):
        ComposerDataCollator(tokenizer=small_copy, config=config())


@pytest.mark.parametrize("content", ["a\ud800", [{"type": "text", "text": "a\ud800"}]])
def test_a_lone_surrogate_names_the_turn(small: Any, content: Any) -> None:
    with pytest.raises(TextError, match=r"^trace 't', turn 1: 'content' has a lone surrogate at character 1") as error:
        collate(small, trace(system("Be kind."), user(content)))
    assert error.value.start_char == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hint_placement": "before"}, "hint_placement='before': use one of 'before_turn', 'append_to_previous'"),
        ({"layout": "left"}, "layout='left': use one of 'aligned', 'indexed', 'placeholder'"),
        ({"hint_role": "sytem"}, "hint_role='sytem': use one of 'system'"),
        ({"straddle": "in"}, "straddle='in': use one of 'blanks'"),
        ({"hint_generator": "hint"}, "hint_generator='hint' is not callable"),
        ({"sdpo_ignore_index": 1}, "sdpo_ignore_index=1: expected a whole number other than 1"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        config(**options)
    with pytest.raises(TypeError):
        CollatorConfig(lambda error, meta: "")  # type: ignore[misc]


def test_errors_survive_a_worker_process() -> None:
    error = ChatspanError("no", token_index=3).at(trace_id="t", turn_index=2)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "trace 't', turn 2: no"
    assert (again.token_index, again.turn_index) == (3, 2)
    # torch's DataLoader makes a worker's exception anew from its class and its text.
    assert str(TraceError(str(error))) == str(error)
