"""The tensors that verl, and SDPO on top of it, know: left-padded prompts, right-padded responses.

Contracts: verl's agent loop (``verl/experimental/agent_loop/agent_loop.py``, commit b178a3c) and lasgroup/SDPO
(``verl/trainer/ppo/ray_trainer.py``, ``_maybe_build_self_distillation_batch``, and ``verl/workers/actor/dp_actor.py``;
commit 0e6d510). Neither is imported; ``verl.DataProto.from_dict(tensors=…)`` takes the tensors as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from chatspan.batch.padding import Ints, padded, padded_ids, position_ids_of
from chatspan.batch.sides import pad_id_of
from chatspan.batch.tensors import Batch, tensors_of
from chatspan.distillation.collator import SelfDistillationCollator
from chatspan.distillation.prompts.hinted import HintedPrompt, HintedPrompts, require_own_prompt
from chatspan.distillation.prompts.responses import Response, responses_of
from chatspan.errors import EmptyBatchError, LayoutError, OptionError, TruncationError, place_of_row
from chatspan.options import require_counts


def sdpo_tensors(
    collator: SelfDistillationCollator,
    rows: Sequence[Any],
    *,
    max_prompt_length: int | None = None,
    max_response_length: int | None = None,
    max_reprompt_len: int | None = None,
    check_prompt: bool = True,
) -> Batch:
    """The tensor dict of lasgroup/SDPO's actor, of recorded conversations; what of it is not the teacher's is verl's.

    Each message that the loss is on is a row of its own: the prompt is everything in front of it, as the template
    writes a conversation that ends with it; the response its in-loss tokens and what is between them.

    Args:
        collator: a :class:`chatspan.SelfDistillationCollator` or :class:`chatspan.ComposerDataCollator`: which
            messages, what of them (``loss_on="turn"`` for what a model samples, end of turn included), hints, and what
            becomes of what is too long (``max_length``, ``overflow``).
        rows: as the collator takes them.
        max_prompt_length, max_response_length, max_reprompt_len: the widths ``P``, ``R``, ``Pt``, as in verl's
            configuration (``data.max_prompt_length``, ``actor.self_distillation.max_reprompt_len``); by default
            those of the longest. Nothing is cut to them.
        check_prompt: whether a prompt is an error that the chat template does not write when it is asked for the
            response, as where it leaves the system message out of a conversation that does not end with a user's
            (Mistral), or opens a generation prompt with ``<think>`` and not a recorded answer.

    Returns:
        int64: ``prompts`` ``[B, P]``, padded on the left; ``responses`` and ``response_mask`` (1 where the loss is)
        ``[B, R]``, padded on the right; ``input_ids``, ``attention_mask``, ``position_ids`` ``[B, P + R]``;
        ``teacher_input_ids``, ``teacher_attention_mask``, ``teacher_position_ids`` ``[B, Pt + R]``; ``[B]``
        ``row_index`` and ``message_index``, what it is of, and ``dropped_tokens``. float32 ``[B]``:
        ``self_distillation_mask``, 1. An ``attention_mask`` is 1 on every token of a prompt or a response, in the loss
        or not. On either side ``logits[:, -R - 1 : -1]`` predict ``responses``.

    Raises:
        LayoutError: a message is not one prompt and one response, or see ``check_prompt``; with ``trace_id`` and
            ``turn_index``.
        TruncationError: longer than one of the widths.
        EmptyBatchError: the loss is on none of the rows.
        ChatspanError: as a call of the collator.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> from chatspan.verl import sdpo_tensors
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> config = chatspan.CollatorConfig(hint_generator=lambda error, meta: f"Mind the {error}.", loss_on="turn")
        >>> collator = chatspan.ComposerDataCollator(tokenizer, config)
        >>> tensors = sdpo_tensors(collator, [{"turns": [
        ...     {"role": "user", "content": "Book it."},
        ...     {"role": "assistant", "content": "It is full.", "tool_error": "limit"}]}])
        >>> tokenizer.decode(tensors["responses"][0])
        'It is full.<|im_end|>'
        >>> print(tokenizer.decode(tensors["teacher_input_ids"][0]))
        <|im_start|>user
        Book it.<|im_end|>
        <|im_start|>system
        Mind the limit.<|im_end|>
        <|im_start|>assistant
        It is full.<|im_end|>
    """
    responses = responses_of(collator, rows, check_prompt=check_prompt)
    pad_id = pad_id_of(collator.tokenizer)
    _require_fit("max_prompt_length", max_prompt_length, [one.prompt_ids for one in responses], responses)
    _require_fit("max_response_length", max_response_length, [one.response_ids for one in responses], responses)
    _require_fit("max_reprompt_len", max_reprompt_len, [one.teacher_prompt_ids for one in responses], responses)
    answers, seen = padded_ids([one.response_ids for one in responses], pad_id, "right", max_response_length)
    prompts, prompts_seen = padded_ids([one.prompt_ids for one in responses], pad_id, "left", max_prompt_length)
    batch = {
        "prompts": prompts,
        "responses": answers,
        "response_mask": padded([one.response_mask for one in responses], 0, "right", max_response_length),
        **_sequence("", (prompts, answers), (prompts_seen, seen)),
        **_teacher([one.teacher_prompt_ids for one in responses], pad_id, max_reprompt_len, answers, seen),
        "self_distillation_mask": np.ones(len(responses), dtype=np.float32),
    }
    for name in ("row_index", "message_index", "dropped_tokens"):
        batch[name] = np.array([getattr(one, name) for one in responses], dtype=np.int64)
    return tensors_of(batch)


def teacher_tensors(
    batch: Mapping[str, torch.Tensor],
    raw_prompts: Sequence[Any],
    hints: Sequence[str | None],
    *,
    prompts: HintedPrompts,
    max_reprompt_len: int | None = None,
) -> Batch:
    """The teacher's tensors for responses that were sampled: what lasgroup/SDPO builds behind the rewards.

    Args:
        batch: verl's, with ``responses`` ``[B, R]`` and ``attention_mask`` ``[B, P + R]``; if it has ``prompts``
            ``[B, P]``, these have to be what the chat template makes of the ``raw_prompts``.
        raw_prompts: the messages that each was sampled for (``non_tensor_batch["raw_prompt"]``).
        hints: what each teacher sees more; ``None`` or blank: nothing, and the row is not distilled.
        prompts: how hints are put into prompts; with verl's ``data.apply_chat_template_kwargs`` and tools as its
            ``chat_template_kwargs``.
        max_reprompt_len: the width ``Pt``; nothing is cut to it.

    Returns:
        int64 ``[B, Pt + R]`` ``teacher_input_ids``, ``teacher_attention_mask``, ``teacher_position_ids``, float32
        ``[B]`` ``self_distillation_mask``, on the batch's device. The attention mask sees every token of the response,
        results of tools too, which a ``response_mask`` leaves out.

    Raises:
        LayoutError: not as many prompts or hints as responses, tensors of another form, or ``prompts`` of other
            messages, tools or templates.
        EmptyBatchError: there is no response.
        TruncationError: longer than ``max_reprompt_len``, or a prompt that was cut.
        ChatspanError: as :meth:`chatspan.HintedPrompts.encode`.

    Example:
        >>> import torch
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> from chatspan.verl import teacher_tensors
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> responses = torch.tensor([tokenizer("It is full.<|im_end|>")["input_ids"]])
        >>> batch = {"responses": responses, "attention_mask": torch.ones_like(responses)}
        >>> found = teacher_tensors(batch, [[{"role": "user", "content": "Book it."}]], ["Mind the limit."],
        ...                         prompts=chatspan.HintedPrompts(tokenizer))
        >>> print(tokenizer.decode(found["teacher_input_ids"][0]))
        <|im_start|>user
        Book it.
        <BLANKLINE>
        Mind the limit.<|im_end|>
        <|im_start|>assistant
        It is full.<|im_end|>
    """
    if not isinstance(prompts, HintedPrompts):
        raise OptionError(f"prompts={type(prompts).__name__}: pass a chatspan.HintedPrompts(tokenizer)")
    responses, attention_mask = _sampled(batch)
    count, width = responses.shape
    if not hasattr(raw_prompts, "__len__") or len(raw_prompts) != count:
        given = len(raw_prompts) if hasattr(raw_prompts, "__len__") else type(raw_prompts).__name__
        raise LayoutError(f"{given} raw_prompts for a batch of {count} responses: pass one for each")
    found = prompts.encode(raw_prompts, hints)
    if "prompts" in batch.keys():  # noqa: SIM118 - a TensorDict has no `in`
        _require_own_prompts(found, batch["prompts"], attention_mask[:, :-width])
    ids = [one.teacher_ids for one in found]
    _require_fit("max_reprompt_len", max_reprompt_len, ids)
    seen = attention_mask[:, -width:].to("cpu", torch.int64).numpy()
    answers = responses.to("cpu", torch.int64).numpy()
    arrays = _teacher(ids, pad_id_of(prompts.tokenizer), max_reprompt_len, answers, seen)
    flags = {"self_distillation_mask": np.array([one.is_hinted for one in found], dtype=np.float32)}
    return {name: tensor.to(responses.device) for name, tensor in tensors_of({**arrays, **flags}).items()}


def _sampled(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The responses and the attention mask of the whole, of forms that fit."""
    names = set(batch.keys()) if hasattr(batch, "keys") else set()
    found = [batch[name] if name in names else None for name in ("responses", "attention_mask")]
    responses, mask = found
    if not isinstance(responses, torch.Tensor) or not isinstance(mask, torch.Tensor):
        raise LayoutError(
            f"a {type(batch).__name__} without tensors `responses` and `attention_mask`: pass verl's dict of tensors "
            "(data.batch)"
        )
    is_ids = responses.dim() == 2 and not responses.is_floating_point()
    if not is_ids or mask.dim() != 2 or len(mask) != len(responses) or mask.shape[1] < responses.shape[1]:
        shapes = f"`responses` {list(responses.shape)} of {responses.dtype} and `attention_mask` {list(mask.shape)}"
        raise LayoutError(f"{shapes}: expected ids [B, R], and a mask [B, P + R] that ends with theirs")
    if not responses.numel():
        raise EmptyBatchError(f"`responses` {list(responses.shape)}: there is nothing to distil")
    return responses, mask


