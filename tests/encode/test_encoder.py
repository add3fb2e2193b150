"""What an encoding says, on the project's own tokenizer and templates."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from cases import CHATML, TRICKY_CONTENTS, assistant, system, user
from chatspan import (
    ChatEncoder,
    Encoding,
    Kind,
    MessageError,
    OptionError,
    RenderMismatchError,
    StraddleError,
    TemplateError,
    TokenizerError,
    TruncationError,
    TurnBoundaryError,
    UnknownKeywordWarning,
)
from conversations import CONVERSATIONS, call, calls, schema, tool

# Reasoning, tool calls and tool results as Qwen3 writes them.
AGENT = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + m.content }}"
    "{{ '\\n</tool_response><|im_end|>\\n' }}{% else %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.reasoning_content %}{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}"
    "{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
    '{{ \'\\n<tool_call>\\n{"name": "\' + c.function.name + \'", "arguments": \' }}{{ c.function.arguments | tojson }}'
    "{{ '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# GLM-4: nothing ends a message but the next one's header.
ENDLESS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TAGGED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}{{ '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}"
    "{{ '\\n' }}{% endfor %}"
)


def text_of(encoder: ChatEncoder, encoding: Encoding, mask: Any) -> str:
    """The masked tokens as text, stretches parted by a bar."""
    stretches: list[list[int]] = []
    last = -2
    for at in np.flatnonzero(mask).tolist():
        if at != last + 1:
            stretches.append([])
        stretches[-1].append(int(encoding.input_ids[at]))
        last = at
    return "|".join(encoder.decode(stretch) for stretch in stretches)


def kinds(encoding: Encoding) -> list[tuple[int, str, str]]:
    return [(s.message_index, s.kind.name, encoding.text[s.start_char : s.end_char]) for s in encoding.segments]


CALL = '<tool_call>\n{"name": "rebook", "arguments": {"train": "IC 900", "seats": 2}}\n</tool_call>'
CONVERSATION = [
    system("Be brief."),
    user("Move it."),
    calls(call("rebook", {"train": "IC 900", "seats": 2}), content="I will.", reasoning_content="It is late."),
    tool("ok"),
    assistant("Done."),
]


@pytest.fixture
def agent(small: Any) -> ChatEncoder:
    return ChatEncoder(small, chat_template=AGENT)


def test_every_character_is_somebodys(agent: ChatEncoder) -> None:
    assert kinds(agent.encode(CONVERSATION, add_generation_prompt=True)) == [
        (0, "SCAFFOLD", "<|im_start|>system\n"),
        (0, "CONTENT", "Be brief."),
        (0, "END_OF_TURN", "<|im_end|>"),
        (0, "SCAFFOLD", "\n"),
        (1, "SCAFFOLD", "<|im_start|>user\n"),
        (1, "CONTENT", "Move it."),
        (1, "END_OF_TURN", "<|im_end|>"),
        (1, "SCAFFOLD", "\n"),
        (2, "SCAFFOLD", "<|im_start|>assistant\n"),
        (2, "REASONING", "<think>\nIt is late.\n</think>\n\n"),
        (2, "CONTENT", "I will."),
        (
            2,
            "TOOL_CALL",
            '\n<tool_call>\n{"name": "rebook", "arguments": {"train": "IC 900", "seats": 2}}\n</tool_call>',
        ),
        (2, "END_OF_TURN", "<|im_end|>"),
        (2, "SCAFFOLD", "\n"),
        (3, "SCAFFOLD", "<|im_start|>user\n<tool_response>\n"),
        (3, "TOOL_RESULT", "ok"),
        (3, "SCAFFOLD", "\n</tool_response>"),
        (3, "END_OF_TURN", "<|im_end|>"),
        (3, "SCAFFOLD", "\n"),
        (4, "SCAFFOLD", "<|im_start|>assistant\n"),
        (4, "CONTENT", "Done."),
        (4, "END_OF_TURN", "<|im_end|>"),
        (4, "SCAFFOLD", "\n"),
        (-1, "GENERATION_PROMPT", "<|im_start|>assistant\n"),
    ]


def test_spans_name_the_field(agent: ChatEncoder) -> None:
    encoding = agent.encode(CONVERSATION)
    spans = {
        s.path: encoding.text[s.start_char : s.end_char] for s in encoding.spans if s.message_index == 2 and s.verbatim
    }
    assert spans == {
        ("role",): "assistant",
        ("reasoning_content",): "It is late.",
        ("content",): "I will.",
        ("tool_calls", 0, "function", "name"): "rebook",
        ("tool_calls", 0, "function", "arguments", "train"): "IC 900",
    }
    for span in encoding.spans:
        tokens = encoding.input_ids[span.start_token : span.end_token]
        assert encoding.text[span.start_char : span.end_char] in agent.decode(tokens)


def test_turns_and_contents(agent: ChatEncoder) -> None:
    encoding = agent.encode(CONVERSATION)
    turn = f"<think>\nIt is late.\n</think>\n\nI will.\n{CALL}"
    assert text_of(agent, encoding, encoding.mask()) == f"{turn}<|im_end|>|Done.<|im_end|>"
    assert text_of(agent, encoding, encoding.mask(end_of_turn="none")) == f"{turn}|Done."
    assert text_of(agent, encoding, encoding.mask(end_of_turn="all")) == f"{turn}<|im_end|>\n|Done.<|im_end|>\n"
    assert text_of(agent, encoding, encoding.mask(what="content")) == "I will.|Done."
    assert text_of(agent, encoding, encoding.mask(["user", "tool"], "content")) == "Move it.|ok"
    assert text_of(agent, encoding, encoding.mask(messages=[4])) == "Done.<|im_end|>"
    reasoning = encoding.mask(what={Kind.REASONING, Kind.END_OF_TURN})
    assert text_of(agent, encoding, reasoning) == "<think>\nIt is late.\n</think>\n\n|<|im_end|>|<|im_end|>"


def test_labels_and_weights(agent: ChatEncoder) -> None:
    encoding = agent.encode(CONVERSATION)
    labels = encoding.labels()
    assert labels.dtype == np.int64
    assert (labels[encoding.mask()] == encoding.input_ids[encoding.mask()]).all()
    assert set(labels[~encoding.mask()].tolist()) == {-100}
    span = next(s for s in encoding.spans if s.path == ("tool_calls", 0, "function", "arguments", "train"))
    weights = encoding.weights({"assistant": 1.0, ("assistant", Kind.SCAFFOLD): 0.0, Kind.REASONING: 0.5, span: 2.0})
    assert weights.dtype == np.float32
    assert text_of(agent, encoding, weights == 2) == " IC 900" or text_of(agent, encoding, weights == 2) == "IC 900"
    assert text_of(agent, encoding, weights == 0.5) == "<think>\nIt is late.\n</think>\n\n"
    with pytest.raises(OptionError, match=r"a weight for 1\.5"):
        encoding.weights({1.5: 1.0})


@pytest.mark.parametrize("name", sorted(CONVERSATIONS))
def test_ids_are_those_of_transformers(small: Any, name: str) -> None:
    messages, kwargs = CONVERSATIONS[name]
    if name == "parts":
        pytest.skip("the template takes strings only")
    encoding = ChatEncoder(small, chat_template=AGENT).encode(messages, **kwargs)
    kwargs = {**kwargs, "chat_template": AGENT}
    assert encoding.text == small.apply_chat_template(messages, tokenize=False, **kwargs)
    assert encoding.input_ids.tolist() == small.apply_chat_template(messages, return_dict=False, **kwargs)
    shapes = [encoding.offsets.shape, encoding.message_index.dtype, encoding.kind.dtype, encoding.offsets.dtype]
    assert shapes == [(len(encoding), 2), np.int32, np.uint8, np.int32]


@pytest.mark.parametrize("name", sorted(TRICKY_CONTENTS))
def test_tricky_contents_are_theirs_alone(small: Any, name: str) -> None:
    content = TRICKY_CONTENTS[name]
    encoding = ChatEncoder(small, chat_template=CHATML).encode([user("Go on."), assistant(content), user(content)])
    found = [s for s in encoding.spans if s.path == ("content",)]
    assert [encoding.text[s.start_char : s.end_char] for s in found] == ["Go on.", content, content]
    assert [s.message_index for s in found] == [0, 1, 2]


def test_reasoning_inside_of_a_content_is_reasoning(small: Any) -> None:
    encoding = ChatEncoder(small, chat_template=CHATML).encode([user("q"), assistant("<think>\nr\n</think>\n\nOne.")])
    assert kinds(encoding)[5:7] == [(1, "REASONING", "<think>\nr\n</think>"), (1, "CONTENT", "\n\nOne.")]


def test_what_the_template_left_out_is_listed(small: Any) -> None:
    template = CHATML.replace("m.content +", "m.content[:4] +")
    messages = [user("cut off here"), assistant("ok", reasoning_content="dropped", tool_calls=[call("f", {"a": "b"})])]
    assert ChatEncoder(small, chat_template=template).encode(messages).unrendered == [
        (0, ("content",)),
        (1, ("reasoning_content",)),
        (1, ("tool_calls", 0, "id")),
        (1, ("tool_calls", 0, "function", "name")),
        (1, ("tool_calls", 0, "function", "arguments", "a")),
    ]


def test_templates_without_an_end_of_turn_say_so(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=ENDLESS)
    encoding = encoder.encode([user("Hi"), assistant("Yes."), user("And?"), assistant("No.")])
    with pytest.raises(TurnBoundaryError, match=r'message 1 .*end_of_turn="next_header" .*end_of_turn="none"'):
        encoding.mask()
    assert text_of(encoder, encoding, encoding.mask(end_of_turn="next_header")) == "Yes.<|im_start|>|No."
    assert text_of(encoder, encoding, encoding.mask(end_of_turn="none")) == "Yes.|No."
    assert text_of(encoder, encoding, encoding.mask(what="content")) == "Yes.|No."


def test_generation_blocks_are_those_of_transformers(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=TAGGED)
    messages = [user("Hi"), assistant("Yes."), user("And?"), assistant("No.")]
    encoding = encoder.encode(messages)
    own = small.apply_chat_template(messages, chat_template=TAGGED, return_assistant_tokens_mask=True, return_dict=True)
    assert encoding.mask(what="generation").tolist() == [bool(m) for m in own["assistant_masks"]]
    with pytest.raises(OptionError, match=r"no \{% generation %\} blocks"):
        ChatEncoder(small, chat_template=CHATML).encode(messages).mask(what="generation")


def test_truncation_cuts_everything_together(agent: ChatEncoder) -> None:
    whole = agent.encode(CONVERSATION)
    with pytest.raises(TruncationError, match=rf"{len(whole)} tokens are more than max_length=20"):
        agent.encode(CONVERSATION, max_length=20)
    for side, kept in (("left", slice(-20, None)), ("right", slice(0, 20))):
        cut = agent.encode(CONVERSATION, max_length=20, truncation=side)  # type: ignore[arg-type]
        assert cut.input_ids.tolist() == whole.input_ids[kept].tolist()
        assert cut.mask().tolist() == whole.mask()[kept].tolist()
        assert cut.truncated == len(whole) - 20
        for span in cut.spans:
            assert cut.text[span.start_char : span.end_char] in agent.decode(
                cut.input_ids[span.start_token : span.end_token]
            )


def test_continuing_the_last_message(agent: ChatEncoder) -> None:
    messages = [user("Hi"), assistant("The answer is")]
    encoding = agent.encode(messages, continue_final_message=True)
    assert encoding.text.endswith("assistant\nThe answer is")
    assert text_of(agent, encoding, encoding.mask()) == "The answer is"


def test_straddling_tokens_take_the_side_of_their_first_character(small: Any) -> None:
    template = "{% for m in messages %}{{ '<|im_start|>as' + m.content + '<|im_end|>' }}{% endfor %}"
    encoder = ChatEncoder(small, chat_template=template)
    encoding = encoder.encode([user("Go."), assistant("sistant yes")])
    across = [encoder.decode([encoding.input_ids[at]]) for at in encoding.straddling]
    assert across == ["assistant"]
    assert text_of(encoder, encoding, encoding.mask(what="content")) == " yes"
    assert text_of(encoder, encoding, encoding.mask(what="content", straddle="touch")) == "assistant yes"
    assert text_of(encoder, encoding, encoding.mask(what="content", straddle="inside")) == " yes"
    with pytest.raises(StraddleError):
        encoding.mask(what="content", straddle="error")


def test_explain_shows_whose_each_token_is(agent: ChatEncoder) -> None:
    shown = agent.encode([user("Hi"), assistant("Hello!")]).explain()
    assert "message 1 (assistant)" in shown
    assert "end_of_turn        '<|im_end|>'" in shown


def test_errors_name_the_place(small: Any) -> None:
    raising = "{% for m in messages %}{{ m.role }}\n{% if m.role == 'bad' %}{{ raise_exception('no') }}{% endif %}"
    raising += "{% endfor %}"
    place = r"at message 1 \(role 'bad'\), line 2 of the template: TemplateError: no$"
    with pytest.raises(TemplateError, match=place) as got:
        ChatEncoder(small, chat_template=raising).encode([user("a"), {"role": "bad", "content": ""}])
    assert got.value.message_index == 1
    encoder = ChatEncoder(small, chat_template=CHATML)
    with pytest.raises(MessageError, match="message 1 is int, not a dict"):
        encoder.encode([user("a"), 3])  # type: ignore[list-item]
    with pytest.raises(MessageError, match="at least one message"):
        encoder.encode([])
    with pytest.raises(TemplateError, match="message 0"):
        encoder.encode([user(5)])
    with pytest.warns(UnknownKeywordWarning, match="does not read 'enable_thinkin'"):
        encoder.encode([user("a")], enable_thinkin=True)
    with pytest.raises(OptionError, match="'padding' is an option of apply_chat_template"):
        encoder.encode([user("a")], padding=True)
    with pytest.raises(OptionError, match="a turn is what an assistant produces"):
        encoder.encode([user("a")]).mask(["user"])


def test_tokenizers_without_template_or_offsets(small_copy: Any) -> None:
    small_copy.chat_template = None
    with pytest.raises(TokenizerError, match="no chat template"):
        ChatEncoder(small_copy)
    with pytest.raises(TokenizerError, match="returns no offsets"):
        ChatEncoder(object())


def test_what_is_no_template_and_no_tools(small: Any) -> None:
    with pytest.raises(TemplateError, match=r"cannot be compiled, line 2: unexpected 'end of template'; fix it"):
        ChatEncoder(small, chat_template="{{ messages }}\n{{")
    with pytest.raises(OptionError, match="chat_template=3: pass a template"):
        ChatEncoder(small, chat_template=3)
    for tools, message in (
        ("rebook", "must be a list, got str"),
        ({}, "must be a list, got dict"),
        ([3], r"\[0\] is int"),
    ):
        with pytest.raises(OptionError, match=rf"tools.*{message}"):
            ChatEncoder(small).encode([user("Hi")], tools=tools)
    with pytest.raises(OptionError, match="not both: one begins a message, one continues it"):
        ChatEncoder(small).encode([user("Hi")], add_generation_prompt=True, continue_final_message=True)


def test_an_overridden_apply_chat_template_is_noticed(small_copy: Any) -> None:
    own = small_copy.apply_chat_template
    small_copy.apply_chat_template = lambda *a, **k: own(*a, **k) + "!"
    with pytest.raises(RenderMismatchError, match="differs from the tokenizer's own from character"):
        ChatEncoder(small_copy).encode([user("Hi")])


def test_a_tokenizer_whose_own_render_raises(small_copy: Any) -> None:
    def refuses(*args: Any, **kwargs: Any) -> Any:
        raise LookupError("not today")

    encoder = ChatEncoder(small_copy)
    small_copy.apply_chat_template = refuses
    with pytest.raises(
        RenderMismatchError, match="own apply_chat_template raises LookupError: not today; here the render"
    ):
        encoder.encode([user("Hi")])


def test_named_templates_and_tool_functions(small: Any) -> None:
    def rebook(train: str) -> None:
        """Books again.

        Args:
            train: its number
        """

    named = {"default": "default{{ messages[0].content }}", "tool_use": "{{ tools | tojson }}"}
    encoder = ChatEncoder(small, chat_template=named)
    assert encoder.encode([user("Hi")]).text == "defaultHi"
    encoding = encoder.encode([user("Hi")], tools=[rebook])
    assert {Kind(kind) for kind in encoding.kind.tolist()} == {Kind.TOOLS}
    paths = {s.path: encoding.text[s.start_char : s.end_char] for s in encoding.spans if s.verbatim}
    assert paths["tools", 0, "function", "name"] == "rebook"
    assert encoder.encode([user("Hi")], tools=[schema()]).text.startswith('[{"type": "function"')


def test_a_megabyte_of_content(small: Any) -> None:
    content = "word " * 200_000
    encoding = ChatEncoder(small, chat_template=CHATML).encode([user("Hi"), assistant(content)])
    span = next(s for s in encoding.spans if s.message_index == 1 and s.path == ("content",))
    assert (span.end_char - span.start_char, span.verbatim) == (len(content), True)
    assert encoding.mask(what="content").sum() == span.end_token - span.start_token


def test_a_batch_is_what_its_conversations_are(agent: ChatEncoder) -> None:
    conversations = [CONVERSATION, [user("Hi"), assistant("Hello!")]]
    for one, encoding in zip(conversations, agent.encode_batch(conversations), strict=True):
        alone = agent.encode(one)
        assert encoding.text == alone.text
        assert encoding.input_ids.tolist() == alone.input_ids.tolist()
        assert encoding.kind.tolist() == alone.kind.tolist()
        assert encoding.spans == alone.spans
    assert agent.encode_batch([]) == []


def test_threads_do_not_mix_their_messages(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=AGENT)

    def kinds_of(count: int) -> list[tuple[int, str, str]]:
        return kinds(encoder.encode([user(f"q{i}") if i % 2 == 0 else assistant(f"a{i}") for i in range(count)]))

    expected = {count: kinds_of(count) for count in range(1, 9)}
    with ThreadPoolExecutor(4) as pool:
        for count, found in pool.map(lambda count: (count, kinds_of(count)), list(range(1, 9)) * 8):
            assert found == expected[count]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_an_encoding_can_be_pickled(small: Any, name: str) -> None:
    messages, keywords = CONVERSATIONS[name]
    encoding = ChatEncoder(small).encode(messages, **keywords)
    encoding.explain()
    again = pickle.loads(pickle.dumps(encoding))
    assert again.explain() == encoding.explain()
    assert again.spans == encoding.spans
    assert again.unrendered == encoding.unrendered
    assert again.mask().tolist() == encoding.mask().tolist()
    assert [str(value) for value in again._render.messages] == [str(value) for value in encoding._render.messages]


def test_a_template_that_takes_a_question_as_a_prompt_alone(small: Any) -> None:
    template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ 'assistant: ' }}{% elif messages[-1].role == 'user' %}{{ raise_exception('no answer') }}{% endif %}"
    )
    encoder = ChatEncoder(small, chat_template=template)
    prompt = encoder.encode([user("Hi")], add_generation_prompt=True)
    assert prompt.text == "user: Hi\nassistant: "
    assert encoder.decode(prompt.input_ids[prompt.message_index == -1]) == "assistant: "
    with pytest.raises(TemplateError, match="TemplateError: no answer"):
        encoder.encode([user("Hi")])
