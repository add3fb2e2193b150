"""What TRL's rollouts say of each other: which succeeded, and are shown to the teachers of the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

_REASONING = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True)
class Solutions:
    """Rollouts that succeeded, of all processes.

    Attributes:
        texts: for each rollout of this process another one for the same prompt that succeeded; ``None``: there is none.
        group_fraction: how large a part of the prompts has one.
    """

    texts: Sequence[str | None]
    group_fraction: float


def solutions_of(trainer: Any, tokenizer: Any, output: Mapping[str, Any], rewards: torch.Tensor) -> Solutions:
    """The successful rollouts, as TRL's ``SuccessfulRolloutTeacherContextBuilder`` finds them.

    Args:
        trainer: an ``SDPOTrainer``: which rollouts are for the same prompt, and what of them is wanted.
        output: this process's rollouts.
        rewards: float ``[B]``, this process's.
    """
    args, accelerator = trainer.args, trainer.accelerator
    group = trainer.num_generations if trainer.model.training else trainer.num_generations_eval
    successful = accelerator.gather(rewards) >= args.success_reward_threshold
    fraction = successful.view(-1, group).any(dim=1).float().mean().item()
    if not args.use_successful_as_teacher:
        return Solutions([None] * len(rewards), fraction)
    ids = accelerator.gather(accelerator.pad_across_processes(output["completion_ids"], dim=1)).tolist()
    # By length, not by the pad id, which is often that of the end of a turn.
    lengths = output.get("raw_completion_lengths", output["completion_mask"].sum(dim=1))
    lengths = accelerator.gather(lengths).tolist()
    wins = successful.tolist()
    texts: list[str | None] = []
    first = accelerator.process_index * len(rewards)
    for index in range(first, first + len(rewards)):
        start = index // group * group
        others = (
            other
            for other in range(start, start + group)
            if wins[other] and not (args.dont_reprompt_on_self_success and other == index)
        )
        other = next(others, None)
        text = None if other is None else tokenizer.decode(ids[other][: lengths[other]], skip_special_tokens=True)
        if text is not None and args.remove_thinking_from_demonstration:
            text = _REASONING.sub("", text).strip()
        texts.append(text)
    return Solutions(texts, fraction)