def _require_own_prompts(found: Sequence[HintedPrompt], prompts: torch.Tensor, mask: torch.Tensor) -> None:
    """Both sides see the same prompt, whole, but for the hint."""
    if prompts.shape != mask.shape:
        raise LayoutError(
            f"`prompts` {list(prompts.shape)}, and {list(mask.shape)} before the responses in `attention_mask`"
        )
    remedy = "pass HintedPrompts the trainer's tokenizer, chat template and chat_template_kwargs, tools among them"
    for row, (one, ids, seen) in enumerate(zip(found, prompts.cpu(), mask.cpu() == 1, strict=True)):
        own = ids[seen].to(torch.int64).numpy()
        place = place_of_row(row)
        require_own_prompt(one, own, remedy, **place)
        if len(own) < len(one.student_ids):
            raise TruncationError(
                f"its prompt of {len(one.student_ids)} tokens was cut to {len(own)}, but the teacher would see "
                "all of it: raise data.max_prompt_length, or leave such rows out",
                **place,
            )


def _teacher(
    prompts: Sequence[Ints], pad_id: int, width: int | None, answers: Ints, answers_seen: Ints
) -> dict[str, Any]:
    # Which tokens of the response there are says its attention mask; the response mask says where the loss is.
    ids, seen = padded_ids(prompts, pad_id, "left", width)
    return _sequence("teacher_", (ids, answers), (seen, answers_seen))


def _sequence(prefix: str, ids: tuple[Ints, Ints], seen: tuple[Ints, Ints]) -> dict[str, Any]:
    attention_mask = np.concatenate(seen, axis=1)
    return {
        f"{prefix}input_ids": np.concatenate(ids, axis=1),
        f"{prefix}attention_mask": attention_mask,
        f"{prefix}position_ids": position_ids_of(attention_mask),
    }


def _require_fit(name: str, bound: int | None, ids: Sequence[Ints], responses: Sequence[Response] = ()) -> None:
    """No prompt loses its end, the generation prompt, nor its beginning."""
    require_counts(SimpleNamespace(**{name: bound}), name)
    for row, one in enumerate(ids):
        if bound is not None and len(one) > bound:
            at = place_of_row(row)
            if responses:
                at = {"trace_id": responses[row].trace_id, "turn_index": responses[row].message_index}
            raise TruncationError(
                f"{len(one)} tokens are more than {name}={bound}, and a cut would remove the beginning or "
                "the generation prompt: raise it, or use a collator with max_length, which leaves out whole messages",
                **at,
            )
