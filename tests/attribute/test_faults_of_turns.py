"""Turns that were trained with their prompt's text, without their first word, or with a tool's result: what is right.

Each row's expected text is also what transformers' render has behind the prompt of inference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from cases import assistant, user
from chatspan import ChatEncoder, Encoding, Kind, TurnBoundaryError
from chatspan.attribute.turns import EndOfTurn
from conversations import call, tool
from prompts import SOURCES, Row, tokenizer_for
from zoo import require_zoo

POLICIES: tuple[EndOfTurn, ...] = get_args(EndOfTurn)
CALL = call("calc", {"e": "2**10"})
CALLING = [user("2**10?"), assistant("", tool_calls=[CALL]), tool("1024", "calc"), assistant("It is."), user("Thanks")]
WHY = {"reasoning_content": "Why."}
OFF, ON = {"enable_thinking": False}, {"enable_thinking": True}
THINKING = {"thinking": True}
EOS = "<｜end▁of▁sentence｜>"

# (template, keywords, the answer's other keys, what the model has to write)
BEHIND_THE_OPENING: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("Qwen-Qwen3-0.6B", OFF, {}, "Hello<|im_end|>"),
    ("Qwen-Qwen3-0.6B", {}, {}, "<think>\n\n</think>\n\nHello<|im_end|>"),
    ("Qwen-Qwen3-0.6B", {}, WHY, "<think>\nWhy.\n</think>\n\nHello<|im_end|>"),
    ("Qwen3.5-4B", {}, {}, "\n</think>\n\nHello<|im_end|>"),
    ("Qwen3.5-4B", {}, WHY, "Why.\n</think>\n\nHello<|im_end|>"),
    ("Qwen3.5-4B", OFF, {}, "Hello<|im_end|>"),
    ("stepfun-ai-Step-3.5-Flash", {}, {}, "\n</think>\nHello<|im_end|>"),
    ("StepFun3.5-Flash", {}, WHY, "Why.\n</think>\nHello<|im_end|>"),
    ("deepseek-ai-DeepSeek-V3.1", {}, {}, f"Hello{EOS}"),
    ("deepseek-ai-DeepSeek-V3.1", THINKING, {}, f"</think>Hello{EOS}"),
    ("deepseek-ai-DeepSeek-V3.2", THINKING, {}, f"</think>Hello{EOS}"),
    ("deepseek-ai-DeepSeek-V3.2", THINKING, WHY, f"Why.</think>Hello{EOS}"),
    ("deepseek-ai-DeepSeek-V4", {}, {}, f"Hello{EOS}"),
    ("deepseek-ai-DeepSeek-V4", THINKING, WHY, f"Why.</think>Hello{EOS}"),
    ("GLM-4.6", {}, {}, "\n<think></think>\nHello"),
    ("GLM-4.6", OFF, {}, "\nHello"),
    ("GLM-4.7-Flash", {}, WHY, "Why.</think>Hello"),
    ("GLM-4.7-Flash", OFF, {}, "Hello"),
    ("GLM-5.2", {}, {}, "</think>Hello"),
    ("GLM-5.2", OFF, {}, "Hello"),
    ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", {}, WHY, "Why.\n</think>\nHello<|im_end|>"),
    ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", OFF, {}, "Hello<|im_end|>"),
    ("HuggingFaceTB-SmolLM3-3B", {}, {}, "Hello<|im_end|>"),
    ("HuggingFaceTB-SmolLM3-3B", OFF, {}, "Hello<|im_end|>"),
    ("Cohere2MoE", {}, WHY, "Why.<|END_THINKING|><|START_TEXT|>Hello<|END_TEXT|><|END_OF_TURN_TOKEN|>"),
    ("Bielik-11B-v3.0-Instruct", {}, WHY, "<think>\nWhy.\n</think>\nHello<|im_end|>"),
    ("Bielik-11B-v3.0-Instruct", ON, WHY, "Why.\n</think>\nHello<|im_end|>"),
    ("Reka-Edge", {}, {}, " Hello\n\n<sep>"),
]
# The row is written behind another opening than the prompt's: what of the opening stands there is not the model's.
BEHIND_A_PART_OF_IT: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("deepseek-ai-DeepSeek-V3.2", {}, {}, f"</think>Hello{EOS}"),
    ("GLM-4.6", OFF, WHY, "Why.</think>\nHello"),
    ("GLM-4.7-Flash", {}, {}, "</think>Hello"),
    ("GLM-4.7-Flash", OFF, WHY, "<think>Why.</think>Hello"),
    ("GLM-5.2", OFF, WHY, "Why.</think>Hello"),
    ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", {}, {}, "</think>Hello<|im_end|>"),
    ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", OFF, WHY, "\nWhy.\n</think>\nHello<|im_end|>"),
    ("Cohere2MoE", {}, {}, "<|START_TEXT|>Hello<|END_TEXT|><|END_OF_TURN_TOKEN|>"),
    ("Bielik-11B-v3.0-Instruct", ON, {}, "Hello<|im_end|>"),
    (
        "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
        {},
        {},
        "<|START_RESPONSE|>Hello<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    ),
]


def encoder_of(name: str, **options: Any) -> ChatEncoder:
    require_zoo()
    return ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name], **options)


def trained(encoder: ChatEncoder, encoding: Encoding, *args: Any, **options: Any) -> str:
    return encoder.decode(encoding.input_ids[encoding.mask(*args, **options)])


def policy_of(name: str) -> EndOfTurn:
    """GLM's templates have no end of a turn."""
    return "none" if name.startswith("GLM") else "token"


