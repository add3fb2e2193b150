"""SDPO (arXiv 2601.20802): the teacher is the same model, and sees a hint in front of the recovery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import chatspan
import torch
from chatspan.loss import sdpo_loss

from experiments.model import Batch, descend, logits_of
from experiments.sampling import sample
from experiments.start import Start
from experiments.task import ERROR, RECOVERY, other_answers, write_hint

Row = dict[str, Any]
# The places of recordings, and what the hint of each says → rows for the collator.
MakeRows = Callable[[Sequence[int], Sequence[str]], list[Row]]


def off_policy(start: Start) -> Any:
    """On recorded recoveries, whether right or not."""
    return _distilled(start, start.fresh_model())


def on_policy(start: Start) -> Any:
    """On recoveries that the student samples, one for each question."""
    student = start.fresh_model()
    return _distilled(start, student, arm="sdpo-on", make_rows=_sampled(start, student))


def shuffled_hints(start: Start) -> Any:
    """A control: off-policy, and each hint is that of another recording."""
    hints = other_answers(start.recordings, start.draw("other hints"))
    return _distilled(start, start.fresh_model(), hints=hints)


def shifted_mask(start: Start) -> Any:
    """A control: off-policy, and the loss is one token too far to the right."""
    return _distilled(start, start.fresh_model(), change_batch=shifted)


def shifted(batch: Batch) -> Batch:
    """The token behind each in-loss token, on both sides."""
    later = {key: batch[key] + 1 for key in batch if key.endswith(("_logit_idx", "_response_idx"))}
    weights = {"sdpo_loss_weight": batch["sdpo_loss_weight"].roll(1, dims=1)}
    return {**batch, **later, **weights}


def _distilled(
    start: Start,
    student: Any,
    *,
    arm: str = "sdpo-off",
    make_rows: MakeRows | None = None,
    hints: Sequence[str] | None = None,
    change_batch: Callable[[Batch], Batch] = lambda batch: batch,
) -> Any:
    settings, teacher = start.settings, start.teacher()
    make_rows = _recorded(start) if make_rows is None else make_rows
    hints = [recording.answer for recording in start.recordings] if hints is None else hints
    config = chatspan.CollatorConfig(hint_generator=write_hint, layout="indexed", loss_on="turn")
    collate = chatspan.ComposerDataCollator(start.tokenizer, config)
    order = start.order(range(len(start.recordings)))

    def loss_of_step() -> torch.Tensor:
        places = [next(order) for _ in range(settings.rows)]
        batch = change_batch(collate(make_rows(places, [hints[place] for place in places])))
        with torch.no_grad():
            teacher_logits = logits_of(teacher, batch, "ctx_teacher_")
        return sdpo_loss(logits_of(student, batch), teacher_logits, batch)

    descend(student, loss_of_step, settings.steps, settings.rates[arm], start.watch)
    return student


def _recorded(start: Start) -> MakeRows:
    def make(places: Sequence[int], hints: Sequence[str]) -> list[Row]:
        rows = []
        for place, hint in zip(places, hints, strict=True):
            *prompt, recovery = start.recordings[place].messages
            site = {**recovery, "tool_error": ERROR, "error_meta": {"answer": hint}}
            rows.append({"trace_id": str(place), "turns": [*prompt, site]})
        return rows

    return make


def _sampled(start: Start, student: Any) -> MakeRows:
    def make(places: Sequence[int], hints: Sequence[str]) -> list[Row]:
        prompts = [start.recordings[place].prompt for place in places]
        return [
            {"sampled": row, "tool_errors": {RECOVERY: ERROR}, "error_meta": {RECOVERY: {"answer": hint}}}
            for row, hint in zip(sample(student, start.encoder, prompts), hints, strict=True)
        ]

    return make
