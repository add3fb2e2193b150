"""Responses of inference servers, in the forms that their protocols give, and what is said of others.

The forms: vLLM's ``entrypoints/openai/{chat_completion,completion}/protocol.py`` and
``entrypoints/scale_out/token_in_token_out/protocol.py``, with the fields that ``tests/entrypoints/openai/
test_return_token_ids.py`` asks for; SGLang's ``srt/entrypoints/openai/protocol.py`` (return_token_ids, #30917) and the
answer of ``/generate``.
"""

from __future__ import annotations

import copy
from typing import Any

import chatspan
import pytest
from cases import assistant, user
from chatspan import ChatEncoder, Rollout
from chatspan.rollout.servers import Completion, completions_of
from test_rollout import ids_of

PROMPT = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
ANSWER = "It is 4.<|im_end|>"


class Object:
    """What ``openai`` makes of JSON: a pydantic model, whose unknown fields are kept."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def model_dump(self) -> dict[str, Any]:
        return copy.deepcopy(self.fields)


@pytest.fixture
def ids(small: Any) -> tuple[list[int], list[int]]:
    return ids_of(small, PROMPT), ids_of(small, ANSWER)


def logprobs_of(sampled: list[int]) -> list[float]:
    return [-0.125 * (at + 1) for at in range(len(sampled))]


def vllm_chat(prompt: list[int], sampled: list[int]) -> dict[str, Any]:
    content = [
        {"token": f"token_id:{each}", "logprob": logprob, "bytes": None, "top_logprobs": []}
        for each, logprob in zip(sampled, logprobs_of(sampled), strict=True)
    ]
    message = {
        "role": "assistant",
        "content": "It is 4.",
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": [],
        "reasoning": None,
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": content},
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": sampled,
        "routed_experts": None,
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {"prompt_tokens": len(prompt), "completion_tokens": len(sampled), "total_tokens": 0},
        "prompt_logprobs": None,
        "prompt_token_ids": prompt,
        "kv_transfer_params": None,
    }


def vllm_completion(prompt: list[int], sampled: list[int]) -> dict[str, Any]:
    scored = {
        "text_offset": [],
        "token_logprobs": logprobs_of(sampled),
        "tokens": ["It"] * len(sampled),
        "top_logprobs": [],
    }
    choice = {
        "index": 0,
        "text": "It is 4.",
        "logprobs": scored,
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": sampled,
        "prompt_logprobs": None,
        "prompt_token_ids": prompt,
    }
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": {}}


def vllm_generate(prompt: list[int], sampled: list[int]) -> dict[str, Any]:
    content = [
        {"token_id": each, "logprob": logprob, "rank": 1, "top_logprobs": []}
        for each, logprob in zip(sampled, logprobs_of(sampled), strict=True)
    ]
    choice = {"index": 0, "finish_reason": "stop", "token_ids": sampled, "logprobs": {"content": content}}
    return {"request_id": "r", "choices": [choice], "prompt_token_ids": prompt}


def sglang_chat(prompt: list[int], sampled: list[int]) -> dict[str, Any]:
    found = vllm_chat(prompt, sampled)
    del found["prompt_token_ids"]
    [choice] = found["choices"]
    choice["prompt_token_ids"] = prompt
    choice["message"] = {"role": "assistant", "content": "It is 4.", "reasoning_content": None, "tool_calls": None}
    for entry in choice["logprobs"]["content"]:
        entry["token"] = "It"
    return found


def sglang_generate(prompt: list[int], sampled: list[int]) -> dict[str, Any]:
    meta = {
        "id": "1",
        "finish_reason": {"type": "stop", "matched": sampled[-1]},
        "prompt_tokens": len(prompt),
        "completion_tokens": len(sampled),
        "cached_tokens": 0,
        "input_token_logprobs": [[None, each, None] for each in prompt],
        "output_token_logprobs": [
            [logprob, each, None] for each, logprob in zip(sampled, logprobs_of(sampled), strict=True)
        ],
        "e2e_latency": 0.1,
    }
    return {"text": "It is 4.", "output_ids": sampled, "meta_info": meta}


FORMS = {form.__name__: form for form in (vllm_chat, vllm_completion, vllm_generate, sglang_chat, sglang_generate)}


@pytest.mark.parametrize("as_object", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_each_form_goes_into_a_rollout(small: Any, ids: Any, form: str, as_object: bool) -> None:
    prompt, sampled = ids
    response = FORMS[form](prompt, sampled)
    encoder = ChatEncoder(small)
    rollout = Rollout(encoder, [user("2 + 2?")])
    [completion] = completions_of(Object(response) if as_object else response, prompt_ids=rollout.prompt_ids)
    assert completion.prompt_ids == (None if form == "sglang_generate" else prompt)
    assert completion.message == (assistant("It is 4.") if form.endswith("chat") else None)
    rollout.add_completion(
        completion.token_ids,
        message=completion.message or assistant("It is 4."),
        finish_reason=completion.finish_reason,
        logprobs=completion.logprobs,
    )
    [row] = rollout.rows()
    assert encoder.decode(row.completion_ids) == ANSWER
    assert row.logprobs is not None
    assert row.logprobs.tolist() == logprobs_of(sampled)


def test_several_completions_and_none_that_ended(ids: Any) -> None:
    prompt, sampled = ids
    several = [sglang_generate(prompt, sampled), sglang_generate(prompt, sampled[:2])]
    several[1]["meta_info"]["finish_reason"] = {"type": "length", "length": 2}
    # Older versions give ids with the log-probs alone.
    del several[1]["output_ids"]
    assert [(each.token_ids, each.finish_reason) for each in completions_of(several)] == [
        (sampled, "stop"),
        (sampled[:2], "length"),
    ]
    two = vllm_chat(prompt, sampled)
    two["choices"].append(
        {**two["choices"][0], "index": 1, "finish_reason": "abort", "token_ids": [], "logprobs": None}
    )
    assert completions_of(two)[1] == Completion([], None, "abort", assistant("It is 4."), prompt)


def test_the_message_that_a_server_parsed_is_in_the_form_of_templates(ids: Any) -> None:
    response = vllm_chat(*ids)
    function = {"name": "add", "arguments": '{"x": 1}'}
    response["choices"][0]["message"] |= {
        "content": None,
        "reasoning": "Add.",
        "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
    }
    [completion] = completions_of(response)
    assert completion.message == {
        "role": "assistant",
        "content": "",
        "reasoning": "Add.",
        "reasoning_content": "Add.",
        "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "add", "arguments": {"x": 1}}}],
    }


def without(response: dict[str, Any], *path: Any) -> dict[str, Any]:
    """The response without a field."""
    found = copy.deepcopy(response)
    at: Any = found
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    return found


def test_what_is_missing_or_does_not_fit_is_named(ids: Any) -> None:
    prompt, sampled = ids
    chat, generated = vllm_chat(prompt, sampled), sglang_generate(prompt, sampled)
    scored = chat["choices"][0]["logprobs"]["content"]

    def with_scores(content: Any) -> dict[str, Any]:
        return {**chat, "choices": [{**chat["choices"][0], "logprobs": {"content": content}}]}

    nothing = without(without(generated, "output_ids"), "meta_info", "output_token_logprobs")
    cases: list[tuple[Any, str]] = [
        (None, "the response of a server must be a mapping, or a list of SGLang's, got None"),
        ([], "the response of a server must be a mapping"),
        ({"object": "error", "message": "too long"}, "the server answered with an error: .*too long"),
        ({"error": {"message": "too long"}}, "the server answered with an error: .*too long"),
        ({"id": "x"}, "has no choices and no output_ids; its fields: 'id'"),
        (without(chat, "choices", 0, "token_ids"), r"choices\[0\].token_ids is missing: ask .* return_token_ids=True"),
        ({**chat, "choices": ["It is 4."]}, r"choices\[0\] is 'It is 4.': expected a choice"),
        (nothing, "output_ids is missing, and there is no meta_info.output_token_logprobs: ask with return_logprob"),
        ([nothing], r"\[0\].output_ids is missing"),
        ({**chat, "choices": [{**chat["choices"][0], "token_ids": ["It"]}]}, r"choices\[0\].token_ids is \['It'\]"),
        (with_scores(scored[1:]), r"choices\[0\].logprobs.content\[0\] is of the id"),
        (with_scores([{"token": "It", "logprob": -1.0}]), r"has 1 values for \d+ sampled ids: .* without echo"),
        (
            with_scores([{**each, "logprob": -9999.0} for each in scored]),
            r"content\[0\] is -9999.0, which is not a log-prob",
        ),
        (with_scores([{**each, "logprob": None} for each in scored]), r"content\[0\] is None, which is not a log-prob"),
        (with_scores([{**each, "logprob": float("nan")} for each in scored]), r"content\[0\] is nan"),
        (with_scores(["It"]), "expected a mapping with logprob for each token"),
        ({**generated, "output_ids": sampled[1:]}, "output_token_logprobs belongs to other ids than output_ids"),
        ({**generated, "meta_info": {"output_token_logprobs": [1.0]}}, r"expected \[log-prob, id, text\]"),
        ({**chat, "choices": [{**chat["choices"][0], "message": "4"}]}, r"choices\[0\].message is '4'"),
        ({**chat, "prompt_token_ids": "4"}, r"choices\[0\].prompt_token_ids is '4'"),
    ]
    for response, match in cases:
        with pytest.raises(chatspan.RolloutError, match=match):
            completions_of(response)


def test_a_server_that_was_shown_another_prompt(ids: Any) -> None:
    prompt, sampled = ids
    with pytest.raises(chatspan.PromptMismatchError, match="differ from token 1 on: send the prompt's ids") as raised:
        completions_of(vllm_chat([prompt[0], 7, *prompt[2:]], sampled), prompt_ids=prompt)
    assert raised.value.token_index == 1
