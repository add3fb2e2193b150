"""What the loss takes from a batch: where its tokens are and what they weigh, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chatspan.errors import LossError
from chatspan.loss.divergence import Places
from chatspan.options import require_switch

Batch = Mapping[str, Tensor]
# Where something holds, bool ``[N]``, and what the error says of an in-loss token where it does not.
Check = tuple[Tensor, Callable[[int], str]]
# Of a batch's B and R and the N tokens' rows and entries, what else has to hold at them.
Checks = Callable[[tuple[int, int], Tensor, Tensor], Iterable[Check]]

_FIRST = "student_logit_idx"
# What a shard of a batch has, see chatspan.shard_batch.
_OF_SHARD = "shard_columns"


@dataclass(frozen=True)
class InLoss:
    """The N in-loss tokens of a batch.

    Attributes:
        shape: B and R.
        places: where their logits are; with the tokens' ids if importance weights are asked for.
        entries: int64 ``[N]``, their index in the R.
        weights: ``[N]``.
        old_log_probs: ``[N]``, if importance weights are asked for.
        groups: int64 ``[N]``, which row's or packed conversation's each is, a number below ``group_count``.
        is_shard: whether they are those of one process's columns alone, of a larger batch.
    """

    shape: tuple[int, int]
    places: Places
    entries: Tensor
    weights: Tensor
    old_log_probs: Tensor | None
    groups: Tensor
    group_count: int
    is_shard: bool = False

    def place(self, token: int) -> str:
        """Where one of the N is, for errors."""
        return f"row {int(self.places.rows[token])}, in-loss token {int(self.entries[token])}"


@dataclass(frozen=True)
class Given:
    """What both sides are given as.

    Attributes:
        what: as errors call it: ``"logits"``, ``"hidden"``.
        vocabulary: how many entries the logits have.
        gathered: whether there is a column for each in-loss token, ``[B, R, …]``, and no other.
        teacher_gathered: whether this is so of the teacher, whatever the student's are.
    """

    what: str
    vocabulary: int
    gathered: bool = False
    teacher_gathered: bool = False

    def __post_init__(self) -> None:
        require_switch("gathered", self.gathered)


def read_in_loss(
    student: Tensor,
    teacher: Tensor,
    batch: Batch,
    dtype: torch.dtype,
    given: Given,
    *,
    importance: bool,
    also: Checks | None = None,
) -> InLoss:
    """Reads and checks what the loss needs; other keys of the batch are not looked at.

    Costs two waits for the device: one for the number of in-loss tokens, one for all checks of their values.

    Args:
        student, teacher: logits or hidden states, ``[B, T, …]``.
        batch: see :func:`chatspan.loss.sdpo_loss`. On any device.
        dtype: of the weights.
        importance: whether ``old_log_probs`` and the tokens' ids are needed.
        also: what else has to hold at the tokens.

    Raises:
        LossError: a key that is missing; shapes, dtypes or values that cannot be; with row and entry.
    """
    return _Reader(student, teacher, batch, given, importance).read(dtype, also)


def require_logits(student: Any, teacher: Any, batch: Any, what: str = "logits") -> None:
    """What the loss is given is of the right types and shapes.

    Args:
        what: they are: ``"logits"``, or ``"hidden"`` states.

    Raises:
        LossError: it is not; with what to give.
    """
    require_tensor(student, f"student_{what}", what)
    require_tensor(teacher, f"teacher_{what}", what)
    require_batch(batch)
    require_shape(student, f"student_{what}", what)
    require_shape(teacher, f"teacher_{what}", what)
    _check_sides(student, teacher, what)


def require_tensor(given: Any, name: str, what: str) -> None:
    """It is a tensor.

    Raises:
        LossError: it is not; with what to give.
    """
    if isinstance(given, Tensor):
        return
    received = type(given).__name__
    if hasattr(given, "logits") or (isinstance(given, Mapping) and "logits" in given):
        part = "its logits, output.logits" if what == "logits" else "its last hidden states"
        raise LossError(f"{name} is {received}, the whole output of a model: pass {part}")
    raise LossError(f"{name} is {received}, not a tensor: pass a torch tensor (of an array, torch.from_numpy(array))")


def require_batch(batch: Any) -> None:
    """It is one of self-distillation.

    Raises:
        LossError: it is not; with what to give.
    """
    if not hasattr(batch, "keys"):
        raise LossError(f"batch is {type(batch).__name__}: pass the dict that a distillation collator makes")
    if _FIRST not in batch and "labels" in batch:
        raise LossError(
            f"the batch has no {_FIRST!r}, but 'labels': it is one of supervised fine-tuning; pass the batch of "
            "ComposerDataCollator or SelfDistillationCollator"
        )


def require_shape(given: Tensor, name: str, what: str) -> None:
    """They are floats of three dimensions.

    Raises:
        LossError: they are not; with what to give.
    """
    if given.dim() == 4:
        raise LossError(
            f"{name} are {list(given.shape)}: this version of transformers takes no indices [B, R] for "
            "logits_to_keep; use 5.22 or later, or the logits of all columns"
        )
    if given.dim() != 3 or not given.is_floating_point():
        last = "V" if what == "logits" else "H"
        raise LossError(f"{name} are {given.dtype} {list(given.shape)}: expected floats [B, T, {last}]")


def _check_sides(student: Tensor, teacher: Tensor, what: str) -> None:
    if what == "logits" and student.shape[2] != teacher.shape[2]:
        raise LossError(
            f"the student's vocabulary has {student.shape[2]} entries and the teacher's {teacher.shape[2]}: "
            "cut the logits to the common ones, or use models of one vocabulary"
        )
    if student.shape[0] != teacher.shape[0]:
        raise LossError(f"student_{what} have {student.shape[0]} rows and teacher_{what} {teacher.shape[0]}")
    if student.device != teacher.device:
        raise LossError(f"student_{what} are on {student.device} and teacher_{what} on {teacher.device}: move one")


class _Reader:
    """Collects what can only be checked on the device, to ask the device once."""

    def __init__(self, student: Tensor, teacher: Tensor, batch: Batch, given: Given, importance: bool) -> None:
        self.student, self.teacher, self.batch, self.importance = student, teacher, batch, importance
        self.given = given
        self.is_shard = _OF_SHARD in batch
        self.device = student.device
        self.shape = self._shape()
        mask = self._get("response_idx_mask", self.shape)
        if mask.dtype is not torch.bool:
            raise LossError(f"batch['response_idx_mask'] is {mask.dtype}: expected bool")
        self.rows, self.entries = mask.nonzero(as_tuple=True)
        self.checks: list[Check] = []

    def _seen(self) -> None:
        """A batch of the collator without masks, which the model then had not either, was read with holes in it."""
        for prefix in ("", "ctx_teacher_"):
            masks = {f"{prefix}attention_mask", f"{prefix}cu_seq_lens_q"}
            if f"{prefix}position_ids" in self.batch and masks.isdisjoint(self.batch):
                raise LossError(
                    f"the batch has '{prefix}position_ids', but no '{prefix}attention_mask': without it the "
                    "model sees holes and padding; pass it to the model, and leave it in the batch"
                )

    def read(self, dtype: torch.dtype, also: Checks | None) -> InLoss:
        """All of it; errors come last, from :meth:`_check`."""
        self._seen()
        student = self._places("student", self.student.shape[1])
        teacher = self._places("teacher", self.teacher.shape[1])
        self._no_place_twice(student)
        self._equal_tokens()
        weights = self._weights(dtype)
        groups, group_count = self._groups()
        tokens, old_log_probs = None, None
        if self.importance:
            tokens = self._tokens(self.given.vocabulary)
            old_log_probs = self._get("old_log_probs", self.shape)[self.rows, self.entries]
        for holds, problem in also(self.shape, self.rows, self.entries) if also is not None else ():
            self._must(holds, problem)
        self._check()
        places = Places(self.rows, student, teacher, tokens)
        return InLoss(self.shape, places, self.entries, weights, old_log_probs, groups, group_count, self.is_shard)

    def _places(self, side: str, width: int) -> Tensor:
        """The columns at which a side predicts the in-loss tokens."""
        if side == "teacher" and self.given.teacher_gathered:
            return self.entries
        if not self.given.gathered:
            what = f"{side}_{self.given.what} have {{}} columns"
            if self.is_shard and side == "teacher":
                what += ": they are in another process; gather them as docs/distillation.md does, and use gathered=True"
            return self._columns(f"{side}_logit_idx", width, what)
        if width != self.shape[1]:
            raise LossError(
                f"{side}_{self.given.what} have {width} columns, but batch[{_FIRST!r}] has {self.shape[1]}: with "
                f'gathered=True pass one for each in-loss token, as logits_to_keep=batch["{side}_logit_idx"] makes them'
            )
        return self.entries

    def _shape(self) -> tuple[int, int]:
        indices = self._get(_FIRST)
        rows = len(self.student)
        if indices.dim() != 2 or len(indices) != rows:
            raise LossError(
                f"batch[{_FIRST!r}] is {list(indices.shape)}, but the logits have {rows} rows: expected [B, R]"
            )
        return rows, indices.shape[1]

    def _get(self, key: str, shape: tuple[int, int] | None = None) -> Tensor:
        if key not in self.batch:
            hint = "is_clip needs it" if key == "old_log_probs" else "the loss finds its tokens by it"
            raise LossError(f"the batch has no {key!r}: {hint}")
        value = self.batch[key]
        if not isinstance(value, Tensor) or (value.is_meta and not self.student.is_meta):
            what = "a meta tensor" if isinstance(value, Tensor) else type(value).__name__
            raise LossError(f"batch[{key!r}] is {what}, not a tensor of numbers: pass the batch of a collator")
        if shape is not None and tuple(value.shape) != shape:
            raise LossError(f"batch[{key!r}] is {list(value.shape)}, but batch[{_FIRST!r}] is {list(shape)}")
        return value.to(self.device)

    def _must(self, holds: Tensor, problem: Callable[[int], str]) -> None:
        self.checks.append((~holds, problem))

    def _check(self) -> None:
        if len(self.rows) == 0 or not torch.stack([wrong.any() for wrong, _ in self.checks]).any():
            return
        for wrong, problem in self.checks:
            if wrong.any():
                first = int(wrong.nonzero()[0, 0])
                place = f"row {int(self.rows[first])}, in-loss token {int(self.entries[first])}"
                raise LossError(f"{place}: {problem(first)}")

    def _columns(self, key: str, width: int, what: str) -> Tensor:
        """Columns at the in-loss tokens; those that are out of range are clamped until the check refuses them."""
        indices = self._get(key, self.shape)
        if indices.dtype not in (torch.int64, torch.int32):
            raise LossError(f"batch[{key!r}] is {indices.dtype}: expected int64")
        columns = indices[self.rows, self.entries].long()
        what = what.format(width)
        self._must(columns.ge(0) & columns.lt(width), lambda n: f"{key} is {int(columns[n])}, but {what}")
        return columns.clamp(0, max(width - 1, 0))

    def _no_place_twice(self, columns: Tensor) -> None:
        """The gradient is written once for each place."""
        ordered, order = (self.rows * self.student.shape[1] + columns).sort(stable=True)
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[order[1:]] = ordered[1:] != ordered[:-1]
        self._must(first, lambda n: f"student_logit_idx has column {int(columns[n])} twice")

    def _at_tokens(self, key: str, index_key: str) -> Tensor:
        """``batch[key]``, ``[B, T]``, at the columns of the tokens themselves.

        The columns of a shard's tokens may be in another process: it has what is there beside its columns.
        """
        own = f"{index_key.removesuffix('_idx')}_{key.removeprefix('ctx_teacher_')}"
        if self.is_shard:
            return self._get(own, self.shape)[self.rows, self.entries]
        values = self._get(key)
        if values.dim() != 2 or len(values) != self.shape[0]:
            raise LossError(f"batch[{key!r}] is {list(values.shape)}: expected [{self.shape[0]}, T]")
        columns = self._columns(index_key, values.shape[1], f"{key} has {{}} columns")
        return values[self.rows, columns]

    def _tokens(self, vocabulary: int) -> Tensor:
        tokens = self._at_tokens("input_ids", "student_response_idx")
        self._must(
            tokens.ge(0) & tokens.lt(vocabulary),
            lambda n: f"input_ids has token {int(tokens[n])}, outside of the {vocabulary} logits",
        )
        return tokens.clamp(0, vocabulary - 1)

    def _equal_tokens(self) -> None:
        """Where ids are at hand: a batch whose sides are out of step trains on noise, quietly."""
        needed = ("input_ids", "student_response_idx", "ctx_teacher_input_ids", "teacher_response_idx")
        if self.is_shard or all(key in self.batch for key in needed):
            student = self._at_tokens(*needed[:2])
            teacher = self._at_tokens(*needed[2:])
            self._must(
                student == teacher,
                lambda n: f"the student has token {int(student[n])} and the teacher {int(teacher[n])}",
            )

    def _weights(self, dtype: torch.dtype) -> Tensor:
        if "sdpo_loss_weight" not in self.batch:
            return torch.ones(len(self.rows), dtype=dtype, device=self.device)
        weights = self._at_tokens("sdpo_loss_weight", "student_response_idx").to(dtype)
        self._must(
            weights.isfinite() & (weights >= 0),
            lambda n: f"sdpo_loss_weight is {weights[n].item()}: expected a finite number of 0 or more",
        )
        return weights

    def _groups(self) -> tuple[Tensor, int]:
        if "seq_idx" not in self.batch or self.is_shard:
            return self.rows, self.shape[0]
        # No more conversations than columns, and counting them would be one more wait for the device.
        width = self.batch["seq_idx"].shape[-1]
        conversations = self._at_tokens("seq_idx", "student_response_idx").long()
        self._must(
            conversations.ge(0) & conversations.lt(width),
            lambda n: f"seq_idx is {int(conversations[n])} in a row of {width} columns",
        )
        return self.rows * width + conversations.clamp(0, max(width - 1, 0)), self.shape[0] * width
