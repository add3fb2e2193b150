"""Traces → the tensors of a self-distillation loss: the drop-in collator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chatspan.batch.sides import Arrays, Side, side_arrays
from chatspan.distillation.chats.encoded_chat import EncodedChat
from chatspan.distillation.collator import SelfDistillationCollator
from chatspan.distillation.config import CollatorConfig
from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.examples.example import Example
from chatspan.distillation.examples.hints import trace_examples, with_hints
from chatspan.distillation.examples.traces import ErrorSite, read_traces
from chatspan.distillation.pairs.pair import Pair
from chatspan.distillation.pairs.placeholder import with_placeholder
from chatspan.distillation.replay import ReplayPair, read_pairs, response_ranges


class ComposerDataCollator(SelfDistillationCollator):
    """Builds the batch of a self-distillation trainer (SDPO, arXiv 2601.20802; OPSD, arXiv 2601.18734) from traces.

    Called with a list of traces ``{"trace_id", "turns": [{"role", "content", "tool_call"?, "tool_error"?,
    "error_meta"?}], "tools"?, "chat_template_kwargs"?, "dpo_pairs"?}``. An assistant turn with a ``tool_error`` and a
    content is an *error site*: the teacher sees a hint before it, the student does not. Rows may be in another dialect
    that :func:`chatspan.read_row` knows; a message's flag (``weight``, ``train``, …) takes its turn out of the loss, or
    gives it a weight. An assistant turn may have ``token_ids``, the ids that were sampled for it.

    A row ``{"sampled": row, "tool_errors": {3: "…"}, "error_meta"?: {3: …}, "trace_id"?}`` has a
    :class:`chatspan.SampledRow` for its student, and errors by message; those of turns that other rows of its rollout
    have are passed over. A turn of nothing but calls is an error site, too, with another ``loss_on`` than
    ``"content"``. Make one for each of :meth:`chatspan.Rollout.rows`.

    Args:
        tokenizer: any HF fast tokenizer with a chat template; or one that has only ``__call__`` →
            ``{"input_ids"}``, ``apply_chat_template(messages, tokenize=True, **kwargs)`` → ids and ``pad_token_id``,
            which is slower (see :mod:`chatspan.prefix_delta`).
        config: what to do with traces.

    Returns (of a call):
        the tensors of :class:`SelfDistillationCollator`, the teacher's if any row has an error site. With
        ``enable_replay_dpo`` also ``dpo_chosen_…`` and ``dpo_rejected_…`` (``input_ids``, ``attention_mask``,
        ``response_mask``, int64 ``[P, T']``) and ``dpo_pair_trace`` ``[P]``, the row of the input that a pair came
        with, if any trace has pairs; with ``constant_keys`` also if none has (P is 0).

    Raises:
        ChatspanError: one of its kinds, with ``trace_id`` and ``turn_index``.
        BackendError: (when made) ``backend="native"`` cannot be.

    Example:
        >>> from chatspan import CollatorConfig, ComposerDataCollator
        >>> class Letters:
        ...     pad_token_id = 0
        ...     def __call__(self, text):
        ...         return {"input_ids": [ord(letter) for letter in text]}
        ...     def apply_chat_template(self, messages, tokenize=True, **kwargs):
        ...         return self("".join(f"<{m['content']}>" for m in messages))["input_ids"]
        >>> collate = ComposerDataCollator(
        ...     tokenizer=Letters(), config=CollatorConfig(hint_generator=lambda error, meta: "hint"))
        >>> batch = collate([{"trace_id": "t", "turns": [
        ...     {"role": "user", "content": "go"}, {"role": "assistant", "content": "ok", "tool_error": "failed"}]}])
        >>> "".join(chr(i) for i in batch["ctx_teacher_input_ids"][0])
        '<go><hint><ok>'
        >>> "".join(chr(i) if i else "." for i in batch["input_ids"][0])
        '<go>......<ok>'
        >>> batch["sdpo_loss_mask"][0].tolist()
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]
    """

    config: CollatorConfig

    def __init__(self, tokenizer: Any, config: CollatorConfig) -> None:
        super().__init__(tokenizer, config)

    def _arrays(self, rows: Sequence[Any]) -> Arrays:
        batch = super()._arrays(rows)
        pairs = read_pairs(rows, self._reader) if self.config.enable_replay_dpo else []
        if pairs or (self.config.enable_replay_dpo and self.config.constant_keys):
            batch.update(self._replay(pairs))
        return batch

    def _examples(self, traces: Sequence[Any]) -> list[Example]:
        found = read_traces(traces, self.config, self._reader)
        for trace in found:
            self._notes.tell(trace.notes, f"trace {trace.plain.trace_id!r}")
        return trace_examples(found, self.config)

    def _mirrored(self, pair: Pair) -> Pair:
        example = pair.example

        def encode_with(texts: Sequence[str]) -> EncodedChat:
            fillers = [ErrorSite(turn, text) for turn, text in zip(example.loss_messages, texts, strict=True)]
            return self._encode([with_hints(example.student, fillers, self.config)[0]])[0]

        return with_placeholder(pair, encode_with)

    def _replay(self, pairs: Sequence[ReplayPair]) -> Arrays:
        if not pairs:
            return _no_pairs(self.config.pad_to_multiple_of or 1)
        conversations = [answer for pair in pairs for answer in (pair.chosen, pair.rejected)]
        answers = list(zip(self._encode(conversations), conversations, strict=True))
        batch = self._answer_arrays("dpo_chosen_", answers[::2]) | self._answer_arrays("dpo_rejected_", answers[1::2])
        batch["dpo_pair_trace"] = np.array([pair.row for pair in pairs], dtype=np.int64)
        return batch

    def _answer_arrays(self, prefix: str, answers: Sequence[tuple[EncodedChat, Conversation]]) -> Arrays:
        sides = [Side(chat.input_ids, np.arange(len(chat.input_ids)), len(chat.input_ids)) for chat, _ in answers]
        arrays, starts = side_arrays(prefix, sides, self.config, self._pad_id)
        del arrays[f"{prefix}position_ids"]  # padded on one side only, so they are the columns
        response_mask = np.zeros_like(arrays[f"{prefix}input_ids"])
        for i, (chat, conversation) in enumerate(answers):
            for start, end in response_ranges(chat, conversation):
                response_mask[i, starts[i] + start : starts[i] + end] = 1
        arrays[f"{prefix}response_mask"] = response_mask
        return arrays


def _no_pairs(width: int) -> Arrays:
    """The keys of a batch with pairs, for none."""
    names = [
        f"dpo_{answer}_{name}"
        for answer in ("chosen", "rejected")
        for name in ("input_ids", "attention_mask", "response_mask")
    ]
    none = {name: np.zeros((0, width), dtype=np.int64) for name in names}
    return {**none, "dpo_pair_trace": np.zeros(0, dtype=np.int64)}
