"""Success: what a model generates, against what is right."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import chatspan
from numpy.typing import NDArray

from experiments.sampling import Completion, complete, rollouts, said
from experiments.settings import Settings
from experiments.task import Combination, World, hint_of, prompt_of

# Prompts → a completion of each.
Completer = Callable[[Sequence[NDArray[Any]]], Sequence[Completion]]


def success(
    completer: Completer,
    encoder: chatspan.ChatEncoder,
    world: World,
    combinations: Sequence[Combination],
    settings: Settings,
    seed: int,
    *,
    hinted: bool = False,
) -> float:
    """The part of recoveries that are right, ``settings.asked`` for each combination, each behind an error of its own.

    Right is a completion that ends by itself, and whose text is the code, to the character. ``hinted``: whether the
    prompts have the hint, as a teacher's have.
    """
    draw = random.Random(f"questions {seed}")
    asked = [combination for combination in combinations for _ in range(settings.asked)]
    prompts = [prompt_of(combination, world.wrong(combination, draw)) for combination in asked]
    if hinted:
        prompts = [[*prompt, hint_of(world.answer(of))] for prompt, of in zip(prompts, asked, strict=True)]
    completions = completer([rollout.prompt_ids for rollout in rollouts(encoder, prompts)])
    right = [
        said(completion, encoder) == world.answer(combination)
        for completion, combination in zip(completions, asked, strict=True)
    ]
    return sum(right) / len(right)


def greedy(model: Any, encoder: chatspan.ChatEncoder) -> Completer:
    """The likeliest token at each step."""
    return lambda prompts: complete(model, prompts, encoder.tokenizer.eos_token_id, greedy=True)
