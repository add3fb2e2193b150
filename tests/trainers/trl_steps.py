"""Steps of TRL's trainers with tiny models, and what the loss of them has to be, written out."""

from __future__ import annotations

import copy
from typing import Any

import torch
from cases import assistant, system, user
from chatspan import ChatEncoder, Rollout
from conversations import tool
from torch import Tensor
from training import QUIET, model_of

ANSWER = assistant("It is 4.")
# A hint in the question; none; two turns, the second with a hint in front of it.
ROWS = [
    {"messages": [user("2 + 2?"), ANSWER], "teacher_messages": [user("2 + 2? (The solution: 4.)"), ANSWER]},
    {"messages": [user("2 + 2?"), ANSWER], "teacher_messages": None},
    {
        "messages": [user("2 + 2?"), assistant("It is 5."), user("No."), assistant("Then 4, of course.")],
        "teacher_messages": [
            user("2 + 2?"),
            assistant("It is 5."),
            user("No."),
            system("Two and two are four."),
            assistant("Then 4, of course."),
        ],
    },
    {
        "messages": [system("Be kind."), user("1?"), assistant("One.")],
        "teacher_messages": [user("1?"), assistant("One.")],
    },
]
# One step that sees all of these in two batches, and leaves the weights' gradient to be read.
ONE_STEP: dict[str, Any] = {
    **QUIET,
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "gradient_checkpointing": False,
}


def models(tokenizer: Any) -> tuple[Any, Any]:
    return model_of(tokenizer), model_of(tokenizer, initializer_range=0.3)


def rollout_row(tokenizer: Any) -> dict[str, Any]:
    """A rollout with a tool's result between two sampled turns, and what its teacher sees."""
    rollout = Rollout(ChatEncoder(tokenizer), [user("Book it.")])
    for text, reply in (("I call it.", tool("error: full")), ("It is full.", None)):
        ids = tokenizer(f"{text}<|im_end|>")["input_ids"]
        rollout.add_completion(ids, message=assistant(text), logprobs=[-0.25] * len(ids))
        if reply is not None:
            rollout.add_messages([reply])
    [row] = rollout.rows()
    messages = list(row.chat.messages)
    return {"sampled": row, "teacher_messages": [*messages[:-1], system("Mind the limit."), messages[-1]]}


def divergence(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """``[N, V]`` logits → ``[N]``: β KL(T ‖ m) + (1 − β) KL(S ‖ m), in float64."""
    s, t = (side.double().log_softmax(-1) for side in (student, teacher))
    if beta in (0.0, 1.0):
        first, second = (t, s) if beta == 0 else (s, t)
        return (first.exp() * (first - second)).sum(-1)
    m = ((1 - beta) * s.exp() + beta * t.exp()).log()
    return beta * (t.exp() * (t - m)).sum(-1) + (1 - beta) * (s.exp() * (s - m)).sum(-1)


def gathered(model: Any, batch: Any, prefix: str, side: str, temperature: float = 1.0) -> Tensor:
    """The logits of the in-loss tokens of a collator's batch, ``[N, V]``."""
    keys = ("input_ids", "attention_mask", "position_ids")
    logits = model(**{key: batch[f"{prefix}{key}"] for key in keys}).logits / temperature
    rows, entries = batch["response_idx_mask"].nonzero(as_tuple=True)
    return logits[rows, batch[f"{side}_logit_idx"][rows, entries]]


def both_logits(student: Any, teacher: Any, batch: Any, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        of_teacher = gathered(teacher, batch, "ctx_teacher_", "teacher", temperature)
    return gathered(student, batch, "", "student", temperature), of_teacher


def gradient_norm(loss: Tensor, model: Any) -> float:
    gradients = torch.autograd.grad(loss, [each for each in model.parameters() if each.requires_grad])
    return float(torch.stack([each.double().pow(2).sum() for each in gradients]).sum().sqrt())


def twins(*given: Any) -> tuple[Any, ...]:
    """Copies of models that a trainer is about to change."""
    return tuple(copy.deepcopy(each).eval() for each in given)


def first_step(trainer: Any) -> tuple[float, float]:
    """The loss and the norm of the gradient of the first step."""
    trainer.train()
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    return entry["loss"], entry["grad_norm"]
