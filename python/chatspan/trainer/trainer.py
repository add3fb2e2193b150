"""Self-distillation in transformers' ``Trainer``: both sides' forward passes, the loss, one denominator a step."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from chatspan.errors import LossError, OptionError, quoted
from chatspan.loss import hidden_states_and_head, linear_sdpo_loss, model_inputs, sdpo_loss, topk_sdpo_loss
from chatspan.loss.no_teacher import has_no_teacher
from chatspan.options import one_of
from chatspan.trainer.metrics import StepMetrics
from chatspan.trainer.options import LogitsOption, require_loss_options
from chatspan.trainer.teachers import EmaTeacher, TeacherOption, evaluated, require_teacher

_TEACHERS = "ctx_teacher_"
_CHOICES = ("auto", "hidden", "gathered", "all")


class SelfDistillationTrainer(Trainer):  # type: ignore[misc]
    """Trains a model to say what its teacher says, which sees more.

    A step's loss is the weighted sum over the in-loss tokens of all its batches, those of other processes and
    accumulated ones included, over the sum of their weights: two processes, or two accumulated batches, train as one of
    both. A batch that the loss is nowhere on is 0 with a gradient of 0. Dropout is off in the teacher.

    Args:
        model, args, train_dataset, eval_dataset, processing_class, callbacks, optimizers, …: as transformers'
            ``Trainer`` takes them. ``args.remove_unused_columns`` is off in a copy: the collator reads the columns.
        data_collator: a distillation collator, such as :class:`chatspan.ComposerDataCollator`.
        teacher: ``"student"``: the model itself, as it is now; ``"ema"``: an average of its weights; a model, which
            stays as it is; or a function of a batch for a teacher elsewhere, such as
            :meth:`chatspan.shards.teacher_store.TeacherStore.top_k_of`: log-probs and ids ``[B, R, K]``, as
            :func:`chatspan.loss.topk_sdpo_loss` takes them.
        ema_decay: of ``teacher="ema"``, how much of the average stays at each step.
        loss_options: keywords of :func:`chatspan.loss.sdpo_loss`, such as ``{"beta": 0.5, "top_k": 64}``.
        logits: how the loss is computed. ``"hidden"``: from hidden states, no more than a chunk of logits at a time;
            ``"gathered"``: from logits of the in-loss tokens alone (transformers 5.22 and later); ``"all"``: from all
            logits; ``"auto"``: the first of them that both models can.

    Raises:
        OptionError: no collator, or an option that cannot be.

    Logs beside the loss, as sums since the last time: ``in_loss_tokens``, ``batches_without_loss``, ``dropped_sites``,
    ``dropped_tokens``, ``dropped_rows``; and of a teacher elsewhere ``teacher_mass``, the mean probability that its
    top-k has together.

    Checkpoints have the EMA teacher's weights, and ``train(resume_from_checkpoint=…)`` goes on with them.
    """

    def __init__(
        self,
        model: Any = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[[Any], Any] | None = None,
        *positional: Any,
        teacher: TeacherOption = "student",
        ema_decay: float = 0.999,
        loss_options: Mapping[str, Any] | None = None,
        logits: LogitsOption = "auto",
        **keywords: Any,
    ) -> None:
        require_teacher(teacher)
        if data_collator is None:
            raise OptionError("data_collator is missing: pass a distillation collator, such as ComposerDataCollator")
        if not one_of(logits, _CHOICES):
            raise OptionError(f"logits={quoted(logits)}: use one of {', '.join(map(repr, _CHOICES))}")
        served = callable(teacher) and not isinstance(teacher, nn.Module)
        self._loss_options = require_loss_options({} if loss_options is None else loss_options, served=served)
        self._served = cast(Callable[[Any], tuple[Any, Any]], teacher) if served else None
        args = copy.copy(args) if args is not None else TrainingArguments("trainer_output")
        args.remove_unused_columns = False
        super().__init__(model, args, data_collator, *positional, **keywords)
        if self.args.n_gpu > 1:
            raise OptionError("Trainer would use torch's DataParallel: start it with torchrun, a process for each GPU")
        # Else Trainer divides by the number of accumulated batches once more.
        self.model_accepts_loss_kwargs = True
        self._logits: str | None = None if logits == "auto" else logits
        self._metrics = StepMetrics()
        self._teacher = self._made_teacher(teacher, ema_decay)

    def _made_teacher(self, teacher: TeacherOption, decay: float) -> nn.Module | EmaTeacher | None:
        if isinstance(teacher, nn.Module):
            frozen = teacher.eval().requires_grad_(False)
            return frozen if hasattr(frozen, "hf_device_map") else frozen.to(self.args.device)
        if teacher != "ema":
            return None
        average = EmaTeacher(self.model, decay=decay).to(self.args.device)
        self.add_callback(_Follow(average))
        return average

    @property
    def teacher(self) -> nn.Module:
        """The model that teaches; the student, where the teacher is elsewhere."""
        if self._teacher is None:
            student: nn.Module = self.model
            return student
        return self._teacher.model if isinstance(self._teacher, EmaTeacher) else self._teacher

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As ``Trainer.train``; an EMA teacher goes on from the checkpoint, too."""
        if resume_from_checkpoint and isinstance(self._teacher, EmaTeacher):
            folder = resume_from_checkpoint
            if folder is True:
                folder = get_last_checkpoint(self.args.output_dir)
            if folder is not None:
                self._teacher.load(str(folder))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Tensor]:
        """The batches of a step, and what the loss of each is divided by."""
        batches, _ = super().get_batch_samples(*args, **kwargs)
        weight = torch.stack([in_loss_weight(batch) for batch in batches]).sum() if batches else torch.zeros(())
        # Wrappers take the mean of the processes' gradients.
        return batches, self.accelerator.gather(weight.to(self.args.device).reshape(1)).mean()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """The loss of a batch; its outputs are only ``{"loss": …}``, since there may be no logits."""
        items = num_items_in_batch if model.training else None
        loss = self._loss(model, inputs, {**self._loss_options, "num_items_in_batch": items})
        if model.training:
            self._metrics.add(inputs)
        return (loss, {"loss": loss}) if return_outputs else loss

    def prediction_step(self, model: nn.Module, inputs: Any, *_: Any, **__: Any) -> tuple[Tensor, None, None]:
        """The loss of a batch of the evaluation, over its own weights."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        return loss.detach(), None, None

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """With what was counted since the last time."""
        if "loss" in logs:
            logs = {**logs, **self._metrics.taken(self.accelerator)}
        super().log(logs, *args, **kwargs)

    def _loss(self, model: nn.Module, inputs: Mapping[str, Any], options: dict[str, Any]) -> Tensor:
        """By the first way that both models can, or the one that was asked for."""
        if not _has_teacher(inputs) and not has_no_teacher(inputs):
            raise LossError(
                f"the batch has no '{_TEACHERS}input_ids', but {', '.join(map(repr, list(inputs)[:6]))}: it comes "
                "from another collator; pass the trainer a distillation collator, such as ComposerDataCollator"
            )
        ways = {"hidden": self._from_hidden, "gathered": self._from_gathered, "all": self._from_all}
        if self._logits is not None:
            return ways[self._logits](model, inputs, options)
        found = "hidden"
        try:
            loss = ways[found](model, inputs, options)
        except LossError:
            # A model that does more to its logits than scale and cap, or has no head of its own; what is wrong with the
            # batch is raised again.
            found = "gathered" if _takes_columns(self.model) and _takes_columns(self.teacher) else "all"
            loss = ways[found](model, inputs, options)
        self._logits = found
        return loss

    def _from_hidden(self, model: nn.Module, inputs: Mapping[str, Any], options: dict[str, Any]) -> Tensor:
        hidden, head = hidden_states_and_head(model, **self._of_side(model, inputs, ""))
        if self._served is not None and _has_teacher(inputs):
            return self._against_top_k(hidden, inputs, options, student_head=head)
        with self._teaching(model, inputs) as teacher:
            if teacher is None:
                return linear_sdpo_loss(hidden, None, inputs, head, None, **options)
            teacher_hidden, teacher_head = hidden_states_and_head(teacher, **self._of_side(teacher, inputs, _TEACHERS))
        return linear_sdpo_loss(hidden, teacher_hidden, inputs, head, teacher_head, **options)

    def _from_gathered(self, model: nn.Module, inputs: Mapping[str, Any], options: dict[str, Any]) -> Tensor:
        if not _has_teacher(inputs):
            return self._from_all(model, inputs, options)
        student = self._logits_of(model, inputs, "", logits_to_keep=inputs["student_logit_idx"])
        if self._served is not None:
            return self._against_top_k(student, inputs, options, gathered=True)
        with self._teaching(model, inputs) as teacher:
            teachers = self._logits_of(teacher, inputs, _TEACHERS, logits_to_keep=inputs["teacher_logit_idx"])
        return sdpo_loss(student, teachers, inputs, gathered=True, **options)

    def _from_all(self, model: nn.Module, inputs: Mapping[str, Any], options: dict[str, Any]) -> Tensor:
        student = self._logits_of(model, inputs, "")
        if self._served is not None and _has_teacher(inputs):
            return self._against_top_k(student, inputs, options)
        with self._teaching(model, inputs) as teacher:
            teachers = None if teacher is None else self._logits_of(teacher, inputs, _TEACHERS)
        return sdpo_loss(student, teachers, inputs, **options)

    def _against_top_k(
        self, student: Tensor, inputs: Mapping[str, Any], options: dict[str, Any], **more: Any
    ) -> Tensor:
        assert self._served is not None
        log_probs, ids = (torch.as_tensor(each) for each in self._served(inputs))
        found = topk_sdpo_loss(student, log_probs, ids, inputs, **options, **more)
        if student.requires_grad:
            self._metrics.add_mass(found.teacher_mass)
        return found.loss

    def _teaching(self, model: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """The teacher, ready to be asked; nothing of a batch without its side."""
        if not _has_teacher(inputs):
            return nullcontext()
        return evaluated(model if self._teacher is None else self.teacher)

    def _of_side(self, model: Any, inputs: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        given = model_inputs(inputs, model, "teacher" if prefix else "student")
        return {**given, "use_cache": False} if _takes(self.accelerator.unwrap_model(model), "use_cache") else given

    def _logits_of(self, model: Any, inputs: Mapping[str, Any], prefix: str, **more: Any) -> Tensor:
        logits: Tensor = model(**self._of_side(model, inputs, prefix), **more).logits
        return logits


class _Follow(TrainerCallback):  # type: ignore[misc]
    """Keeps an EMA teacher behind its student."""

    def __init__(self, teacher: EmaTeacher) -> None:
        self._teacher = teacher

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any = None, **_: Any) -> None:
        self._teacher.update(model)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._teacher.save(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def in_loss_weight(batch: Mapping[str, Any]) -> Tensor:
    """``[]``: the sum of the weights of a batch's in-loss tokens."""
    if "in_loss_weight" in batch:
        return torch.as_tensor(batch["in_loss_weight"]).float().sum()
    if not _has_teacher(batch):
        return torch.zeros(())
    mask = batch["response_idx_mask"]
    weights = batch["sdpo_loss_weight"].gather(1, batch["student_response_idx"].clamp(min=0))
    total: Tensor = (weights * mask).sum()
    return total.float()


def _has_teacher(batch: Mapping[str, Any]) -> bool:
    return f"{_TEACHERS}input_ids" in batch


def _takes(model: Any, name: str) -> bool:
    """Whether a model's forward has a parameter; those of transformers pass others on."""
    return name in inspect.signature(getattr(model, "forward", model)).parameters


def _takes_columns(model: Any) -> bool:
    """Whether a model makes logits of given columns of each row: transformers before 5.22 reads them otherwise."""
    import transformers

    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return (major, minor) >= (5, 22) and _takes(model, "logits_to_keep")
