"""A teacher's top-k as it was received → the known entries of its distributions at the in-loss tokens, checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from chatspan.errors import LossError
from chatspan.loss.divergence import KnownEntries, dtype_inside
from chatspan.loss.in_loss import Check, InLoss

# By how much a log-probability, or a sum of probabilities, may be over what it can be: servers may round to bfloat16.
_ROUNDING = 1e-2


class TopK:
    """A teacher's top-k of a batch.

    Args:
        log_probs: floats ``[B, R, K]``, -inf where there is none.
        ids: int64 or int32 ``[B, R, K]``; -1, or any other, where there is none.
        student: logits or hidden states, on whose device and in whose precision it is computed.
        vocabulary: how many entries the student has.

    Raises:
        LossError: they are no tensors of one shape and these types.
    """

    def __init__(self, log_probs: Any, ids: Any, student: Tensor, vocabulary: int) -> None:
        for name, given in (("teacher_topk_logprobs", log_probs), ("teacher_topk_ids", ids)):
            if not isinstance(given, Tensor) or (given.is_meta and not student.is_meta):
                what = "a meta tensor" if isinstance(given, Tensor) else type(given).__name__
                raise LossError(
                    f"{name} is {what}, not a tensor of numbers: pass a torch tensor [B, R, K] (of an array, "
                    "torch.from_numpy(array))"
                )
        if log_probs.dim() != 3 or not log_probs.is_floating_point() or log_probs.shape[2] == 0:
            shown = f"{log_probs.dtype} {list(log_probs.shape)}"
            raise LossError(
                f"teacher_topk_logprobs are {shown}: expected floats [B, R, K], at least one entry per token"
            )
        if ids.dtype not in (torch.int64, torch.int32) or ids.shape != log_probs.shape:
            raise LossError(
                f"teacher_topk_ids are {ids.dtype} {list(ids.shape)}, and teacher_topk_logprobs are "
                f"{list(log_probs.shape)}: expected int64 of the same shape"
            )
        # In float32 or wider: half precision cannot sum probabilities.
        self._log_probs = log_probs.detach().to(student.device, dtype_inside(student))
        self._ids = ids.to(student.device, torch.int64)
        self._vocabulary = vocabulary

    def checks(self, shape: tuple[int, int], rows: Tensor, entries: Tensor) -> Iterator[Check]:
        """What has to hold at each in-loss token of a batch ``[B, R]``.

        Raises:
            LossError: there are not as many rows or entries.
        """
        if tuple(self._log_probs.shape[:2]) != shape:
            raise LossError(
                f"teacher_topk_logprobs are {list(self._log_probs.shape)}, but batch['student_logit_idx'] is "
                f"{list(shape)}: pass K entries for each in-loss token, [B, R, K]"
            )
        log_probs, ids = self._log_probs[rows, entries], self._ids[rows, entries]
        missing = log_probs == -torch.inf

        def must(wrong: Tensor, what: str) -> Check:
            def problem(n: int) -> str:
                at = int(wrong[n].nonzero()[0, 0])
                shown = f"id {int(ids[n, at])} and log-prob {log_probs[n, at].item():.6g}"
                return f"entry {at} of the teacher's top-k has {shown}: {what}"

            return ~wrong.any(-1), problem

        yield must(log_probs.isnan(), "expected a number, or -inf where there is none")
        yield must(log_probs > _ROUNDING, "pass log-probs, which are at most 0, and not logits or probabilities")
        yield must(~missing & ids.lt(0), "pass an id of 0 or more, and log-prob -inf where there is none")
        yield must(
            ~missing & ids.ge(self._vocabulary),
            f"the student has {self._vocabulary} entries, ids 0 to {self._vocabulary - 1}; pass the top-k of a teacher "
            "of the same vocabulary",
        )
        yield must(_repeated(ids, missing), "an earlier entry has the same id; pass each once")
        mass = _mass(log_probs)
        yield (
            mass <= 1 + _ROUNDING,
            lambda n: (
                f"the probabilities of the teacher's top-k sum to {mass[n].item():.4g}, which is over 1: pass the "
                "log-probs of one distribution over the whole vocabulary"
            ),
        )
        yield (
            ~missing.all(-1),
            lambda _: "the teacher's top-k has no entry: pass at least one for each token in response_idx_mask",
        )

    def known(self, in_loss: InLoss) -> tuple[KnownEntries, Tensor]:
        """The entries at the N tokens, and their mass ``[N]``; after the checks."""
        at = in_loss.places.rows, in_loss.entries
        log_probs, ids = self._log_probs[at], self._ids[at]
        missing = log_probs == -torch.inf
        first = (~missing).to(torch.int32).argmax(-1, keepdim=True)
        source = torch.where(missing, first, torch.arange(ids.shape[-1], device=ids.device))
        kept = log_probs.clamp(max=0).masked_fill(missing, torch.finfo(log_probs.dtype).min)
        return KnownEntries(kept, ids.gather(-1, source), missing, source), _mass(log_probs)


def _mass(log_probs: Tensor) -> Tensor:
    return log_probs.exp().sum(-1)


def _repeated(ids: Tensor, missing: Tensor) -> Tensor:
    """Which entries have the id of an earlier one, those that are missing left out."""
    apart = -1 - torch.arange(ids.shape[-1], device=ids.device)
    ordered, order = torch.where(missing, apart, ids).sort(dim=-1, stable=True)
    again = torch.zeros_like(missing)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return torch.zeros_like(missing).scatter(-1, order, again)
