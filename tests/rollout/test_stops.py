"""The tokens that end a turn, on every template, by what a person reads in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chatspan import ChatEncoder
from chatspan.render.request import RenderRequest
from chatspan.rollout.stops import turn_end_ids
from prompts import SOURCES, tokenizer_for
from transformers import AutoTokenizer
from zoo import EXAMPLES, require_zoo

# By a word of the template's source: what its turns end with. Ends of sequence of the stand-ins come on top.
ENDS = {
    "openai-gpt-oss-120b": {"<|call|>", "<|return|>"},
    "google-gemma-4-31B-it": {"<turn|>", "<|tool_response>"},
    "google-gemma-2-2b-it": {"<end_of_turn>"},
    "GLM-4.7-Flash": {"<|user|>", "<|observation|>"},
    "meta-llama-Llama-3.2-3B-Instruct": {"<|eot_id|>"},
    "deepseek-ai-DeepSeek-V3.1": {"<｜end▁of▁sentence｜>"},
    "Kimi-K2-Instruct": {"<|im_end|>"},
    "microsoft-Phi-3.5-mini-instruct": {"<|end|>"},
    "meetkai-functionary-medium-v3.1": {"<|eot_id|>", "<|eom_id|>"},
    "Apertus-8B-Instruct": {"<|assistant_end|>", "<|tools_suffix|>"},
}


def ends_of(tokenizer: Any, chat_template: str | None = None, **keywords: Any) -> set[str]:
    encoder = ChatEncoder(tokenizer, chat_template=chat_template, backend="hf")
    ids = turn_end_ids(encoder.pipeline, RenderRequest([], template_kwargs=keywords))
    assert ids == sorted(set(ids))
    return {encoder.decode([each]) for each in ids}


@pytest.mark.parametrize("name", ENDS)
def test_what_ends_the_turns_of_a_template(name: str) -> None:
    require_zoo()
    tokenizer = tokenizer_for(name)
    assert ends_of(tokenizer, SOURCES[name]) == ENDS[name] | {tokenizer.eos_token}


def test_each_template_has_an_end_and_none_that_only_closes_a_call(pytestconfig: pytest.Config) -> None:
    require_zoo()
    for name in sorted(SOURCES)[:: 1 if pytestconfig.getoption("--all") else 8]:
        ends = ends_of(tokenizer_for(name), SOURCES[name])
        if "<|im_end|>" in SOURCES[name] and "<|im_start|>assistant" in SOURCES[name]:
            assert "<|im_end|>" in ends, name
        assert ends, name
        assert ends & {"</tool_call>", "<tool_call|>", "</think>"} == set(), name


def test_what_the_model_itself_names_is_there_too(small_copy: Any, tmp_path: Any) -> None:
    assert ends_of(AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")) == {"<|im_end|>"}
    small_copy.save_pretrained(tmp_path)
    named = small_copy.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": named}), encoding="utf-8")
    assert ends_of(AutoTokenizer.from_pretrained(tmp_path)) == {"<|im_start|>", "<|im_end|>"}
