"""What a model says: completions of many prompts at once, with the log-prob of each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import chatspan
import torch
from numpy.typing import NDArray

from experiments.task import Message

# A code is five tokens and the stop token.
_MOST_TOKENS = 8


class Completion(NamedTuple):
    """What was sampled; with the stop token, where it was."""

    ids: list[int]
    logprobs: list[float]
    finish_reason: str


@torch.no_grad()
def complete(model: Any, prompts: Sequence[NDArray[Any]], stop: int, *, greedy: bool) -> list[Completion]:
    """Completes each prompt: with the likeliest tokens, or at temperature 1 by torch's own chance."""
    width, was_training = max(map(len, prompts)), model.training
    ids = torch.full((len(prompts), width), stop)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.as_tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    how = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0, "temperature": 1.0}
    ends = {"max_new_tokens": _MOST_TOKENS, "eos_token_id": stop, "pad_token_id": stop}
    model.eval()
    found = model.generate(ids, attention_mask=mask, return_dict_in_generate=True, output_logits=True, **how, **ends)
    model.train(was_training)
    tokens = found.sequences[:, width:]
    logprobs = torch.stack(found.logits, 1).log_softmax(-1).gather(2, tokens.unsqueeze(2)).squeeze(2)
    of_rows = zip(tokens.tolist(), logprobs.tolist(), strict=True)
    return [_ended(row, values, stop) for row, values in of_rows]


def _ended(ids: list[int], logprobs: list[float], stop: int) -> Completion:
    if stop not in ids:
        return Completion(ids, logprobs, "length")
    count = ids.index(stop) + 1
    return Completion(ids[:count], logprobs[:count], "stop")


def said(completion: Completion, encoder: chatspan.ChatEncoder) -> str | None:
    """The text in front of the stop token; ``None`` where there is none."""
    return encoder.decode(completion.ids[:-1]) if completion.finish_reason == "stop" else None


def rollouts(encoder: chatspan.ChatEncoder, prompts: Sequence[Sequence[Message]]) -> list[chatspan.Rollout]:
    """One for each conversation; its ``prompt_ids`` are what to sample from."""
    return [chatspan.Rollout(encoder, prompt) for prompt in prompts]


def sample(
    model: Any, encoder: chatspan.ChatEncoder, prompts: Sequence[Sequence[Message]]
) -> list[chatspan.SampledRow]:
    """A turn of each conversation, as the model sampled it; with its ``logprobs``."""
    begun = rollouts(encoder, prompts)
    stop = encoder.tokenizer.eos_token_id
    completions = complete(model, [rollout.prompt_ids for rollout in begun], stop, greedy=False)
    rows = []
    for rollout, completion in zip(begun, completions, strict=True):
        rollout.add_completion(completion.ids, logprobs=completion.logprobs, finish_reason=completion.finish_reason)
        [row] = rollout.rows()
        rows.append(row)
    return rows
