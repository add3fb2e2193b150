"""A teacher behind a server: a model that scores prompts, and answers in the forms of vLLM, SGLang and TRL's client."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Logprob:
    """As vLLM has it in a ``RequestOutput``."""

    logprob: float
    rank: int
    decoded_token: str | None = None


@dataclass
class RequestOutput:
    prompt_token_ids: list[int]
    prompt_logprobs: list[dict[int, Logprob] | None]


class Scorer:
    """Scores one prompt at a time, with nothing of chatspan in it."""

    def __init__(self, model: Any, k: int) -> None:
        self.model, self.k = model, k

    def log_probs(self, ids: list[int]) -> Tensor:
        """``[T, V]``: row i predicts token i + 1."""
        with torch.no_grad():
            found: Tensor = self.model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        return found

    def ranked(self, ids: list[int]) -> list[dict[int, Logprob] | None]:
        """vLLM's ``prompt_logprobs``: entry i is of token i; the k likeliest, and the token itself."""
        found: list[dict[int, Logprob] | None] = [None]
        for row, token in zip(self.log_probs(ids), ids[1:], strict=False):
            order = row.argsort(descending=True).tolist()
            ranks = {each: rank for rank, each in enumerate(order, start=1)}
            chosen = [token, *(each for each in order[: self.k] if each != token)]
            found.append({each: Logprob(row[each].item(), ranks[each]) for each in chosen})
        return found

    def vllm(self, prompts: list[list[int]]) -> Any:
        """``/v1/completions`` for several prompts, as JSON is read."""
        choices = []
        for index, ids in enumerate(prompts):
            rows = [None if row is None else {str(k): vars(v) for k, v in row.items()} for row in self.ranked(ids)]
            choices.append({"index": index, "text": "", "prompt_token_ids": ids, "prompt_logprobs": rows})
        return json.loads(json.dumps({"object": "text_completion", "choices": choices}))

    def request_outputs(self, prompts: list[list[int]]) -> Any:
        """``LLM.generate``."""
        return [RequestOutput(ids, self.ranked(ids)) for ids in prompts]

    def sglang(self, prompts: list[list[int]], start: int = 0) -> Any:
        """``/generate``; as SGLang, without a log-prob for the first token that it gives."""
        answers = []
        for ids in prompts:
            own: list[Any] = [[None, ids[start], None]]
            top: list[Any] = [None]
            for row, token in zip(self.log_probs(ids)[start:], ids[start + 1 :], strict=False):
                own.append([row[token].item(), token, None])
                top.append(
                    [[value, each, None] for value, each in zip(*map(Tensor.tolist, row.topk(self.k)), strict=True)]
                )
            meta = {"prompt_tokens": len(ids), "input_token_logprobs": own, "input_top_logprobs": top}
            answers.append({"text": "", "meta_info": meta})
        return json.loads(json.dumps(answers))