@pytest.mark.parametrize(("name", "keywords", "keys", "turn"), BEHIND_THE_OPENING)
def test_a_turn_starts_behind_the_opening_of_its_keywords(
    name: str, keywords: dict[str, Any], keys: dict[str, Any], turn: str
) -> None:
    encoder = encoder_of(name, boundaries="as_prompted")
    messages = [user("Hi"), assistant("Hello", **keys), user("Hi"), assistant("Hello", **keys)]
    row = Row(encoder.tokenizer, SOURCES[name], messages[:2], keywords)
    assert row.text.startswith(f"{row.turns[0].prompt}{turn}")
    assert trained(encoder, encoder.encode(messages[:2], **keywords), end_of_turn=policy_of(name)) == turn
    # Also of turns that others follow.
    row = Row(encoder.tokenizer, SOURCES[name], messages, keywords)
    encoding = encoder.encode(messages, **keywords)
    for each in row.turns:
        if each.start is not None:
            end = row.text.index("Hello", each.start) + len(turn) - turn.index("Hello")
            said = trained(encoder, encoding, messages=[each.message_index], end_of_turn=policy_of(name))
            assert said == row.text[each.start : end]


@pytest.mark.parametrize(("name", "keywords", "keys", "turn"), BEHIND_A_PART_OF_IT)
def test_a_turn_behind_another_opening(name: str, keywords: dict[str, Any], keys: dict[str, Any], turn: str) -> None:
    encoder = encoder_of(name)
    messages = [user("Hi"), assistant("Hello", **keys)]
    assert Row(encoder.tokenizer, SOURCES[name], messages, keywords).turns[0].start is None
    encoding = encoder.encode(messages, **keywords)
    assert list(encoding.off_prompt) == [1]
    assert trained(encoder, encoding, end_of_turn=policy_of(name)) == turn


