"""Completions → messages: forms of calls, what a length cut off, what a model wrote wrongly, and what is an error."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from call_templates import CALL_TEMPLATES
from cases import TEMPLATES
from chatspan import (
    ChatEncoder,
    MessageError,
    OptionError,
    ParsedCompletion,
    RolloutError,
    TemplateError,
    UnknownKeywordWarning,
)
from random_messages import TOOLS
from zoo import ZOO, require_zoo

PROMPT = [{"role": "user", "content": "Weather?"}]
ONE: list[tuple[str, dict[str, Any]]] = [
    ("get_weather", {"city": 'Köln "x"', "days": 3, "flag": True, "opt": {"a": [1, "b"]}, "via": ["Bonn\n"]})
]
TWO: list[tuple[str, dict[str, Any]]] = [("get_weather", {}), ("find", {"q": "a, b", "n": 2})]


def calling(calls: list[tuple[str, dict[str, Any]]], **keys: Any) -> dict[str, Any]:
    made = [
        {"type": "function", "id": f"abcdefgh{index}", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": "", "tool_calls": made, **keys}


def completion_of(tokenizer: Any, source: str, message: Mapping[str, Any], **keywords: Any) -> str:
    """What transformers renders behind the prompt."""
    row, prompt = (
        tokenizer.apply_chat_template(messages, chat_template=source, tokenize=False, **more, **keywords)
        for messages, more in (([*PROMPT, message], {}), (PROMPT, {"add_generation_prompt": True}))
    )
    assert row.startswith(prompt)
    return str(row[len(prompt) :])


def calls_of(parsed: ParsedCompletion) -> list[tuple[str, dict[str, Any]]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in parsed.tool_calls]


@pytest.mark.parametrize("calls", [ONE, TWO], ids=["one", "two"])
@pytest.mark.parametrize("words", [{}, {"content": "I look."}, {"reasoning_content": "Hm.\n\nYes."}], ids=str)
@pytest.mark.parametrize("form", CALL_TEMPLATES)
def test_forms_of_calls(form: str, words: Any, calls: Any, small: Any) -> None:
    source = CALL_TEMPLATES[form]
    completion = completion_of(small, source, calling(calls, **words))
    parsed = ChatEncoder(small, chat_template=source).parse_completion(PROMPT, completion, TOOLS)
    assert calls_of(parsed) == calls
    assert (parsed.message["content"], parsed.reasoning) == (words.get("content", ""), words.get("reasoning_content"))
    assert (parsed.certain, parsed.ended, parsed.rest, parsed.notes) == (True, True, "", ())


@pytest.mark.parametrize("name", TEMPLATES)
def test_contents(name: str, small: Any) -> None:
    completion = completion_of(small, TEMPLATES[name], {"role": "assistant", "content": "It is\n<b>late</b>."})
    parsed = ChatEncoder(small, chat_template=TEMPLATES[name]).parse_completion(PROMPT, completion)
    assert parsed.message == {"role": "assistant", "content": "It is\n<b>late</b>."}
    assert parsed.certain


def test_ids_and_text_are_the_same(small: Any) -> None:
    encoder = ChatEncoder(small)
    text = 'Yes.\n<tool_call>\n{"name": "find", "arguments": {"q": "é 🚆"}}\n</tool_call><|im_end|>'
    ids = small(text).input_ids
    wanted = encoder.parse_completion(PROMPT, text)
    for given in (ids, tuple(ids), np.array(ids), torch.tensor(ids), iter(ids)):
        assert encoder.parse_completion(PROMPT, given) == wanted
    assert pickle.loads(pickle.dumps(encoder)).parse_completion(PROMPT, ids) == wanted
    assert calls_of(wanted) == [("find", {"q": "é 🚆"})]


def test_arguments_are_text_where_the_template_takes_text(small: Any) -> None:
    source = CALL_TEMPLATES["name + JSON"].replace("f.arguments | tojson", "f.arguments")
    completion = '<function=find>{"q":"a",  "n": 1}</function><|im_end|>'
    parsed = ChatEncoder(small, chat_template=source).parse_completion(PROMPT, completion)
    assert parsed.message["tool_calls"][0]["function"] == {"name": "find", "arguments": '{"q":"a",  "n": 1}'}
    assert calls_of(parsed) == [("find", {"q": "a", "n": 1})]
    assert (parsed.certain, parsed.notes) == (True, ())


def test_ids_of_calls_only_where_they_are_written(small: Any) -> None:
    for form, wanted in (("bracket", "abcdefgh0"), ("name + JSON", None)):
        completion = completion_of(small, CALL_TEMPLATES[form], calling(ONE))
        parsed = ChatEncoder(small, chat_template=CALL_TEMPLATES[form]).parse_completion(PROMPT, completion)
        assert parsed.tool_calls[0].get("id") == wanted


def test_schemas_say_the_types_of_bare_values(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=CALL_TEMPLATES["keyed tags"])
    pairs = {"city": "7", "days": "7", "exact": "7", "flag": "true", "note": "null"}
    written = "".join(f"<arg_key>{key}</arg_key>\n<arg_value>{text}</arg_value>\n" for key, text in pairs.items())
    completion = f"\n<tool_call>get_weather\n{written}</tool_call><|im_end|>"
    parsed = encoder.parse_completion(PROMPT, completion, TOOLS)
    assert calls_of(parsed) == [("get_weather", {"city": "7", "days": 7, "exact": 7, "flag": True, "note": None})]
    # A note may be a text or null.
    assert [other["tool_calls"][0]["function"]["arguments"]["note"] for other in parsed.others] == ["null"]
    assert not parsed.certain
    without = encoder.parse_completion(PROMPT, completion)
    assert calls_of(without)[0][1]["city"] == 7
    assert without.others[0]["tool_calls"][0]["function"]["arguments"] == pairs
    assert [note.code for note in without.notes] == ["ambiguous"]


def test_text_that_is_no_value_of_its_schema_stays_text(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=CALL_TEMPLATES["keyed tags"])
    completion = (
        "\n<tool_call>get_weather\n<arg_key>days</arg_key>\n<arg_value>three</arg_value>\n</tool_call><|im_end|>"
    )
    parsed = encoder.parse_completion(PROMPT, completion, TOOLS)
    assert calls_of(parsed) == [("get_weather", {"days": "three"})]
    assert parsed.certain


SPELLINGS = {
    "keys in another order": '\n<tool_call>\n{"arguments": {"n": 1, "q": "é"}, "name": "find"}\n</tool_call><|im_end|>',
    "no blanks": '<tool_call>{"name":"find","arguments":{"q":"\\u00e9","n":1}}</tool_call><|im_end|>',
    "more blanks": '\n\n<tool_call>\n\n{"name": "find", "arguments": {\n "q": "é", "n": 1}}\n\n</tool_call><|im_end|>',
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_other_spellings_of_the_same_data(name: str, small: Any) -> None:
    parsed = ChatEncoder(small).parse_completion(PROMPT, SPELLINGS[name])
    assert calls_of(parsed) == [("find", {"q": "é", "n": 1})]
    assert (parsed.certain, [note.code for note in parsed.notes]) == (True, ["spelling"])


MALFORMED = {
    "no JSON": "<tool_call>\n{bad}\n</tool_call>",
    "not closed": '<tool_call>\n{"name": "find", "arguments": {"q": "é',
    "a bracket is missing": '<tool_call>\n{"name": "find", "arguments": {"q": "é"}\n</tool_call>',
    "no name": '<tool_call>\n{"arguments": {"q": "é"}}\n</tool_call>',
    "another key": '<tool_call>\n{"name": "find", "arguments": {}, "type": "function"}\n</tool_call>',
    "a key twice": '<tool_call>\n{"name": "find", "arguments": {"q": 1, "q": 2}}\n</tool_call>',
    "a number too large": '<tool_call>\n{"name": "find", "arguments": {"q": 1e999}}\n</tool_call>',
    "no object": '<tool_call>\n{"name": "find", "arguments": [1]}\n</tool_call>',
    "no Unicode": '<tool_call>\n{"name": "find", "arguments": {"q": "\\ud800"}}\n</tool_call>',
    "nested so deeply that few can write it": '<tool_call>\n{"name": "find", "arguments": '
    + '{"q": ' * 200
    + "1"
    + "}" * 201
    + "\n</tool_call>",
    "nested deeply": '<tool_call>\n{"name": "find", "arguments": ' + '{"q": ' * 5000 + "\n</tool_call>",
    "text behind": '<tool_call>\n{"name": "find", "arguments": {}}\n</tool_call>\nDone.',
    "the second is none": '<tool_call>\n{"name": "find", "arguments": {}}\n</tool_call>\n<tool_call>\n{}\n</tool_call>',
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("stop", ["<|im_end|>", ""], ids=["ended", "cut off"])
def test_malformed_calls_stay_content(name: str, stop: str, small: Any) -> None:
    parsed = ChatEncoder(small).parse_completion(PROMPT, f"I look.\n{MALFORMED[name]}{stop}", TOOLS)
    assert parsed.message == {"role": "assistant", "content": f"I look.\n{MALFORMED[name]}"}
    assert (parsed.tool_calls, parsed.ended) == ([], bool(stop))
    [note] = parsed.notes
    assert (note.code, note.start_char) == ("malformed_call", len("I look.\n"))
    assert str(note) == "character 8: '<tool_call>' begins a call, but what follows is not one; it stays content"


THINKING = CALL_TEMPLATES["JSON object"]
CUT = {
    "nothing": ("", "", None),
    "in the reasoning": ("<think>\nHm", "", "Hm"),
    "behind the reasoning": ("<think>\nHm.\n</think>\n", "", "Hm."),
    "in the content": ("<think>\nHm.\n</think>\nIt i", "It i", "Hm."),
    "in front of the stop": ("It is.", "It is.", None),
}


@pytest.mark.parametrize("name", CUT)
def test_what_a_length_cut_off(name: str, small: Any) -> None:
    completion, content, reasoning = CUT[name]
    parsed = ChatEncoder(small, chat_template=THINKING).parse_completion(PROMPT, completion)
    assert (parsed.message["content"], parsed.reasoning) == (content, reasoning)
    assert (parsed.certain, parsed.ended, parsed.rest) == (True, False, "")
    assert [note.code for note in parsed.notes] == (["unclosed_reasoning"] if name == "in the reasoning" else [])


def test_a_prompt_that_opens_the_reasoning(small: Any) -> None:
    source = THINKING.replace(
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}",
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}",
    )
    assert source != THINKING
    encoder = ChatEncoder(small, chat_template=source)
    parsed = encoder.parse_completion(PROMPT, "Hm.\n</think>\nIt is.<|im_end|>")
    assert (parsed.message["content"], parsed.reasoning, parsed.certain) == ("It is.", "Hm.", True)
    cut = encoder.parse_completion(PROMPT, "Hm. It m")
    assert (cut.message["content"], cut.reasoning, cut.certain, cut.ended) == ("", "Hm. It m", True, False)


def test_what_stands_behind_the_end_of_turn_is_rest(small: Any) -> None:
    encoder = ChatEncoder(small)
    stopped = encoder.parse_completion(PROMPT, "It is.<|im_end|>\n<|endoftext|>")
    assert (stopped.message["content"], stopped.rest, stopped.certain) == ("It is.", "<|endoftext|>", True)
    # A content may have the control token in it, as far as a text tells.
    went_on = encoder.parse_completion(PROMPT, "It is.<|im_end|>\n<|im_start|>user\nNo<|im_end|>")
    assert (went_on.message["content"], went_on.rest) == ("It is.", "<|im_start|>user\nNo<|im_end|>")
    assert [other["content"] for other in went_on.others] == ["It is.<|im_end|>\n<|im_start|>user\nNo"]
    assert not went_on.certain


def test_no_prompt_is_one_of_a_user(small: Any) -> None:
    encoder = ChatEncoder(small)
    assert encoder.parse_completion(None, "Hi.<|im_end|>") == encoder.parse_completion(PROMPT, "Hi.<|im_end|>")


def test_keywords_of_the_template_count(small: Any) -> None:
    source = THINKING.replace("{% if m.reasoning_content %}", "{% if m.reasoning_content and not quiet %}")
    encoder = ChatEncoder(small, chat_template=source)
    completion = "<think>\nHm.\n</think>\nIt is.<|im_end|>"
    assert encoder.parse_completion(PROMPT, completion).reasoning == "Hm."
    # With it the template writes no reasoning, so that this is a content.
    for given in ({"quiet": True}, {"template_kwargs": {"quiet": True}}):
        assert encoder.parse_completion(PROMPT, completion, **given).message["content"] == completion[:-10]
    with pytest.warns(UnknownKeywordWarning, match="'loud'"):
        encoder.parse_completion(PROMPT, completion, loud=True)


def test_templates_that_take_parts_only(small: Any) -> None:
    source = TEMPLATES["chatml"].replace("m.content", "m.content[0].text")
    prompt = [{"role": "user", "content": [{"type": "text", "text": "Weather?"}]}]
    for given in (prompt, None):
        parsed = ChatEncoder(small, chat_template=source).parse_completion(given, "It is.<|im_end|>")
        assert parsed.message == {"role": "assistant", "content": [{"type": "text", "text": "It is."}]}
        assert parsed.certain


def test_behind_a_tool_result(small: Any) -> None:
    encoder = ChatEncoder(small)
    prompt = [*PROMPT, calling(TWO), {"role": "tool", "name": "find", "tool_call_id": "abcdefgh0", "content": "IC 900"}]
    parsed = encoder.parse_completion(prompt, "It is IC 900.<|im_end|>", TOOLS)
    assert (parsed.message["content"], parsed.certain) == ("It is IC 900.", True)


def test_two_fields_with_the_same_marks_are_told_apart_by_nothing(small: Any) -> None:
    """As in gpt-oss, where a content beside a call is written as reasoning."""
    source = CALL_TEMPLATES["name + JSON"].replace(
        "{{ m.content }}",
        "{% if m.tool_calls and m.content %}{{ '<think>\\n' + m.content + '\\n</think>\\n' }}"
        "{% else %}{{ m.content }}{% endif %}",
    )
    parsed = ChatEncoder(small, chat_template=source).parse_completion(
        PROMPT, "<think>\nHm.\n</think>\n<function=find>{}</function><|im_end|>"
    )
    assert (parsed.reasoning, parsed.certain) == ("Hm.", False)
    assert [other["content"] for other in parsed.others] == ["Hm."]


WRONG_IDS = {
    "out of the vocabulary": ([0, 10**6], r"token_ids\[1\] is 1000000, and the tokenizer has ids from 0 to"),
    "negative": ([-1], r"token_ids\[0\] is -1"),
    "no number": (["a"], "token_ids must be the ids of one completion"),
    "a truth value": ([True], "token_ids must be the ids of one completion"),
    "fractions": ([1.5], "token_ids must be the ids of one completion"),
    "several completions": (np.zeros((2, 3), dtype=int), "token_ids must be the ids of one completion"),
    "None": (None, "token_ids must be the ids of one completion"),
    "bytes": (b"Hi", "token_ids must be the ids of one completion"),
    "a lone surrogate": ("a\ud800", r"lone surrogate \(character 1\)"),
}


@pytest.mark.parametrize("name", WRONG_IDS)
def test_what_is_no_completion(name: str, small: Any) -> None:
    given, said = WRONG_IDS[name]
    with pytest.raises(RolloutError, match=said):
        ChatEncoder(small).parse_completion(PROMPT, given)


def test_what_is_no_prompt(small: Any) -> None:
    encoder = ChatEncoder(small)
    for prompt in ([], {"role": "user", "content": "Hi"}, "Hi"):
        with pytest.raises(MessageError, match="messages must be a list"):
            encoder.parse_completion(prompt, "Hi")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"tools\[0\] is int"):
        encoder.parse_completion(PROMPT, "Hi", [1])
    refusing = ChatEncoder(small, chat_template="{{ raise_exception('never') }}")
    with pytest.raises(TemplateError, match="never"):
        refusing.parse_completion(PROMPT, "Hi")


def test_the_tokenizers_own_response_template_is_taken(small_copy: Any) -> None:
    encoder = ChatEncoder(small_copy, chat_template=THINKING)
    completion = "<think>\nHm.\n</think>\nIt is.<|im_end|>"
    assert encoder.parse_completion(PROMPT, completion).reasoning == "Hm."
    small_copy.response_template = {
        "version": 1,
        "defaults": {"role": "assistant"},
        "start_anchor": "<|im_start|>assistant\n",
        "fields": {"content": {"close": "<|im_end|>", "content": "text"}},
    }
    try:
        wanted = small_copy.parse_response(completion, prefix="<|im_start|>assistant\n")
    except (AttributeError, TypeError, ValueError) as error:
        pytest.skip(f"this transformers has no response_template: {error}")
    parsed = encoder.parse_completion(PROMPT, completion)
    assert parsed.message["content"] == wanted["content"] == "<think>\nHm.\n</think>\nIt is."
    assert (parsed.reasoning, parsed.certain) == (None, True)


REAL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Qwen3": (
        "Qwen-Qwen3-0.6B",
        "<think>\nHm.\n</think>\n\nI look.\n"
        '<tool_call>\n{"name": "find", "arguments": {"n": 2}}\n</tool_call><|im_end|>',
        {"content": "I look.", "reasoning_content": "Hm."},
    ),
    "Qwen3.5": (
        "Qwen3.5-4B",
        "Hm.\n</think>\n\n<tool_call>\n<function=find>\n<parameter=n>\n2\n</parameter>\n</function>\n</tool_call>"
        "<|im_end|>",
        {"content": "", "reasoning_content": "Hm."},
    ),
    "GLM": (
        "GLM-4.6",
        "\n<think>Hm.</think>\n<tool_call>find\n<arg_key>n</arg_key>\n<arg_value>2</arg_value>\n</tool_call>"
        "<|observation|>",
        {"content": "", "reasoning_content": "Hm."},
    ),
    "gpt-oss": (
        "openai-gpt-oss-120b",
        ' to=functions.find<|channel|>commentary json<|message|>{"n": 2}<|call|>',
        {"content": ""},
    ),
    "DeepSeek-V3.1": (
        "deepseek-ai-DeepSeek-V3.1",
        'I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>{"n": 2}<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
        {"content": "I look."},
    ),
    "Kimi-K2": (
        "moonshotai-Kimi-K2",
        '<|tool_calls_section_begin|><|tool_call_begin|>functions.find:0<|tool_call_argument_begin|>{"n": 2}'
        "<|tool_call_end|><|tool_calls_section_end|><|im_end|>",
        {"content": ""},
    ),
    "Llama 3.1": (
        "meta-llama-Llama-3.1-8B-Instruct",
        '{"name": "find", "parameters": {"n": 2}}<|eot_id|>',
        {"content": ""},
    ),
    "Mistral": (
        "unsloth-mistral-Devstral-Small-2507",
        'I look.[TOOL_CALLS]find[ARGS]{"n": 2}</s>',
        {"content": "I look."},
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_templates(name: str) -> None:
    require_zoo()
    from prompts import tokenizer_for

    source, completion, words = REAL[name]
    template = (ZOO / "templates" / f"{source}.jinja").read_text(encoding="utf-8")
    parsed = ChatEncoder(tokenizer_for(source), chat_template=template).parse_completion(PROMPT, completion, TOOLS)
    call = {"type": "function", "function": {"name": "find", "arguments": {"n": 2}}}
    assert parsed.message == {"role": "assistant", **words, "tool_calls": [call]}
    assert (parsed.certain, parsed.ended) == (True, True)
    json.dumps(parsed.message)


def test_a_call_that_gpt_oss_writes_with_another_header() -> None:
    """Its model writes the recipient behind the channel, its template in front."""
    require_zoo()
    from prompts import SOURCES, tokenizer_for

    name = "openai-gpt-oss-120b"
    parsed = ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name]).parse_completion(
        PROMPT,
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.find "
        '<|constrain|>json<|message|>{"n":2}<|call|>',
        TOOLS,
    )
    assert (parsed.reasoning, calls_of(parsed), parsed.certain) == ("Hm.", [("find", {"n": 2})], False)
    assert [note.code for note in parsed.notes] == ["off_prompt"]


OFF_PROMPT: dict[str, tuple[str, str, str, str | None]] = {
    # The prompt opens reasoning that no row has.
    "R1": ("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "Hm.\n</think>\n\nIt is.<｜end▁of▁sentence｜>", "It is.", "Hm."),
    # The prompt opens and closes it, the row only closes it.
    "V3.2": ("deepseek-ai-DeepSeek-V3.2", "It is.<｜end▁of▁sentence｜>", "It is.", None),
    # The row's reasoning is always empty.
    "Kimi": ("Kimi-K2-Thinking", "<think>Hm.</think>It is.<|im_end|>", "It is.", "Hm."),
}


@pytest.mark.parametrize("name", OFF_PROMPT)
def test_turns_that_their_prompt_does_not_lead_to(name: str, zoo_tokenizer: Callable[[str], Any]) -> None:
    from prompts import SOURCES, tokenizer_for

    require_zoo()
    source, completion, content, reasoning = OFF_PROMPT[name]
    parsed = ChatEncoder(tokenizer_for(source), chat_template=SOURCES[source]).parse_completion(PROMPT, completion)
    assert (parsed.message["content"].strip(), parsed.reasoning) == (content, reasoning)
    assert (parsed.certain, [note.code for note in parsed.notes]) == (False, ["off_prompt"])
