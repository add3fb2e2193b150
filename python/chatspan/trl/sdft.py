"""The teacher's context for TRL's ``SDFTTrainer``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from chatspan.batch.padding import padded_ids
from chatspan.batch.sides import pad_id_of
from chatspan.distillation.config import HintPlacement
from chatspan.distillation.prompts.hinted import HintedPrompt, HintedPrompts
from chatspan.errors import EmptyBatchError, HintError, LayoutError, OptionError, TruncationError, place_of_row
from chatspan.options import BackendOption
from chatspan.render.request import items_given


class DemonstrationContextBuilder:
    """What TRL's ``SDFTTrainer`` asks for the teacher's side of its rollouts; assigned to
    ``trainer.teacher_context_builder`` once the trainer is made.

    TRL's own ``DemonstrationTeacherContextBuilder`` takes only prompts that end with a user's message, writes that
    message anew with ``teacher_prompt_template``, and cuts what is longer than ``max_prompt_length`` on the left. Here
    the row's ``privileged_context`` is put into the prompt as it is, whose last message may be a tool's result, and
    provenance proves that it stands there, whole.

    Args:
        trainer: a ``trl.experimental.sdft.SDFTTrainer`` (TRL 1.16), served teachers (``teacher_model_kind="live"`` with
            vLLM) among them: these score the ids that are made here.
        hint_placement, hint_role, backend: see :class:`chatspan.HintedPrompts`.

    Example:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> from transformers import AutoTokenizer
        >>> from chatspan.trl import DemonstrationContextBuilder
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> trainer = SimpleNamespace(  # in real life trl.experimental.sdft.SDFTTrainer(...)
        ...     _tokenizer=tokenizer, chat_template_kwargs={}, max_prompt_length=None, teacher_context_builder=None)
        >>> builder = DemonstrationContextBuilder(trainer)
        >>> trainer.teacher_context_builder = builder
        >>> answer = tokenizer("It is full.<|im_end|>", return_tensors="pt")
        >>> found = builder.build([[{"role": "user", "content": "Book it."}]], ["Mind the limit."],
        ...                       answer["input_ids"], answer["attention_mask"])
        >>> print(tokenizer.decode(found["teacher_input_ids"][0]))
        <|im_start|>user
        Book it.
        <BLANKLINE>
        Mind the limit.<|im_end|>
        <|im_start|>assistant
        It is full.<|im_end|>
    """

    def __init__(
        self,
        trainer: Any,
        *,
        hint_placement: HintPlacement = "append_to_previous",
        hint_role: str = "system",
        backend: BackendOption = "auto",
    ) -> None:
        names = ("_tokenizer", "chat_template_kwargs", "max_prompt_length", "teacher_context_builder")
        missing = [name for name in names if not hasattr(trainer, name)]
        if missing:
            raise OptionError(
                f"trainer={type(trainer).__name__} has no {', '.join(missing)}: pass a "
                "trl.experimental.sdft.SDFTTrainer of TRL 1.16 or later"
            )
        self.trainer = trainer
        self._prompts = HintedPrompts(
            trainer._tokenizer,
            hint_placement=hint_placement,
            hint_role=hint_role,
            chat_template_kwargs=trainer.chat_template_kwargs,
            backend=backend,
        )

    def select_generation_prompts(self, prompts: Sequence[Any], privileged_contexts: Sequence[Any]) -> list[Any]:
        """The prompts with their hints, from which ``SDFTConfig(generate_from_teacher=True)`` generates.

        Args:
            prompts: lists of messages.
            privileged_contexts: a text for each.

        Returns:
            Lists of messages.

        Raises:
            ChatspanError: as :meth:`build`.
        """
        return [list(one.teacher_messages) for one in self._found(prompts, privileged_contexts)]

    def build(
        self,
        prompts: Sequence[Any],
        privileged_contexts: Sequence[Any],
        completion_ids: torch.Tensor,
        completion_mask: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """The teacher's tensors for this process's rollouts.

        Args:
            prompts: what each was sampled for, lists of messages.
            privileged_contexts: what the teacher sees more, a text for each.
            completion_ids, completion_mask: int64 ``[B, C]``, padded on the right.

        Returns:
            int64 ``[B, Pt + C]`` ``teacher_input_ids`` and ``teacher_attention_mask``, the prompt padded on the left,
            the completion as it is given; on its device.

        Raises:
            HintError: a context that is no text, or blank: SDFT has no mask for rows, so each needs one.
            TruncationError: a prompt, or the teacher's, that is longer than ``max_prompt_length`` (512, unless
                ``SDFTConfig`` says otherwise), to which the trainer cuts.
            LayoutError: prompts that are no messages, not as many contexts, or tensors of another form.
            EmptyBatchError: there is no prompt.
            ChatspanError: as :meth:`chatspan.HintedPrompts.encode`. All with ``row_index``, in this process's batch.
        """
        found = self._found(prompts, privileged_contexts)
        _require_completions(len(found), completion_ids, completion_mask)
        arrays = padded_ids([one.teacher_ids for one in found], pad_id_of(self._prompts.tokenizer), "left")
        ids, mask = (torch.from_numpy(array).to(completion_ids.device) for array in arrays)
        return {
            "teacher_input_ids": torch.cat([ids, completion_ids], dim=1),
            "teacher_attention_mask": torch.cat([mask, completion_mask], dim=1),
        }

    def _found(self, prompts: Sequence[Any], contexts: Sequence[Any]) -> list[HintedPrompt]:
        for name, given in (("prompts", prompts), ("privileged_contexts", contexts)):
            if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
                raise LayoutError(f"{name} is {type(given).__name__}: pass a list, one for each rollout")
        prompts, contexts = items_given(prompts, "prompts"), items_given(contexts, "privileged_contexts")
        if not prompts:
            raise EmptyBatchError("there is no prompt, so there is nothing to distil")
        for row, prompt in enumerate(prompts):
            if isinstance(prompt, str):
                raise LayoutError(
                    f"its prompt is plain text ({prompt[:40]!r}…): pass lists of messages, into which a hint is put",
                    **place_of_row(row),
                )
        for row, context in enumerate(contexts):
            if not isinstance(context, str) or not context.strip():
                what = "blank" if isinstance(context, str) else f"{type(context).__name__}, not text"
                raise HintError(
                    f"its privileged_context is {what}, and SDFT has no mask for rows: leave the row out",
                    **place_of_row(row),
                )
        found = self._prompts.encode(prompts, contexts)
        most = self.trainer.max_prompt_length
        for row, one in enumerate(found):
            longest = max(len(one.student_ids), len(one.teacher_ids))
            if most is not None and longest > most:
                raise TruncationError(
                    f"its prompt of {len(one.student_ids)} tokens, {len(one.teacher_ids)} with the hint, would be cut "
                    f"to max_prompt_length={most}; raise it in SDFTConfig (None does not cut)",
                    **place_of_row(row),
                )
        return found


def _require_completions(count: int, ids: Any, mask: Any) -> None:
    tensors = all(isinstance(each, torch.Tensor) and each.dim() == 2 and not each.is_meta for each in (ids, mask))
    if not tensors or ids.shape != mask.shape or len(ids) != count or ids.is_floating_point():
        shapes = [list(each.shape) if isinstance(each, torch.Tensor) else type(each).__name__ for each in (ids, mask)]
        raise LayoutError(
            f"completion_ids {shapes[0]} and completion_mask {shapes[1]} for {count} prompts: expected tensors of "
            "integers, [B, C] both"
        )
