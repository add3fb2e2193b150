"""TRL's ``DistillationTrainer`` with a teacher that sees other tokens than the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from chatspan.batch.padding import padded_ids
from chatspan.batch.sides import pad_id_of
from chatspan.batch.tensors import Batch
from chatspan.distillation.config import HintPlacement
from chatspan.distillation.prompts.hinted import HintedPrompts, require_own_prompt
from chatspan.errors import HintError, LayoutError, OptionError, place_of_row
from chatspan.options import BackendOption
from chatspan.trl.distillation_inputs import distillation_inputs
from chatspan.trl.hooks import Hooks, base_of, other_version, require_hooks

if TYPE_CHECKING:
    from chatspan.distillation.collator import SelfDistillationCollator

# What a prompt with images brings with it, for which the teacher's other ids would need other values.
_MEDIA = ("pixel_values", "token_type_ids", "mm_token_type_ids")


class DistillationMixin:
    """Makes the teacher of TRL's ``DistillationTrainer`` see its own side: a prompt with a hint, another conversation.

    In TRL both models see the same ids. In a class of both, ``class Trainer(DistillationMixin, DistillationTrainer)``,
    the student's forward pass, the divergence, the denominator and the metrics stay TRL's, and the teacher's hidden
    states are those of its own ids, at the columns that predict the same tokens. The student may be its own teacher:
    ``teacher_model=model``, which TRL puts into evaluation mode, without dropout.

    It takes what the trainer takes, and by keyword:

    Args:
        collator: a :class:`chatspan.SelfDistillationCollator` or :class:`chatspan.ComposerDataCollator`. Rows of the
            data set are conversations, traces or rollouts, as it takes them, nothing is generated, and the loss is
            where the collator says. Without one, rows are ``{"prompt", "privileged_context"}``, as
            :func:`chatspan.trl.sdpo_rows` makes them: the trainer generates, and the teacher sees the hint in the
            prompt; ``None`` or blank: it sees the student's.
        hint_placement, hint_role, backend: see :class:`chatspan.HintedPrompts`. Not with a collator, which has its own.

    Raises:
        OptionError: another version of TRL, of which a method or argument that this builds on is missing, when the
            class is made; or a wrong argument.

    Example:
        >>> from chatspan.trl import DistillationMixin
        >>> from trl import DistillationTrainer  # doctest: +SKIP
        >>> class Trainer(DistillationMixin, DistillationTrainer):  # doctest: +SKIP
        ...     pass
        >>> trainer = Trainer(student, teacher, config, rows, processing_class=tokenizer)  # doctest: +SKIP
    """

    _BASE: ClassVar[str] = "DistillationTrainer"
    _HOOKS: ClassVar[Hooks] = {
        "_prepare_inputs": ("generation_batch",),
        "_generate_and_score_completions": ("inputs",),
        "_compute_loss": ("unwrapped_student", "inputs", "num_items_in_batch"),
        "_get_last_hidden_state": ("unwrapped_model", "input_ids", "attention_mask", "logits_to_keep"),
    }
    args: Any
    accelerator: Any
    model: Any
    _step: int
    _buffered_inputs: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        base = base_of(cls, cls._BASE)
        if base is None:
            return
        mixin = next(each for each in cls.__mro__ if "_BASE" in vars(each))
        served = "ServerDistillationTrainer"
        # Its teacher is asked elsewhere, and would see the student's ids.
        if served != cls._BASE and base_of(cls, served) is not None:
            raise OptionError(
                f"{served} has a mixin of its own: write class {cls.__name__}(ServerDistillationMixin, {served})"
            )
        require_hooks(cls, mixin, base, cls._HOOKS)

    def __init__(
        self,
        *args: Any,
        collator: SelfDistillationCollator | None = None,
        hint_placement: HintPlacement | None = None,
        hint_role: str | None = None,
        backend: BackendOption | None = None,
        **kwargs: Any,
    ) -> None:
        if base_of(type(self), self._BASE) is None:
            name = type(self).__name__
            raise OptionError(f"{name} is not a trainer: write class Trainer({name}, {self._BASE})")
        given = {"hint_placement": hint_placement, "hint_role": hint_role, "backend": backend}
        options = {name: value for name, value in given.items() if value is not None}
        if collator is not None and options:
            raise OptionError(f"{', '.join(options)} and a collator, which has its own: pass them to the collator")
        if collator is not None and getattr(collator, "config", None) is None:
            raise OptionError(
                f"collator={type(collator).__name__} has no teacher: use a SelfDistillationCollator or a "
                "ComposerDataCollator"
            )
        trainer: Any = super()
        trainer.__init__(*args, **kwargs)
        if self.args.remove_unused_columns:
            raise OptionError(
                "remove_unused_columns=True removes what the teacher sees: leave it out, as it is false by default"
            )
        self._collator = collator
        self._prompts = None if collator is not None else self._hinted_prompts(options)
        # What the teacher sees in the loss that is being computed, and the student of it.
        self._other_side: Mapping[str, Any] | None = None
        self._student: Any = None
        self._has_seen = False

    def _hinted_prompts(self, options: Mapping[str, Any]) -> HintedPrompts:
        trainer: Any = self
        given = {"tools": trainer.tools or None, "chat_template": trainer.chat_template}
        return HintedPrompts(
            trainer._tokenizer,
            chat_template_kwargs={
                **{name: value for name, value in given.items() if value is not None},
                **trainer.chat_template_kwargs,
            },
            **options,
        )

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        if self._collator is None:
            trainer: Any = super()
            return trainer._prepare_inputs(generation_batch)
        if not self.model.training:
            return self._recorded(generation_batch, 1)[0]
        # As TRL: all batches of a step come at once, and each of its calls takes the next.
        steps = self.args.gradient_accumulation_steps
        if self._step % steps == 0 or self._buffered_inputs is None:
            self._buffered_inputs = self._recorded(generation_batch, steps)
        return self._buffered_inputs[self._step % steps]

    def _recorded(self, rows: Sequence[Any], steps: int) -> list[Batch]:
        """The batches of a step, of conversations as they are."""
        assert self._collator is not None
        size = len(rows) // steps
        found = [distillation_inputs(self._collator, rows[start * size :][:size]) for start in range(steps)]
        device = self.accelerator.device
        in_loss = sum(int(inputs["tool_mask"].sum()) for inputs in found)
        total = self.accelerator.gather(torch.tensor(in_loss, device=device)).sum()
        return [
            {**{key: value.to(device) for key, value in inputs.items()}, "num_items_in_batch": total}
            for inputs in found
        ]

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        trainer: Any = super()
        output = trainer._generate_and_score_completions(inputs)
        assert self._prompts is not None
        media = [name for name in _MEDIA if name in output]
        if media:
            raise LayoutError(
                f"its prompts have {media[0]}: a teacher that sees other ids than the student is for text alone"
            )
        return output | self._teacher_of(output, inputs, self._prompts)

    def _teacher_of(self, output: Mapping[str, Any], rows: Sequence[Any], prompts: HintedPrompts) -> Batch:
        """The teacher's side of completions that were generated."""
        found = prompts.encode([row["prompt"] for row in rows], [_hint_of(row, i) for i, row in enumerate(rows)])
        remedy = "set the chat template on the trainer's tokenizer, and chat_template_kwargs in its configuration"
        own, mask = (output[name].to("cpu", torch.int64).numpy() for name in ("prompt_ids", "prompt_mask"))
        for row, one in enumerate(found):
            require_own_prompt(one, own[row][mask[row] == 1], remedy, **place_of_row(row))
        completion, seen = output["completion_ids"], output["completion_mask"]
        arrays = padded_ids([one.teacher_ids for one in found], pad_id_of(prompts.tokenizer), "left")
        ids, visible = (torch.from_numpy(array).to(completion.device) for array in arrays)
        columns = torch.arange(completion.shape[1], device=completion.device) + ids.shape[1] - 1
        return {
            "teacher_input_ids": torch.cat([ids, completion], dim=1),
            "teacher_attention_mask": torch.cat([visible, seen], dim=1),
            "teacher_logit_idx": columns.expand(len(completion), -1),
        }

    def _compute_loss(self, unwrapped_student: Any, inputs: Mapping[str, Any], num_items_in_batch: Any) -> Any:
        trainer: Any = super()
        self._other_side, self._student, self._has_seen = inputs, unwrapped_student, False
        try:
            found = trainer._compute_loss(unwrapped_student, inputs, num_items_in_batch)
        finally:
            self._other_side = self._student = None
        # What would be trained otherwise is wrong, and looks right.
        in_loss = int((inputs["completion_mask"] * inputs.get("tool_mask", 1)).sum())
        if not self._has_seen or len(found) != 3 or int(found[2]) != in_loss:
            what = f"_compute_loss does not compare the {in_loss} in-loss tokens with those that the teacher sees"
            raise other_version(DistillationMixin, what)
        return found

    def _get_last_hidden_state(
        self, unwrapped_model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: Any, **fields: Any
    ) -> Any:
        trainer: Any = super()
        side = self._other_side
        # The student comes first; the same model once more is its own teacher.
        if side is None or unwrapped_model is self._student:
            self._student = None
            return trainer._get_last_hidden_state(unwrapped_model, input_ids, attention_mask, logits_to_keep, **fields)
        self._has_seen = True
        ids, mask = side["teacher_input_ids"], side["teacher_attention_mask"]
        hidden = trainer._get_last_hidden_state(unwrapped_model, ids, mask, ids.shape[1] - 1, **fields)
        columns = side["teacher_logit_idx"].to(hidden.device)
        return hidden[torch.arange(len(columns), device=hidden.device).unsqueeze(1), columns]


def _hint_of(row: Any, index: int) -> str | None:
    hint = row.get("privileged_context")
    if hint is not None and not isinstance(hint, str):
        raise HintError(
            f"its privileged_context is {type(hint).__name__}, not text: write what the teacher sees",
            **place_of_row(index),
        )
    return hint