# (how a message, and a prompt, are written; what is trained; tokens that are prompt and turn)
OPENING_WORDS: dict[str, tuple[str, str, str, list[str]]] = {
    "separator and header in one": (
        "{{ '\n\n' if not loop.first }}{{ m.role | capitalize + ': ' + m.content + '<|im_end|>' }}",
        "Assistant:",
        " Aone<|im_end|> Atwo<|im_end|>",
        [],
    ),
    "words in the prompt": (
        "{{ '### ' + ('Response' if m.role == 'assistant' else 'Question') + ':\n' + m.content + '<|im_end|>\n\n' }}",
        "### Response:\n",
        "Aone<|im_end|>Atwo<|im_end|>",
        [],
    ),
    "a blank in front of the role": (
        "{{ (' ASSISTANT: ' if m.role == 'assistant' else 'USER: ') + m.content + '<|im_end|>' }}",
        " ASSISTANT:",
        " Aone<|im_end|> Atwo<|im_end|>",
        [],
    ),
    "a blank at the end of the prompt": (
        "{{ (' ASSISTANT: ' if m.role == 'assistant' else 'USER: ') + m.content + '<|im_end|>' }}",
        " ASSISTANT: ",
        "one<|im_end|>wo<|im_end|>",
        [" A", " At"],
    ),
}


@pytest.mark.parametrize("name", OPENING_WORDS)
def test_prompts_that_open_with_words(name: str, zoo_tokenizer: Callable[[str], Any]) -> None:
    message, prompt, said, over = OPENING_WORDS[name]
    source = f"{{% for m in messages %}}{message}{{% endfor %}}"
    source += f"{{% if add_generation_prompt %}}{{{{ {prompt!r} }}}}{{% endif %}}"
    messages = [user("Q"), assistant("Aone"), user("Q"), assistant("Atwo")]
    encoder = ChatEncoder(zoo_tokenizer("qwen2_5"), chat_template=source)
    encoding = encoder.encode(messages)
    assert trained(encoder, encoding) == said
    assert [encoder.decode([token]) for token in encoding.input_ids[encoding.border_tokens]] == over
    apart = ChatEncoder(zoo_tokenizer("qwen2_5"), chat_template=source, boundaries="as_prompted")
    blank = "" if prompt.endswith((" ", "\n")) else " "
    assert trained(apart, apart.encode(messages)) == f"{blank}Aone<|im_end|>{blank}Atwo<|im_end|>"


