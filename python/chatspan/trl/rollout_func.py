"""Rollouts of many turns for TRL's ``GRPOTrainer``: its ``rollout_func``, for any chat template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from chatspan.encoder import ChatEncoder
from chatspan.errors import ChatspanError, MessageError, OptionError, RolloutError, quoted
from chatspan.options import one_of
from chatspan.rollout.rollout import Rollout
from chatspan.rollout.sampled_row import SampledRow
from chatspan.rollout.servers import Completion

Message = Mapping[str, Any]
# Prompts of the rollouts that go on, and the trainer → what was sampled from each.
Sample = Callable[[list[list[int]], Any], Sequence[Completion]]
# The messages of a rollout so far → what follows the last of them; nothing: it is over.
Respond = Callable[[list[dict[str, Any]]], Sequence[Message] | None]
RolloutFunc = Callable[[list[Any], Any], dict[str, Any]]


def rollout_func(
    sample: Sample,
    respond: Respond,
    *,
    encoder: ChatEncoder | None = None,
    tools: Sequence[Any] | None = None,
    max_turns: int = 16,
    max_completion_length: int | None = None,
    on_rewrite: Literal["error", "keep"] = "error",
    template_kwargs: Mapping[str, Any] | None = None,
) -> RolloutFunc:
    """A ``rollout_func`` for ``GRPOTrainer``: turns are sampled, an environment answers, and each sampled id is kept.

    The trainer's prompts have to be lists of messages. All rollouts that go on are sampled from in one call a turn.

    Args:
        sample: is given the prompts' ids and the trainer; gives a :class:`chatspan.rollout.servers.Completion` for
            each, such as :func:`chatspan.rollout.servers.completions_of` makes of a server's response.
        respond: is given the messages of one rollout, the last of which is the model's; gives what follows it, such as
            the results of its calls, or nothing, and the rollout is over.
        encoder: by default the trainer's tokenizer, and its ``chat_template``.
        tools: for the chat template.
        max_turns: how many turns of the model a rollout has at most.
        max_completion_length: at most so many ids behind the first prompt; what is behind them is cut off. By default
            the trainer's.
        on_rewrite: where the template changes what was shown, as templates do that drop earlier reasoning: ``"error"``,
            or ``"keep"``, what was shown and sampled stays; see :class:`chatspan.Rollout`.
        template_kwargs: keywords of the chat template; by default the trainer's ``chat_template_kwargs``.

    Returns:
        A function that gives what TRL asks for, see :func:`rollout_columns`, and ``"conversations"``, the messages of
        each rollout, which TRL hands to the reward functions.

    Raises:
        OptionError: numbers that are none, or another ``on_rewrite``. The function raises as :class:`chatspan.Rollout`,
            with the index of the prompt as ``row_index``.
    """
    for name, value in (("max_turns", max_turns), ("max_completion_length", max_completion_length)):
        if (value is not None or name == "max_turns") and (type(value) is not int or value < 1):
            raise OptionError(f"{name}={quoted(value)}: expected a number, at least 1")
    if not one_of(on_rewrite, ("error", "keep")):
        raise OptionError(f'on_rewrite={quoted(on_rewrite)}: use "error" or "keep": TRL takes one row of each rollout')

    def roll_out(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        used = encoder or ChatEncoder(trainer.processing_class, chat_template=trainer.chat_template)
        keywords = trainer.chat_template_kwargs if template_kwargs is None else template_kwargs
        longest = max_completion_length or trainer.max_completion_length
        make = partial(Rollout, used, tools=tools, on_rewrite=on_rewrite, template_kwargs=dict(keywords or {}))
        rollouts = [make(_messages(prompt, index)) for index, prompt in enumerate(prompts)]
        first = [len(rollout.prompt_ids) for rollout in rollouts]
        going = list(range(len(rollouts)))
        for turn in range(max_turns):
            ends = _sample(rollouts, going, sample, trainer)
            if turn + 1 == max_turns:
                break
            fitting = [index for index in going if longest is None or ends[index] - first[index] < longest]
            going = [index for index in fitting if _goes_on(rollouts[index], index, respond)]
            if not going:
                break
        return {**rollout_columns(rollouts, longest), "conversations": [each.messages for each in rollouts]}

    return roll_out


def rollout_columns(
    rollouts: Sequence[Rollout | SampledRow], max_completion_length: int | None = None
) -> dict[str, list[Any] | None]:
    """What a ``rollout_func`` of TRL's ``GRPOTrainer`` has to give, of rollouts that were made elsewhere.

    Args:
        rollouts: one for each prompt, in their order, each with one row.
        max_completion_length: at most so many ids behind the first prompt.

    Returns:
        Lists with an item for each rollout: ``prompt_ids``; ``completion_ids``; ``env_mask``, 1 for the model's own
        tokens; ``logprobs``, 0 where nothing was sampled, or ``None`` in place of the list where no rollout has any.

    Raises:
        RolloutError: a rollout of several rows, or of none; some with log-probs and some without; with ``row_index``.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> from chatspan.trl import rollout_columns
        >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> rollout = chatspan.Rollout(encoder, [{"role": "user", "content": "2 + 2?"}])
        >>> sampled = encoder.tokenizer("4<|im_end|>", add_special_tokens=False)["input_ids"]
        >>> rollout.add_completion(sampled, message={"role": "assistant", "content": "4"}, logprobs=[-0.5, -0.25])
        >>> columns = rollout_columns([rollout])
        >>> encoder.decode(columns["completion_ids"][0]), columns["env_mask"], columns["logprobs"]
        ('4<|im_end|>', [[1, 1]], [[-0.5, -0.25]])
    """
    rows = [_row(each, index) for index, each in enumerate(rollouts)]
    if max_completion_length is not None:
        rows = [row.truncate(len(row.prompt_ids) + max_completion_length) for row in rows]
    with_logprobs = [row.logprobs is not None for row in rows]
    if any(with_logprobs) and not all(with_logprobs):
        index = with_logprobs.index(False)
        raise RolloutError(f"rollout {index} has no logprobs, but others have: pass all or none", row_index=index)
    return {
        "prompt_ids": [row.prompt_ids.tolist() for row in rows],
        "completion_ids": [row.completion_ids.tolist() for row in rows],
        "env_mask": [row.env_mask.tolist() for row in rows],
        "logprobs": [row.logprobs.tolist() for row in rows if row.logprobs is not None] or None,
    }


def _row(rollout: Rollout | SampledRow, index: int) -> SampledRow:
    rows = [rollout] if isinstance(rollout, SampledRow) else rollout.rows()
    if len(rows) != 1:
        why = f": {rows[1].cause.cause}" if rows and rows[1].cause is not None else ""
        raise RolloutError(
            f"rollout {index} has {len(rows)} rows{why}, but TRL takes one of each: add a completion, "
            'and use on_rewrite="keep" or "error" if it has several',
            row_index=index,
        )
    return rows[0]


def _messages(prompt: Any, index: int) -> Any:
    if isinstance(prompt, str):
        raise MessageError(
            f"prompt {index} is a text: pass the trainer conversational prompts, lists of messages", row_index=index
        )
    return prompt


def _sample(rollouts: Sequence[Rollout], going: Sequence[int], sample: Sample, trainer: Any) -> dict[int, int]:
    """Adds a turn to each rollout that goes on; where it ends, by rollout."""
    prompts = [rollouts[index].prompt_ids.tolist() for index in going]
    completions = sample(prompts, trainer)
    if len(completions) != len(going):
        raise RolloutError(
            f"sample returned {len(completions)} completions for {len(going)} prompts: return one for each"
        )
    for index, completion in zip(going, completions, strict=True):
        try:
            rollouts[index].add_completion(
                completion.token_ids,
                message=completion.message,
                finish_reason=completion.finish_reason,
                logprobs=completion.logprobs,
            )
        except ChatspanError as error:
            raise error.at(row_index=index) from error.__cause__
    ends = [len(prompt) + len(completion.token_ids) for prompt, completion in zip(prompts, completions, strict=True)]
    return dict(zip(going, ends, strict=True))


def _goes_on(rollout: Rollout, index: int, respond: Respond) -> bool:
    """Adds what follows a turn; whether there is something."""
    new = respond(rollout.messages)
    if not new:
        return False
    try:
        rollout.add_messages(new)
    except ChatspanError as error:
        raise error.at(row_index=index) from error.__cause__
    return True
