"""Traces → the tensors of a self-distillation loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from chatspan import prefix_delta
from chatspan.config import CollatorConfig
from chatspan.errors import AlignmentError, BackendError, TokenizerError
from chatspan.layouts import Encoded, Ints, Row, Side, aligned_row, placeholder_row, plain_row
from chatspan.provenance_route import ProvenanceRoute, is_fast
from chatspan.replay import ReplayPair, read_pairs, response_ranges
from chatspan.traces import Conversation, Trace, read_traces

Batch = dict[str, torch.Tensor]


class ComposerDataCollator:
    """Builds the batch of a self-distillation trainer (SDPO, arXiv 2601.20802; OPSD, arXiv 2601.18734) from traces.

    Called with a list of traces ``{"trace_id", "turns": [{"role", "content", "tool_call"?, "tool_error"?,
    "error_meta"?}], "tools"?, "chat_template_kwargs"?, "dpo_pairs"?}``. An assistant turn with a ``tool_error`` and a
    content is an *error site*: the teacher sees a hint before it, the student does not.

    Args:
        tokenizer: any HF fast tokenizer with a chat template; or one that has only ``__call__`` →
            ``{"input_ids"}``, ``apply_chat_template(messages, tokenize=True, **kwargs)`` → ids and ``pad_token_id``,
            which is slower (see :mod:`chatspan.prefix_delta`).
        config: what to do with traces.

    Returns (of a call):
        int64 tensors ``[B, T]``, padded on the right with the pad id (the eos id where there is none):
        ``input_ids``, ``attention_mask``, ``position_ids``, ``response_mask`` (1 on the tokens of assistants'
        contents), and, if any row has an error site, ``ctx_teacher_input_ids``, ``ctx_teacher_attention_mask``,
        ``ctx_teacher_position_ids`` and ``sdpo_loss_mask`` (1 on the recovery's content tokens, where both sides
        have equal ids). Masks stand at the positions of ``input_ids``, unshifted. With ``enable_replay_dpo`` also
        ``dpo_chosen_…`` and ``dpo_rejected_…`` (``input_ids``, ``attention_mask``, ``response_mask``, ``[P, T']``)
        and ``dpo_pair_trace`` ``[P]``, if any trace has pairs.

    Raises:
        ChatspanError: one of its kinds, with ``trace_id`` and ``turn_index``.
        BackendError: (when made) ``backend="native"`` cannot be.

    Attributes:
        routes: how many conversations went which way (``"provenance"``, ``"prefix_delta"``).

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

    def __init__(self, tokenizer: Any, config: CollatorConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.routes: Counter[str] = Counter()
        self._pad_id = _pad_id(tokenizer)
        self._route = None
        if is_fast(tokenizer):
            self._route = ProvenanceRoute(tokenizer, config.straddle, config.backend)
        if config.backend == "native":
            self.warm_up()

    def warm_up(self) -> None:
        """Loads the native tokenizer now, as before worker processes are forked that would else load one each.

        Raises:
            BackendError: with ``backend="native"``, if it cannot be native; with the reason.
        """
        if self._route is not None:
            self._route.backends.wait()
        elif self.config.backend == "native":
            raise BackendError(f"{type(self.tokenizer).__name__} is no HF fast tokenizer")

    def __call__(self, traces: Sequence[Mapping[str, Any]]) -> Batch:
        checked = read_traces(traces, self.config)
        pairs = read_pairs(traces) if self.config.enable_replay_dpo else []
        batch = self._batch(self._rows(checked))
        if pairs:
            batch.update(self._replay(pairs))
        return batch

    def _encode(self, conversations: Sequence[Conversation]) -> list[Encoded]:
        if self._route is not None:
            chats = self._route.encode_chats(conversations)
        else:
            chats = [prefix_delta.encode_chat(self.tokenizer, conversation) for conversation in conversations]
        self.routes.update(chat.route for chat in chats)
        return [Encoded(conversation, chat) for conversation, chat in zip(conversations, chats, strict=True)]

    def _rows(self, traces: Sequence[Trace]) -> list[Row]:
        """Every conversation of the batch goes through the tokenizer in one call, which may use all cores."""
        aligned = self.config.layout == "aligned"
        teachers = {i: self._teacher(trace) for i, trace in enumerate(traces) if trace.error_sites}
        students = {i: trace.plain for i, trace in enumerate(traces) if aligned or i not in teachers}
        encoded = iter(self._encode([*students.values(), *teachers.values()]))
        student_of = {i: next(encoded) for i in students}
        teacher_of = {i: next(encoded) for i in teachers}
        rows = []
        for i, trace in enumerate(traces):
            if i not in teachers:
                rows.append(plain_row(student_of[i].chat))
            elif aligned:
                rows.append(aligned_row(trace.error_sites, student_of[i], teacher_of[i]))
            else:
                rows.append(self._placeholder_row(trace, teacher_of[i]))
        return rows

    def _teacher(self, trace: Trace) -> Conversation:
        return trace.with_hints([site.hint for site in trace.error_sites], self.config)

    def _placeholder_row(self, trace: Trace, teacher: Encoded) -> Row:
        def encode_with(texts: Sequence[str]) -> Encoded:
            return self._encode([trace.with_hints(texts, self.config)])[0]

        return placeholder_row(trace.error_sites, teacher, encode_with)

    def _batch(self, rows: Sequence[Row]) -> Batch:
        width = max(row.width for row in rows)
        batch = self._side_tensors("", [row.student for row in rows], width)
        response_mask = np.zeros((len(rows), width), dtype=np.int64)
        for i, row in enumerate(rows):
            ranges = [span for spans in row.student.chat.content_tokens for span in spans]
            response_mask[i, row.student.columns_of(ranges)] = 1
        batch["response_mask"] = response_mask
        if any(row.teacher is not None for row in rows):
            batch |= self._side_tensors("ctx_teacher_", [row.teacher or row.student for row in rows], width)
            loss_mask = np.full((len(rows), width), self.config.sdpo_ignore_index, dtype=np.int64)
            for i, row in enumerate(rows):
                loss_mask[i, row.student.columns_of(row.student.blocks)] = 1
            batch["sdpo_loss_mask"] = loss_mask
            _require_equal_ids(batch)
        return {key: torch.from_numpy(array) for key, array in batch.items()}

    def _side_tensors(self, prefix: str, sides: Sequence[Side], width: int) -> dict[str, Ints]:
        input_ids = np.full((len(sides), width), self._pad_id, dtype=np.int64)
        attention_mask = np.zeros_like(input_ids)
        for i, side in enumerate(sides):
            input_ids[i, side.columns] = side.chat.input_ids
            attention_mask[i, side.columns] = 1
        return {
            f"{prefix}input_ids": input_ids,
            f"{prefix}attention_mask": attention_mask,
            # The positions of the visible tokens have no gaps; a hole repeats the one before it.
            f"{prefix}position_ids": np.maximum(attention_mask.cumsum(axis=1) - 1, 0),
        }

    def _replay(self, pairs: Sequence[ReplayPair]) -> Batch:
        answers = iter(self._encode([answer for pair in pairs for answer in (pair.chosen, pair.rejected)]))
        chosen, rejected = zip(*((next(answers), next(answers)) for _ in pairs), strict=True)
        batch = self._answer_tensors("dpo_chosen_", chosen) | self._answer_tensors("dpo_rejected_", rejected)
        batch["dpo_pair_trace"] = torch.tensor([pair.row for pair in pairs], dtype=torch.int64)
        return batch

    def _answer_tensors(self, prefix: str, answers: Sequence[Encoded]) -> Batch:
        rows = [plain_row(answer.chat) for answer in answers]
        tensors = self._side_tensors(prefix, [row.student for row in rows], max(row.width for row in rows))
        del tensors[f"{prefix}position_ids"]  # padded on the right only, so they are the columns
        tensors[f"{prefix}response_mask"] = np.zeros_like(tensors[f"{prefix}input_ids"])
        for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            ranges = response_ranges(answer.chat, answer.conversation)
            tensors[f"{prefix}response_mask"][i, row.student.columns_of(ranges)] = 1
        return {key: torch.from_numpy(array) for key, array in tensors.items()}


def _require_equal_ids(batch: dict[str, Ints]) -> None:
    """The promise of the batch, checked on what is returned: equal, visible ids wherever the loss is."""
    in_loss = batch["sdpo_loss_mask"] == 1
    equal = batch["input_ids"] == batch["ctx_teacher_input_ids"]
    visible = (batch["attention_mask"] & batch["ctx_teacher_attention_mask"]) == 1
    wrong = np.argwhere(in_loss & ~(equal & visible))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise AlignmentError(f"row {row}: student and teacher have other ids in the in-loss column {column}")


def _pad_id(tokenizer: Any) -> int:
    for name in ("pad_token_id", "eos_token_id"):
        token_id = getattr(tokenizer, name, None)
        if token_id is not None:
            return int(token_id)
    raise TokenizerError("the tokenizer has neither a pad nor an eos token to fill rows with: set tokenizer.pad_token")