LLAMA_2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(("name", "end"), [("gemma3", "<end_of_turn>"), ("mistral_nemo", "</s>")])
def test_a_blank_in_front_of_the_first_word(name: str, end: str, zoo_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = zoo_tokenizer(name)
    encoder = ChatEncoder(tokenizer, chat_template=LLAMA_2)
    messages = [user("Q"), assistant("The answer is it."), user("Q"), assistant("Berlin is.")]
    encoding = encoder.encode(messages)
    assert trained(encoder, encoding) == f" The answer is it. {end} Berlin is. {end}"
    assert trained(encoder, encoding, messages=[1]).split() == ["The", "answer", "is", "it.", end]
    assert trained(encoder, encoding, what="content") == " The answer is it. Berlin is."
    for index in (1, 3):
        prompt = tokenizer.apply_chat_template(messages[:index], chat_template=LLAMA_2, add_generation_prompt=True)
        prompt = getattr(prompt, "input_ids", prompt)
        first = encoding.mask(messages=[index]).argmax()
        assert encoding.input_ids[:first].tolist() == prompt


@pytest.mark.parametrize(
    ("name", "called", "answer"),
    [
        (
            "GLM-4.6",
            "\n<think></think>\n<tool_call>calc\n<arg_key>e</arg_key>\n<arg_value>2**10</arg_value>\n</tool_call>",
            "\n<think></think>\nIt is.",
        ),
        (
            "GLM-4.7-Flash",
            "</think><tool_call>calc<arg_key>e</arg_key><arg_value>2**10</arg_value></tool_call>",
            "</think>It is.",
        ),
        (
            "GLM-5.2",
            "</think><tool_call>calc<arg_key>e</arg_key><arg_value>2**10</arg_value></tool_call>",
            "</think>It is.",
        ),
    ],
)
def test_the_end_of_a_call_is_no_end_of_the_turn(name: str, called: str, answer: str) -> None:
    encoder = encoder_of(name)
    encoding = encoder.encode(CALLING)
    for index, turn, stop in ((1, called, "<|observation|>"), (3, answer, "<|user|>")):
        with pytest.raises(
            TurnBoundaryError, match=rf'^message {index} .*end_of_turn="next_header" to end it with the control'
        ):
            encoding.mask(messages=[index])
        assert trained(encoder, encoding, messages=[index], end_of_turn="next_header") == turn + stop
        for policy in ("none", "all"):
            assert trained(encoder, encoding, messages=[index], end_of_turn=policy) == turn
    assert trained(encoder, encoding, what={Kind.END_OF_TURN}) == ""


def test_a_template_that_writes_all_text_at_once() -> None:
    encoder = encoder_of("Reka-Edge")
    encoding = encoder.encode([user("Hi"), assistant("Hello"), user("Bye"), assistant("See you")])
    assert trained(encoder, encoding) == " Hello\n\n<sep> See you\n\n<sep>"
    assert trained(encoder, encoding, what="content") == " Hello See you"
    assert trained(encoder, encoding, end_of_turn="none") == " Hello See you"


def test_results_in_the_message_of_their_call() -> None:
    encoder = encoder_of("google-gemma-4-31B-it")
    responses = [{"name": "calc", "response": {"v": 1024}}]
    encoding = encoder.encode([user("Q"), assistant("It is.", tool_calls=[CALL], tool_responses=responses)])
    assert [
        (segment.kind.name, encoding.text[segment.start_char : segment.end_char])
        for segment in encoding.segments
        if segment.message_index == 1
    ] == [
        ("SCAFFOLD", "<|turn>model\n"),
        ("TOOL_CALL", '<|tool_call>call:calc{e:<|"|>2**10<|"|>}<tool_call|><|tool_response>'),
        ("TOOL_RESULT", "response:calc{v:1024}<tool_response|>"),
        ("CONTENT", "It is."),
        ("END_OF_TURN", "<turn|>"),
        ("SCAFFOLD", "\n"),
    ]
    for policy in POLICIES:
        assert "1024" not in trained(encoder, encoding, end_of_turn=policy)
    assert trained(encoder, encoding) == (
        '<|tool_call>call:calc{e:<|"|>2**10<|"|>}<tool_call|><|tool_response>It is.<turn|>'
    )


@pytest.mark.parametrize(
    ("policy", "before", "behind"),
    [
        ("token", "<|tool_response>", "<turn|>"),
        ("all", "<|tool_response>", "<turn|>\n"),
        ("none", "", ""),
        ("next_header", "<|tool_response>", "<turn|>\n<|turn>"),
    ],
)
def test_no_policy_takes_the_result_of_the_next_message(policy: EndOfTurn, before: str, behind: str) -> None:
    encoder = encoder_of("google-gemma-4-31B-it")
    encoding = encoder.encode(CALLING)
    # The row goes on with the result there, where inference would have stopped.
    assert encoding.text.startswith(Row(encoder.tokenizer, SOURCES["google-gemma-4-31B-it"], CALLING[:2], {}).text)
    called = '<|tool_call>call:calc{e:<|"|>2**10<|"|>}<tool_call|>'
    assert trained(encoder, encoding, messages=[1], end_of_turn=policy) == called + before
    assert trained(encoder, encoding, messages=[3], end_of_turn=policy) == f"It is.{behind}"
    assert trained(encoder, encoding, ("tool",), "content") == "1024"


@pytest.mark.parametrize("stop", ["<|im_end|>", ""])
def test_sampled_ids_stand_behind_a_forced_opening(stop: str, zoo_tokenizer: Callable[[str], Any]) -> None:
    require_zoo()
    tokenizer = zoo_tokenizer("qwen3")
    encoder = ChatEncoder(tokenizer, chat_template=SOURCES["Qwen3.5-4B"])
    ids = tokenizer(f"Add two.\n</think>\n\nIt is 4.{stop}", add_special_tokens=False)["input_ids"]
    messages = [user("2+2?"), assistant("It is 4.", reasoning_content="Add two.", token_ids=ids)]
    encoding = encoder.encode(messages)
    prompt = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert encoder.decode(encoding.input_ids) == f"{prompt}Add two.\n</think>\n\nIt is 4.<|im_end|>\n"
    # The stop token that was not sampled is the template's: it is not trained.
    assert encoding.input_ids[encoding.mask()].tolist() == ids
    assert encoding.input_ids.tolist() == (
        tokenizer(prompt, add_special_tokens=False)["input_ids"]
        + ids
        + tokenizer("\n" if stop else "<|im_end|>\n", add_special_tokens=False)["input_ids"]
    )


def test_sampled_ids_of_an_opening_that_the_keywords_write(zoo_tokenizer: Callable[[str], Any]) -> None:
    require_zoo()
    tokenizer = zoo_tokenizer("qwen3")
    encoder = ChatEncoder(tokenizer, chat_template=SOURCES["Qwen-Qwen3-0.6B"])
    ids = tokenizer("It is 4.<|im_end|>", add_special_tokens=False)["input_ids"]
    encoding = encoder.encode([user("2+2?"), assistant("It is 4.", token_ids=ids)], enable_thinking=False)
    assert encoding.text.endswith("assistant\n<think>\n\n</think>\n\nIt is 4.<|im_end|>\n")
    assert encoding.input_ids[encoding.mask()].tolist() == ids
    assert encoder.decode(encoding.input_ids) == encoding.text


def test_sampled_ids_are_not_lost_where_they_are_not_checked(zoo_tokenizer: Callable[[str], Any]) -> None:
    require_zoo()
    tokenizer = zoo_tokenizer("qwen3")
    encoder = ChatEncoder(tokenizer, chat_template=SOURCES["Qwen3.5-4B"])
    ids = tokenizer("Add 2.\n</think>\n\nIt's 4.<|im_end|>", add_special_tokens=False)["input_ids"]
    messages = [user("2+2?"), assistant("It is 4.", reasoning_content="Add two.", token_ids=ids)]
    encoding = encoder.encode(messages, token_ids_check=False)
    assert encoder.decode(encoding.input_ids).endswith("assistant\n<think>\nAdd 2.\n</think>\n\nIt's 4.<|im_end|>\n")
    assert encoding.input_ids[encoding.mask()].tolist() == ids


@pytest.mark.parametrize("role", [True, 5, None])
def test_a_turn_behind_a_role_that_is_no_text(small: Any, role: Any) -> None:
    """A template that writes whatever role there is, and contents that are parts."""
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
    encoder = ChatEncoder(small, chat_template=template)
    parts = [{"type": "text", "text": "Hi"}]
    messages = [{"role": role, "content": parts}, {"role": "assistant", "content": "Yes."}]
    encoding = encoder.encode(messages)
    assert encoding.text == small.apply_chat_template(messages, chat_template=template, tokenize=False)
    assert encoder.decode(encoding.input_ids[encoding.mask(messages=[1], what="content")]) == "Yes."


def test_a_turn_behind_a_message_without_a_role(small: Any) -> None:
    template = "{% for m in messages %}{{ m.role or 'none' }}: {{ m.content }}<|im_end|>{% endfor %}"
    encoder = ChatEncoder(small, chat_template=template)
    messages: Any = [{"content": "Hi", "tool_calls": [call("f", {})]}, assistant("Yes.")]
    encoding = encoder.encode(messages)
    assert encoding.text == "none: Hi<|im_end|>assistant: Yes.<|im_end|>"
    assert encoder.decode(encoding.input_ids[encoding.mask(messages=[1], what="content")]) == "Yes."
