"""TRL's ``ServerDistillationTrainer`` with a served teacher that scores other tokens than the student sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from chatspan.errors import LossError
from chatspan.trl.distillation import DistillationMixin
from chatspan.trl.hooks import Hooks

_IGNORED = -100
# What TRL's client answers for each in-loss token, by the name under which its trainer takes it; the second is what
# stands where nothing was asked.
_ANSWERS = {
    "actual_logprobs": ("actual_logprobs", float("-inf"), torch.float32),
    "topk_logprobs": ("logprobs", float("-inf"), torch.float32),
    "topk_token_ids": ("logprob_token_ids", 0, torch.int64),
}


class ServerDistillationMixin(DistillationMixin):
    """Makes the server of TRL's ``ServerDistillationTrainer`` score the teacher's own side.

    In a class of both, ``class Trainer(ServerDistillationMixin, ServerDistillationTrainer)``. The server gets the
    teacher's ids up to the last in-loss token, and its log-probs are taken at the teacher's own positions. The ids that
    it scored have to be the student's. The loss is TRL's, but is on the in-loss tokens alone: TRL's own leaves out
    ``tool_mask``, so that results of tools are trained.

    Args, rows and errors are those of :class:`chatspan.trl.DistillationMixin`.

    Example:
        >>> from chatspan.trl import ServerDistillationMixin
        >>> from trl.experimental.server_distillation import ServerDistillationTrainer  # doctest: +SKIP
        >>> class Trainer(ServerDistillationMixin, ServerDistillationTrainer):  # doctest: +SKIP
        ...     pass
        >>> trainer = Trainer(student, config, rows, processing_class=tokenizer)  # doctest: +SKIP
    """

    _BASE: ClassVar[str] = "ServerDistillationTrainer"
    _HOOKS: ClassVar[Hooks] = {
        "_prepare_inputs": ("generation_batch",),
        "_generate_and_score_completions": ("inputs",),
        "_get_teacher_token_logprobs_from_server": ("inputs", "aligned_prompt_length"),
        "_compute_server_forward_kl_loss": ("teacher_result", "student_log_probs", "labels"),
        "_compute_server_sparse_top_1_divergence_loss": (
            "teacher_result",
            "student_log_probs",
            "completion_tokens",
            "labels",
        ),
    }
    teacher_client: Any
    loss_top_k: int
    temperature: float

    def _get_teacher_token_logprobs_from_server(
        self, inputs: Mapping[str, Any], aligned_prompt_length: int
    ) -> dict[str, Tensor]:
        """The server's answers in the student's columns from ``aligned_prompt_length`` on, and where the loss is."""
        in_loss = inputs["completion_mask"] * inputs.get("tool_mask", 1) == 1
        offset = inputs["prompt_ids"].shape[1] - aligned_prompt_length
        found = {name: self._empty(name, in_loss, offset) for name in _ANSWERS}
        asked = [row for row in range(len(in_loss)) if in_loss[row].any()]
        if asked:
            ids = [inputs["completion_ids"][row][in_loss[row]].tolist() for row in asked]
            places = [_places(inputs, row, in_loss[row]) for row in asked]
            answers = self._ask([sequence for sequence, _ in places], [at for _, at in places], ids, asked)
            for row, answer in zip(asked, answers, strict=True):
                columns = offset + in_loss[row].nonzero()[:, 0]
                for name, values in answer.items():
                    found[name][row, columns] = values.to(found[name].device)
        before = in_loss.new_zeros(len(in_loss), offset)
        return {**found, "in_loss": torch.cat([before, in_loss], dim=1)}

    def _empty(self, name: str, in_loss: Tensor, offset: int) -> Tensor:
        _, value, dtype = _ANSWERS[name]
        shape = (len(in_loss), offset + in_loss.shape[1], self.loss_top_k)
        return torch.full(shape if name.startswith("topk") else shape[:2], value, dtype=dtype, device=in_loss.device)

    def _ask(
        self,
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        ids: Sequence[Sequence[int]],
        rows: Sequence[int],
    ) -> list[dict[str, Tensor]]:
        """Of each sequence what the server says of the tokens at its positions, which have to be these ids."""
        firsts = [min(at) for at in positions]
        result = self.teacher_client.get_sequence_logprobs(
            sequences=list(sequences),
            prompt_lengths=firsts,
            top_logprobs=self.loss_top_k,
            temperature=self.temperature,
        )
        found = []
        for index, (at, first, expected, row) in enumerate(zip(positions, firsts, ids, rows, strict=True)):
            scored = [own for [own] in result["actual_token_ids"][index]]
            chosen = [position - first for position in at]
            if len(scored) <= max(chosen) or [scored[position] for position in chosen] != list(expected):
                raise LossError(
                    f"row {row}: the teacher's server scored {len(scored)} tokens from {first} on, which are not the "
                    "in-loss tokens of the student: serve the teacher with the student's tokenizer"
                )
            answer = {}
            for name, (key, _, dtype) in _ANSWERS.items():
                values = [result[key][index][position] for position in chosen]
                tensor = torch.tensor(values, dtype=dtype)
                answer[name] = tensor if name.startswith("topk") else tensor[:, 0]
            found.append(answer)
        return found

    def _compute_server_forward_kl_loss(
        self, teacher_result: Mapping[str, Tensor], student_log_probs: Tensor, labels: Tensor
    ) -> Tensor:
        trainer: Any = super()
        labels = labels.masked_fill(~teacher_result["in_loss"], _IGNORED)
        found: Tensor = trainer._compute_server_forward_kl_loss(teacher_result, student_log_probs, labels)
        return found

    def _compute_server_sparse_top_1_divergence_loss(
        self,
        teacher_result: Mapping[str, Tensor],
        student_log_probs: Tensor,
        completion_tokens: Tensor,
        labels: Tensor,
    ) -> Tensor:
        trainer: Any = super()
        labels = labels.masked_fill(~teacher_result["in_loss"], _IGNORED)
        found: Tensor = trainer._compute_server_sparse_top_1_divergence_loss(
            teacher_result, student_log_probs, completion_tokens, labels
        )
        return found


def _places(inputs: Mapping[str, Any], row: int, in_loss: Tensor) -> tuple[list[int], list[int]]:
    """The teacher's ids of a row up to the last in-loss token, and where these stand among them."""
    seen = inputs["teacher_attention_mask"][row] == 1
    positions = seen.cumsum(0) - 1
    at = (positions[inputs["teacher_logit_idx"][row][in_loss]] + 1).tolist()
    return inputs["teacher_input_ids"][row][seen][: max(at) + 1].tolist(), at
