"""A small model, its first training on teachers' conversations, and the distillation of a student."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import chatspan
import torch
from chatspan.distillation.config import Layout
from chatspan.loss.sdpo import sdpo_loss
from torch.utils.data import DataLoader
from train_data import make_traces, write_hint
from transformers import Qwen2Config, Qwen2ForCausalLM

Batch = Mapping[str, Any]
# Called with the number of steps done and the loss, for who watches.
Watch = Callable[[int, float], None]

MODEL_KEYS = ("input_ids", "attention_mask", "position_ids")
# The part of the first training that is on teachers alone.
_ALONE = 0.8
_HELD_OUT = 64
_HELD_OUT_SEED = 10_000_019


@dataclass(frozen=True)
class Settings:
    """How large and how long.

    Attributes:
        layout: of the batches, ``"aligned"`` or ``"indexed"``.
        ema: how much of the teacher stays at each step; ``None``: it is a frozen copy of the student.
    """

    hidden_size: int = 192
    first_steps: int = 160
    steps: int = 90
    batch_size: int = 32
    learning_rate: float = 1e-3
    layout: Layout = "aligned"
    ema: float | None = None
    seed: int = 0


def make_model(vocabulary: int, settings: Settings) -> Any:
    """A Qwen2 with random weights; 1.1 M of them by default."""
    torch.manual_seed(settings.seed)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=settings.hidden_size,
        intermediate_size=3 * settings.hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    chatspan.check_layout(config, settings.layout)
    return Qwen2ForCausalLM(config)


def make_collator(tokenizer: Any, settings: Settings) -> chatspan.ComposerDataCollator:
    """Batches of student and teacher."""
    config = chatspan.CollatorConfig(hint_generator=write_hint, layout=settings.layout)
    return chatspan.ComposerDataCollator(tokenizer=tokenizer, config=config)


def batches(collate: Any, settings: Settings, steps: int, seed: int, *, error_decides: bool) -> Iterator[Batch]:
    """So many batches of new traces."""
    traces: Any = make_traces(steps * settings.batch_size, seed, error_decides=error_decides)
    return iter(DataLoader(traces, batch_size=settings.batch_size, collate_fn=collate))


def first_training(model: Any, collate: Any, settings: Settings, watch: Watch = lambda step, loss: None) -> None:
    """Cross-entropy on the recoveries. The hints are drawn, so only a teacher can know what to say.

    At last on the student's side too, which learns that it does not know: all that distillation can teach it then is
    what the error says.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    seed = settings.seed + 1
    for step, batch in enumerate(batches(collate, settings, settings.first_steps, seed, error_decides=False), 1):
        real = batch["response_idx_mask"]
        loss = torch.zeros(())
        sides = [("ctx_teacher_", "teacher")] + [("", "student")] * (step > _ALONE * settings.first_steps)
        for prefix, side in sides:
            row, column = real.nonzero()[:, 0], batch[f"{side}_response_idx"][real]
            labels = torch.full_like(batch[f"{prefix}input_ids"], -100)
            labels[row, column] = batch[f"{prefix}input_ids"][row, column]
            loss = loss + model(**_side(batch, prefix), labels=labels, use_cache=False).loss / len(sides)
        _step(model, optimizer, loss)
        watch(step, loss.item())


def distil(
    student: Any,
    collate: Any,
    settings: Settings,
    *,
    change_batch: Callable[[dict[str, Any]], Batch] = lambda batch: batch,
    watch: Watch = lambda step, loss: None,
) -> Any:
    """Trains the student towards the teacher, a copy of it that sees hints; the error decides these now.

    Args:
        change_batch: what is done to each batch before it is used.

    Returns:
        the teacher.
    """
    teacher = copy.deepcopy(student).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(student.parameters(), lr=settings.learning_rate)
    seed = settings.seed + 2
    for step, batch in enumerate(batches(collate, settings, settings.steps, seed, error_decides=True), 1):
        batch = change_batch(dict(batch))
        with torch.no_grad():
            teacher_logits = teacher(**_side(batch, "ctx_teacher_"), use_cache=False).logits
        student_logits = student(**_side(batch, ""), use_cache=False).logits
        loss = sdpo_loss(student_logits, teacher_logits, batch, beta=0.0)
        _step(student, optimizer, loss)
        if settings.ema is not None:
            _follow(teacher, student, settings.ema)
        watch(step, loss.item())
    return teacher


def held_out_batch(collate: Any) -> Batch:
    """Conversations that nobody was trained on."""
    batch: Batch = collate(make_traces(_HELD_OUT, _HELD_OUT_SEED, error_decides=True))
    return batch


@torch.no_grad()
def held_out_divergence(student: Any, teacher: Any, collate: Any) -> torch.Tensor:
    """``[N, R]``: KL(teacher || student) in nat at each token of recoveries that nobody was trained on."""
    batch = held_out_batch(collate)
    student_logits = student(**_side(batch, ""), use_cache=False).logits
    teacher_logits = teacher(**_side(batch, "ctx_teacher_"), use_cache=False).logits
    return sdpo_loss(student_logits, teacher_logits, batch, beta=0.0, reduction="none")


def _side(batch: Batch, prefix: str) -> dict[str, Any]:
    return {key: batch[f"{prefix}{key}"] for key in MODEL_KEYS if f"{prefix}{key}" in batch}


def _step(model: Any, optimizer: Any, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@torch.no_grad()
def _follow(teacher: Any, student: Any, ema: float) -> None:
    for of_teacher, of_student in zip(teacher.parameters(), student.parameters(), strict=True):
        of_teacher.lerp_(of_student, 1 - ema)
