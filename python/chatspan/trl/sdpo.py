"""The teacher's context for TRL's ``SDPOTrainer``, and data sets for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch

from chatspan.batch.padding import Ints, padded_ids
from chatspan.batch.sides import pad_id_of
from chatspan.distillation.config import HintPlacement
from chatspan.distillation.prompts.hinted import HintedPrompt, HintedPrompts, require_own_prompt
from chatspan.errors import EmptyBatchError, HintError, LayoutError, OptionError, TruncationError, place_of_row
from chatspan.options import BackendOption, require_choices
from chatspan.trl.rollouts import Solutions, solutions_of

Overflow = Literal["error", "drop_row"]
HintOf = Callable[[str | None, str | None], str]
logger = logging.getLogger("chatspan")


class TeacherContextBuilder:
    """What TRL's ``SDPOTrainer`` asks for the teacher's side of its rollouts; assigned to
    ``trainer.teacher_context_builder`` once the trainer is made.

    TRL's own builder takes only prompts that end with a user's message, writes that message anew, and cuts what is
    longer than ``max_reprompt_len`` on the left, the system message first. Here the hint is put into the prompt as it
    is, whose last message may be a tool's result, and provenance proves that it stands there, whole. Of ``SDPOConfig``
    it reads what TRL's builder reads: ``include_environment_feedback``, ``use_successful_as_teacher``, the templates
    and so on.

    Args:
        trainer: a ``trl.experimental.sdpo.SDPOTrainer``.
        hint: ``hint(feedback, solution) -> str``, what the teacher sees more. ``feedback`` is the row's
            ``privileged_context``, ``solution`` the text of another rollout for the same prompt that succeeded;
            ``None`` where there is none, or where the configuration does not want it; not called where both are.
            By default TRL's ``reprompt_template``, with ``solution_template``, ``feedback_template`` and an empty
            ``{prompt}``.
        hint_placement, hint_role: see :class:`chatspan.HintedPrompts`.
        overflow: what becomes of a row whose teacher's prompt is longer than ``max_reprompt_len``, or whose own prompt
            the trainer cut to ``max_prompt_length`` (512, unless it is told otherwise): ``"error"``; ``"drop_row"``, it
            is not distilled, with a warning, and counted in ``last_metrics``.
        backend: see :class:`chatspan.ChatEncoder`.

    Attributes:
        last_metrics: TRL's own, over all processes, and ``self_distillation/overflow_fraction``.

    Example:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> from transformers import AutoTokenizer
        >>> from chatspan.trl import TeacherContextBuilder
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> trainer = SimpleNamespace(  # in real life trl.experimental.sdpo.SDPOTrainer(...)
        ...     processing_class=tokenizer, chat_template_kwargs={}, num_generations=1,
        ...     model=SimpleNamespace(training=True),
        ...     accelerator=SimpleNamespace(process_index=0, gather=lambda tensor: tensor),
        ...     args=SimpleNamespace(
        ...         include_environment_feedback=True, environment_feedback_only_without_solution=False,
        ...         use_successful_as_teacher=False, success_reward_threshold=1.0, max_reprompt_len=10240))
        >>> builder = TeacherContextBuilder(trainer, hint=lambda feedback, solution: feedback)
        >>> trainer.teacher_context_builder = builder
        >>> prompt = [{"role": "user", "content": "Book it."}, {"role": "tool", "content": "error: full"}]
        >>> ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True,
        ...                                     return_tensors="pt")
        >>> answer = tokenizer("It is full.<|im_end|>", return_tensors="pt")
        >>> output = {"prompt_ids": ids["input_ids"], "prompt_mask": ids["attention_mask"],
        ...           "completion_ids": answer["input_ids"], "completion_mask": answer["attention_mask"]}
        >>> found = builder.build(output, [prompt], torch.zeros(1), ["Mind the limit."])
        >>> print(tokenizer.decode(found["teacher_input_ids"][0]))
        <|im_start|>user
        Book it.<|im_end|>
        <|im_start|>tool
        error: full
        <BLANKLINE>
        Mind the limit.<|im_end|>
        <|im_start|>assistant
        It is full.<|im_end|>
    """

    def __init__(
        self,
        trainer: Any,
        *,
        hint: HintOf | None = None,
        hint_placement: HintPlacement = "append_to_previous",
        hint_role: str = "system",
        overflow: Overflow = "error",
        backend: BackendOption = "auto",
    ) -> None:
        _require_trainer(trainer)
        self.trainer = trainer
        self.overflow: Overflow = overflow
        require_choices(self, overflow=Overflow)
        self.last_metrics: dict[str, float] = {}
        self._hint = self._hint_of_templates if hint is None else hint
        self._warned = False
        self._prompts = HintedPrompts(
            getattr(trainer.processing_class, "tokenizer", trainer.processing_class),
            hint_placement=hint_placement,
            hint_role=hint_role,
            chat_template_kwargs=trainer.chat_template_kwargs,
            backend=backend,
        )

    def build(
        self,
        output: Mapping[str, Any],
        prompts: Sequence[Any],
        rewards: torch.Tensor,
        feedbacks: Sequence[Any] | None = None,
    ) -> dict[str, torch.Tensor]:
        """The teacher's tensors for this process's rollouts.

        Args:
            output: with ``prompt_ids``, ``prompt_mask`` ``[B, P]``, ``completion_ids``, ``completion_mask``
                ``[B, C]``.
            prompts: what each rollout was sampled for, lists of messages.
            rewards: float ``[B]``.
            feedbacks: the rows' ``privileged_context``: text, or ``None``.

        Returns:
            int64 ``[B, Pt + C]`` ``teacher_input_ids`` and ``teacher_attention_mask``, the prompt padded on the left,
            the completion as it is in ``output``; float32 ``[B]`` ``self_distillation_mask``, 1 where there is a hint.
            All on the device of the rollouts.

        Raises:
            LayoutError: prompts that are no messages, or that the trainer tokenized in another way, or not as many
                feedbacks.
            EmptyBatchError: there is no prompt.
            TruncationError: too long; with ``overflow="error"``.
            HintError: feedback that is no text, or what ``hint`` gave.
            ChatspanError: as :meth:`chatspan.HintedPrompts.encode`. All with ``row_index``, in this process's batch.
        """
        _require_messages(prompts)
        given = _texts_of(feedbacks, len(prompts))
        solutions = solutions_of(self.trainer, self._prompts.tokenizer, output, rewards)
        used = self._wanted(given, solutions.texts)
        both = list(zip(used, solutions.texts, strict=True))
        found = self._prompts.encode(prompts, [self._hint_text(row, *texts) for row, texts in enumerate(both)])
        own = _own_prompts(output)
        fits = [self._fits(row, one, mine) for row, (one, mine) in enumerate(zip(found, own, strict=True))]
        hinted = [one.is_hinted and fit for one, fit in zip(found, fits, strict=True)]
        self._count(solutions, given, used, hinted, fits, rewards.device)
        ids = [one.teacher_ids if has else mine for one, has, mine in zip(found, hinted, own, strict=True)]
        device = output["completion_ids"].device
        arrays = padded_ids(ids, pad_id_of(self._prompts.tokenizer), "left")
        teacher_ids, teacher_mask = (torch.from_numpy(array).to(device) for array in arrays)
        return {
            "teacher_input_ids": torch.cat([teacher_ids, output["completion_ids"]], dim=1),
            "teacher_attention_mask": torch.cat([teacher_mask, output["completion_mask"]], dim=1),
            "self_distillation_mask": torch.tensor(hinted, dtype=torch.float32, device=device),
        }

    def _wanted(self, given: Sequence[str | None], solutions: Sequence[str | None]) -> list[str | None]:
        """The feedback that the configuration wants."""
        args = self.trainer.args
        if not args.include_environment_feedback:
            if any(text is not None for text in given) and not self._warned:
                self._warned = True
                logger.warning(
                    "rows have a privileged_context, which the teacher does not see: "
                    "use SDPOConfig(include_environment_feedback=True) to show it"
                )
            return [None] * len(given)
        if not args.environment_feedback_only_without_solution:
            return list(given)
        return [text if solution is None else None for text, solution in zip(given, solutions, strict=True)]

    def _hint_of_templates(self, feedback: str | None, solution: str | None) -> str:
        args = self.trainer.args
        texts = {
            "solution": "" if solution is None else args.solution_template.format(successful_previous_attempt=solution),
            "feedback": "" if feedback is None else args.feedback_template.format(feedback_raw=feedback),
        }
        return str(args.reprompt_template.format(prompt="", **texts).strip())

    def _hint_text(self, row: int, feedback: str | None, solution: str | None) -> str | None:
        if feedback is None and solution is None:
            return None
        try:
            hint = self._hint(feedback, solution)
        except Exception as error:
            raise HintError(f"hint raised {type(error).__name__}: {error}", **place_of_row(row)) from error
        if not isinstance(hint, str):
            raise HintError(
                f'hint returned {type(hint).__name__}, not a string; return "" for no hint', **place_of_row(row)
            )
        return hint

    def _fits(self, row: int, found: HintedPrompt, own: Ints) -> bool:
        """Whether both sides see their whole prompts."""
        remedy = "pass the trainer the same tokenizer, chat template and chat_template_kwargs"
        require_own_prompt(found, own, remedy, **place_of_row(row))
        count = len(found.student_ids)
        if not found.is_hinted:
            return True
        most = self.trainer.args.max_reprompt_len
        if len(own) < count:
            problem = f"the trainer cut its prompt of {count} tokens to max_prompt_length={len(own)}"
        elif len(found.teacher_ids) > most:
            problem = f"the teacher's prompt of {len(found.teacher_ids)} tokens is longer than max_reprompt_len={most}"
        else:
            return True
        if self.overflow == "error":
            raise TruncationError(
                f'{problem}; raise it in SDPOConfig (max_prompt_length=None does not cut), or use overflow="drop_row"',
                **place_of_row(row),
            )
        logger.warning("row %d is not distilled: %s", row, problem)
        return False

    def _count(
        self,
        solutions: Solutions,
        given: Sequence[str | None],
        used: Sequence[str | None],
        hinted: Sequence[bool],
        fits: Sequence[bool],
        device: torch.device,
    ) -> None:
        parts = {
            "success_sample_fraction": [text is not None for text in solutions.texts],
            "feedback_available_fraction": [text is not None for text in given],
            "feedback_used_fraction": [text is not None for text in used],
            "reprompt_sample_fraction": hinted,
            "overflow_fraction": [not fit for fit in fits],
        }
        flags = torch.tensor(list(parts.values()), dtype=torch.float32, device=device).T.contiguous()
        means = self.trainer.accelerator.gather(flags).mean(dim=0).tolist()
        self.last_metrics = {
            "self_distillation/success_group_fraction": solutions.group_fraction,
            **{f"self_distillation/{name}": mean for name, mean in zip(parts, means, strict=True)},
        }


def _require_trainer(trainer: Any) -> None:
    missing = [
        name
        for name in ("processing_class", "chat_template_kwargs", "args", "accelerator")
        if not hasattr(trainer, name)
    ]
    if missing:
        raise OptionError(
            f"trainer={type(trainer).__name__} has no {', '.join(missing)}: use a trl.experimental.sdpo.SDPOTrainer"
        )


def _require_messages(prompts: Sequence[Any]) -> None:
    if not len(prompts):
        raise EmptyBatchError("there is no prompt, so there is nothing to distil")
    for row, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            raise LayoutError(
                f"its prompt is plain text ({prompt[:40]!r}…): pass lists of messages, into which a hint can be put",
                **place_of_row(row),
            )


def _texts_of(feedbacks: Sequence[Any] | None, count: int) -> list[str | None]:
    """Feedback that is not blank."""
    feedbacks = [None] * count if feedbacks is None else feedbacks
    if len(feedbacks) != count:
        raise LayoutError(f"{len(feedbacks)} feedbacks for {count} prompts: pass one for each, None for none")
    texts: list[str | None] = []
    for row, feedback in enumerate(feedbacks):
        if feedback is not None and not isinstance(feedback, str):
            raise HintError(
                f"its privileged_context is {type(feedback).__name__}, not text: write what the teacher sees",
                **place_of_row(row),
            )
        texts.append(feedback if feedback is not None and feedback.strip() else None)
    return texts


def _own_prompts(output: Mapping[str, Any]) -> list[Ints]:
    """The prompts that the trainer sampled for."""
    ids, mask = (output[name].to("cpu", torch.int64).numpy() for name in ("prompt_ids", "prompt_mask"))
    return [row[seen == 1] for row, seen in zip(ids, mask, strict=True)]
