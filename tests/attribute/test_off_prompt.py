"""Turns that no inference prompt leads to: each cause, what becomes of them, and tokens over the border."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from cases import CHATML, assistant, system, user
from chatspan import ChatCollator, ChatEncoder, EmptyRowError, OffPromptError, OptionError
from chatspan.attribute.prompts import Cause
from prompts import SOURCES, Row, tokenizer_for
from turn_shapes import SHAPES, TOOLS
from zoo import require_zoo

BEGIN, END = "{% for m in messages %}", "{% endfor %}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
WRITTEN = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
ASKED_FOR = (
    BEGIN + WRITTEN + END + "{% if add_generation_prompt and messages[-1].role == 'assistant' %}"
    "{{ raise_exception('nothing was asked') }}{% endif %}" + PROMPT
)
RESULT = {"role": "tool", "content": "1"}
TWO_TURNS = [user("One?"), assistant("One."), user("Two?"), assistant("Two.")]

# The template, the conversation, and by message: the cause, and how prompt and row go on where they part.
CAUSES: dict[str, tuple[str, list[dict[str, Any]], dict[int, tuple[str, str, str]]]] = {
    "prompts with a tag that turns have not": (
        BEGIN + WRITTEN + END + PROMPT.replace("assistant\n", "assistant\n<think>\n"),
        TWO_TURNS,
        {1: ("another_opening", "<think>\n", "One.<|im_end|>"), 3: ("another_opening", "<think>\n", "Two.<|im_end|>")},
    ),
    "prompts with another role": (
        BEGIN + WRITTEN + END + PROMPT.replace("assistant", "model"),
        TWO_TURNS[:2],
        {1: ("another_opening", "model\n", "assistant\nOne.")},
    ),
    "drops reasoning of turns before the last question": (
        "{% set asked = namespace(at=0) %}"
        "{% for m in messages %}{% if m.role == 'user' %}{% set asked.at = loop.index0 %}{% endif %}{% endfor %}"
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.reasoning_content and loop.index0 > asked.at %}{{ '<think>' + m.reasoning_content + '</think>' }}"
        "{% endif %}{{ m.content + '<|im_end|>\n' }}" + END + PROMPT,
        [
            user("One?"),
            assistant("I look.", reasoning_content="A tool knows."),
            RESULT,
            assistant("One."),
            user("Two?"),
            assistant("Two.", reasoning_content="One more."),
        ],
        {3: ("reasoning_dropped", "<think>A tool knows.</think>", "I look.<|im_end|>")},
    ),
    "cuts reasoning off contents": (
        BEGIN + "{% set c = m.content %}{% if '</think>' in c and messages[-1].role == 'user' %}"
        "{% set c = c.split('</think>')[-1] %}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' + c + '<|im_end|>\n' }}" + END + PROMPT,
        [user("One?"), assistant("<think>Hm.</think>I look."), RESULT, assistant("One."), user("Two?")],
        {3: ("reasoning_dropped", "<think>Hm.</think>I look.", "I look.<|im_end|>")},
    ),
    "writes a system's text of the middle first": (
        "{% for m in messages if m.role == 'system' %}{{ 'Rules: ' + m.content + '\n' }}{% endfor %}"
        "{% for m in messages if m.role != 'system' %}" + WRITTEN + END + PROMPT,
        [user("One?"), assistant("One."), system("Be kind."), user("Two?"), assistant("Two.")],
        {1: ("system_moved", "<|im_start|>user\nOne?", "Rules: Be kind.\n<|im_start|>user")},
    ),
    "writes the system's text into the last question": (
        "{% for m in messages if m.role != 'system' %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'user' and (loop.last or loop.index0 == loop.length - 2) %}"
        "{{ messages[0].content + '\n' }}{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}" + PROMPT,
        [system("Be kind."), *TWO_TURNS],
        {2: ("system_moved", "Be kind.\nOne?", "One?<|im_end|>")},
    ),
    "marks the last message": (
        BEGIN + "{{ '<|im_start|>' + m.role + '\n' + m.content + (' (last)' if loop.last else '') + '<|im_end|>\n' }}"
        "" + END + PROMPT,
        TWO_TURNS[:2],
        {1: ("history_rewritten", " (last)<|im_end|>", "<|im_end|>\n<|im_start|>assistant")},
    ),
    "shortens what was said": (
        BEGIN + "{{ '<|im_start|>' + m.role + '\n' + (m.content if loop.revindex < 3 else m.content[:3])"
        " + '<|im_end|>\n' }}" + END + PROMPT,
        TWO_TURNS,
        {1: ("history_rewritten", "?<|im_end|>", "<|im_end|>"), 3: ("history_rewritten", ".<|im_end|>", "<|im_end|>")},
    ),
    "renders no prompt of nothing": (
        CHATML,
        [assistant("Hello."), user("Hi"), assistant("Yes?")],
        {0: ("no_prompt", "", "<|im_start|>assistant\nHello.")},
    ),
    "refuses a prompt behind an answer": (
        ASKED_FOR,
        [user("One?"), assistant("One."), assistant("And two.")],
        {2: ("no_prompt", "", "<|im_start|>user\nOne?")},
    ),
}


@pytest.mark.parametrize("name", CAUSES)
def test_causes(name: str, small: Any) -> None:
    source, messages, expected = CAUSES[name]
    encoding = ChatEncoder(small, chat_template=source).encode(messages)
    row = Row(small, source, messages, {})
    assert row.text == encoding.text
    assert list(encoding.off_prompt) == list(expected)
    for index, found in encoding.off_prompt.items():
        cause, prompt, written = expected[index]
        assert found.cause == cause
        assert found.prompt.startswith(prompt)
        assert found.row.startswith(written)
        assert (found.start_char, found.prompt, found.row) == row.off_prompt[index]


def test_templates_that_only_add_are_on_prompt(small: Any) -> None:
    assert ChatEncoder(small).encode(TWO_TURNS).off_prompt == {}
    assert ChatEncoder(small, chat_template=CHATML).encode([system("Be kind."), *TWO_TURNS]).off_prompt == {}


TRAINED = {
    "prompts with a tag that turns have not": "One.<|im_end|>Two.<|im_end|>",
    "drops reasoning of turns before the last question": (
        "I look.<|im_end|>One.<|im_end|><think>One more.</think>Two.<|im_end|>"
    ),
    "cuts reasoning off contents": "I look.<|im_end|>One.<|im_end|>",
    "writes a system's text of the middle first": "One.<|im_end|>Two.<|im_end|>",
    "writes the system's text into the last question": "One.<|im_end|>Two.<|im_end|>",
    "marks the last message": "One. (last)<|im_end|>",
    "shortens what was said": "One<|im_end|>Two.<|im_end|>",
    "renders no prompt of nothing": "Hello.<|im_end|>Yes?<|im_end|>",
}


@pytest.mark.parametrize("name", TRAINED)
def test_a_turn_starts_behind_what_is_written_of_the_opening(name: str, small: Any) -> None:
    source, messages, _ = CAUSES[name]
    encoder = ChatEncoder(small, chat_template=source)
    encoding = encoder.encode(messages)
    assert encoder.decode(encoding.input_ids[encoding.mask()]) == TRAINED[name]


def test_a_turn_whose_prompt_is_refused_has_the_known_header(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=ASKED_FOR)
    encoding = encoder.encode([user("One?"), assistant("One."), assistant("And two.")])
    assert encoder.decode(encoding.input_ids[encoding.mask(messages=[2])]) == "And two.<|im_end|>"


REAL: dict[str, tuple[list[dict[str, Any]], dict[int, Cause]]] = {
    "Qwen3.5-4B": (TWO_TURNS, {1: "another_opening"}),
    "Qwen-Qwen3-0.6B": (SHAPES["tools and reasoning"][0], {3: "reasoning_dropped", 5: "reasoning_dropped"}),
    # An empty block of reasoning, too.
    "stepfun-ai-Step-3.5-Flash": (SHAPES["tools"][0], {1: "another_opening", 3: "reasoning_dropped"}),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": (SHAPES["tools"][0], {3: "history_rewritten"}),
    "Qwen-QwQ-32B": (TWO_TURNS, {1: "another_opening", 3: "another_opening"}),
    "deepseek-ai-DeepSeek-V4": ([user("1?"), assistant("1."), system("Be kind."), user("2?")], {1: "system_moved"}),
    "mistralai-Mistral-Nemo-Instruct-2407": ([system("Be kind."), *TWO_TURNS], {2: "system_moved", 4: "system_moved"}),
}


@pytest.mark.parametrize("name", REAL)
def test_causes_of_real_templates(name: str) -> None:
    require_zoo()
    messages, expected = REAL[name]
    encoding = ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name]).encode(messages, tools=TOOLS)
    assert {index: found.cause for index, found in encoding.off_prompt.items()} == expected


def test_the_cause_in_a_template_that_always_prompts() -> None:
    require_zoo()
    name = "CohereForAI-c4ai-command-r7b-12-2024-tool_use"
    encoding = ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name]).encode(TWO_TURNS[:2])
    assert encoding.off_prompt[1].prompt == "THINKING|><|END_THINKING|>"
    assert encoding.off_prompt[1].row.startswith("RESPONSE|>One.")
    assert encoding.off_prompt[1].cause == "another_opening"


def test_turns_of_a_template_that_writes_all_text_at_once() -> None:
    require_zoo()
    tokenizer, source = tokenizer_for("Reka-Edge"), SOURCES["Reka-Edge"]
    encoding = ChatEncoder(tokenizer, chat_template=source).encode(TWO_TURNS, enable_thinking=True)
    own = Row(tokenizer, source, TWO_TURNS, {"enable_thinking": True}).off_prompt
    assert {index: (found.start_char, found.prompt, found.row) for index, found in encoding.off_prompt.items()} == own


THINKING = BEGIN + WRITTEN + END + PROMPT.replace("assistant\n", "assistant\n<think>\n")
# Of two turns one is off its prompt: the first, before which the system's text of the middle was not said.
MOVES = CAUSES["writes a system's text of the middle first"]


def trained(tokenizer: Any, batch: dict[str, Any]) -> list[str]:
    return [tokenizer.decode(labels[labels != -100]) for labels in batch["labels"]]


def test_drop_turn_trains_the_others(small: Any) -> None:
    source, messages, _ = MOVES
    collate = ChatCollator(small, chat_template=source, off_prompt="drop_turn")
    on_prompt = {"messages": TWO_TURNS}
    assert trained(small, collate([{"messages": messages}, on_prompt])) == [
        "Two.<|im_end|>",
        "One.<|im_end|>Two.<|im_end|>",
    ]
    with_loss_messages = {"messages": messages, "loss_messages": [1, 4]}
    assert trained(small, collate([with_loss_messages])) == ["Two.<|im_end|>"]
    weighted = ChatCollator(small, chat_template=source, off_prompt="drop_turn", loss_on={"assistant": 0.5})
    batch = weighted([{"messages": messages}])
    assert small.decode(batch["input_ids"][batch["loss_weight"] == 0.5]) == trained(small, batch)[0]
    assert "One." not in trained(small, batch)[0]


def test_drop_turn_of_all_turns_leaves_nothing(small: Any) -> None:
    collate = ChatCollator(small, chat_template=THINKING, off_prompt="drop_turn", empty_rows="drop")
    assert not collate.has_signal({"messages": TWO_TURNS})
    collate = ChatCollator(small, chat_template=THINKING, off_prompt="drop_turn")
    with pytest.raises(EmptyRowError, match=r"no inference prompt leads to any of its turns"):
        collate([{"messages": TWO_TURNS}])


def test_error_says_what_prompt_and_row_have(small: Any) -> None:
    collate = ChatCollator(small, chat_template=MOVES[0], off_prompt="error")
    with pytest.raises(OffPromptError) as caught:
        collate([{"messages": TWO_TURNS}, {"messages": MOVES[1]}])
    assert str(caught.value) == (
        "row 1 of the batch: message 1 (assistant): no inference prompt leads to its turn (system_moved): from "
        "character 0 on the prompt has '<|im_start|>user\\nOne?<|im_end|>\\n<|im_sta', the row 'Rules: Be "
        'kind.\\n<|im_start|>user\\nOne?<|i\'; use off_prompt="drop_turn" to leave such turns out, or "keep" to train '
        "them"
    )
    assert (caught.value.row_index, caught.value.message_index, caught.value.start_char) == (1, 1, 0)
    # Only what is trained counts.
    assert trained(small, collate([{"messages": MOVES[1], "loss_messages": [4]}])) == ["Two.<|im_end|>"]


def test_keep_says_so_once(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    collate = ChatCollator(small, chat_template=THINKING)
    with caplog.at_level(logging.WARNING, logger="chatspan"):
        for _ in range(3):
            batch = collate([{"messages": TWO_TURNS}, {"messages": [assistant("Hello."), *TWO_TURNS]}])
    assert trained(small, batch)[0] == "One.<|im_end|>Two.<|im_end|>"
    [record] = caplog.records
    assert "5 of 5 turns in the first 2 rows" in record.getMessage()
    assert "(4 another_opening, 1 no_prompt)" in record.getMessage()
    assert 'off_prompt="drop_turn"' in record.getMessage()


def test_keep_says_nothing_where_all_are_on_prompt(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="chatspan"):
        ChatCollator(small)([{"messages": TWO_TURNS}])
    assert not caplog.records


def test_map_functions_take_the_option(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=MOVES[0])
    found = encoder.as_map_fn(off_prompt="drop_turn")({"messages": [MOVES[1]]})
    assert encoder.decode([label for label in found["labels"][0] if label != -100]) == "Two.<|im_end|>"
    with pytest.raises(OffPromptError, match="message 1"):
        encoder.as_map_fn(off_prompt="error")({"messages": [MOVES[1]]})


def test_options_are_checked(small: Any) -> None:
    with pytest.raises(OptionError, match="off_prompt='drop'"):
        ChatCollator(small, off_prompt="drop")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="boundaries='prompted'"):
        ChatEncoder(small, boundaries="prompted")  # type: ignore[arg-type]


def forced(tokenizer: Any, **options: Any) -> ChatEncoder:
    """A template whose prompt writes ``<think>`` and a newline, and whose turns go on with another newline."""
    return ChatEncoder(tokenizer, chat_template=SOURCES["Qwen3.5-4B"], **options)


def test_a_token_of_prompt_and_turn(zoo_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = zoo_tokenizer("qwen3")
    encoder = forced(tokenizer)
    encoding = encoder.encode(TWO_TURNS)
    # The earlier turn is written without a thought, and so off its prompt.
    assert [encoder.decode([token]) for token in encoding.input_ids[encoding.border_tokens]] == ["\n\n"]
    own = tokenizer.apply_chat_template(TWO_TURNS, chat_template=SOURCES["Qwen3.5-4B"])
    assert encoding.input_ids.tolist() == getattr(own, "input_ids", own)
    assert encoder.decode(encoding.input_ids[encoding.mask(messages=[3])]) == "</think>\n\nTwo.<|im_end|>"


def test_as_prompted_has_the_ids_of_prompt_and_turn(zoo_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = zoo_tokenizer("qwen3")
    encoder = forced(tokenizer, boundaries="as_prompted")
    prompt = tokenizer.apply_chat_template(
        TWO_TURNS[:3], chat_template=SOURCES["Qwen3.5-4B"], tokenize=False, add_generation_prompt=True
    )
    turn = "\n</think>\n\nTwo.<|im_end|>"
    encoding = encoder.encode(TWO_TURNS)
    assert encoding.text == f"{prompt}{turn}\n"
    pieces = [tokenizer(piece, add_special_tokens=False)["input_ids"] for piece in (prompt, turn, "\n")]
    assert encoding.input_ids.tolist() == [token for piece in pieces for token in piece]
    assert encoding.input_ids[encoding.mask(messages=[3])].tolist() == pieces[1]
    assert encoding.border_tokens.tolist() == []


def test_collators_tokenize_as_prompted(zoo_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = zoo_tokenizer("qwen3")
    source, rows = SOURCES["Qwen3.5-4B"], [{"messages": TWO_TURNS[:2]}]
    as_rendered = ChatCollator(tokenizer, chat_template=source)(rows)
    as_prompted = ChatCollator(tokenizer, chat_template=source, boundaries="as_prompted")(rows)
    assert trained(tokenizer, as_rendered) == ["</think>\n\nOne.<|im_end|>"]
    assert trained(tokenizer, as_prompted) == ["\n</think>\n\nOne.<|im_end|>"]
    assert tokenizer.decode(as_prompted["input_ids"][0]) == tokenizer.decode(as_rendered["input_ids"][0])


def test_a_pickled_encoding(zoo_tokenizer: Callable[[str], Any]) -> None:
    encoder = forced(zoo_tokenizer("qwen3"))
    encoding = encoder.encode(TWO_TURNS)
    without = pickle.loads(pickle.dumps(encoding))
    with pytest.raises(OptionError, match="before an encoding is pickled"):
        _ = without.off_prompt
    asked = dict(encoding.off_prompt)
    restored = pickle.loads(pickle.dumps(encoding))
    assert dict(restored.off_prompt) == asked
    assert [found.cause for found in asked.values()] == ["another_opening"]
    for each in (without, restored):
        assert each.turn_ranges(3) == encoding.turn_ranges(3)
        assert encoder.decode(each.input_ids[each.border_tokens]) == "\n\n"
        assert encoder.decode(each.input_ids[each.mask()]) == "One.<|im_end|></think>\n\nTwo.<|im_end|>"
