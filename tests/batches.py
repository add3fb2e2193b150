"""Reading batches as text, and what must hold of each."""

from __future__ import annotations

from typing import Any

import torch

Batch = dict[str, torch.Tensor]


def text_of(tokenizer: Any, ids: torch.Tensor, mask: torch.Tensor) -> str:
    """The text of the tokens where the mask is 1."""
    return tokenizer.decode(ids[mask == 1], clean_up_tokenization_spaces=False)


def student_text(tokenizer: Any, batch: Batch, row: int) -> str:
    return text_of(tokenizer, batch["input_ids"][row], batch["attention_mask"][row])


def teacher_text(tokenizer: Any, batch: Batch, row: int) -> str:
    return text_of(tokenizer, batch["ctx_teacher_input_ids"][row], batch["ctx_teacher_attention_mask"][row])


def responses(tokenizer: Any, batch: Batch, row: int) -> list[str]:
    """The text of each stretch of the response mask, holes passed over."""
    seen = batch["attention_mask"][row] == 1
    return stretches(tokenizer, batch["input_ids"][row][seen], batch["response_mask"][row][seen])


def recoveries(tokenizer: Any, batch: Batch, row: int) -> list[str]:
    """The text of each stretch of the loss mask."""
    return stretches(tokenizer, batch["input_ids"][row], batch["sdpo_loss_mask"][row])


def stretches(tokenizer: Any, ids: torch.Tensor, mask: torch.Tensor) -> list[str]:
    starts = [i for i in range(len(mask)) if mask[i] == 1 and (i == 0 or mask[i - 1] != 1)]
    texts = []
    for start in starts:
        end = next((i for i in range(start, len(mask)) if mask[i] != 1), len(mask))
        texts.append(tokenizer.decode(ids[start:end], clean_up_tokenization_spaces=False))
    return texts


# Of other types than int64.
DTYPES = {"sdpo_loss_weight": torch.float32, "in_loss_weight": torch.float32, "response_idx_mask": torch.bool}


def check(batch: Batch, *, holes: bool = True) -> None:
    """What every padded batch promises: shapes, dtypes, positions, and equal ids wherever the loss is.

    Args:
        holes: whether both sides have one shape, as in the layouts ``aligned`` and ``placeholder``.
    """
    assert all(tensor.dtype == DTYPES.get(key, torch.int64) for key, tensor in batch.items())
    shape = batch["input_ids"].shape
    sides = [""] + ["ctx_teacher_"] * ("ctx_teacher_input_ids" in batch)
    for prefix in sides:
        ids, attention, positions = (
            batch[f"{prefix}{name}"] for name in ("input_ids", "attention_mask", "position_ids")
        )
        assert ids.shape == attention.shape == positions.shape
        assert ids.shape == shape or not holes
        for row in range(shape[0]):
            seen = attention[row] == 1
            assert positions[row][seen].tolist() == list(range(int(seen.sum())))
            assert 0 <= int(positions[row].min()) <= int(positions[row].max()) < ids.shape[1]
        if not holes:
            # A plain row: its tokens stand side by side.
            assert (attention.diff(dim=1).abs().sum(dim=1) <= 1).all()
    assert not (batch["response_mask"] & ~batch["attention_mask"] & 1).any()
    if len(sides) == 1:
        assert "sdpo_loss_mask" not in batch
        return
    check_loss(batch)
    if holes:
        seen = batch["attention_mask"] + batch["ctx_teacher_attention_mask"]
        assert (seen.sum(0) > 0).all()
        in_loss = batch["sdpo_loss_mask"] == 1
        assert torch.equal(batch["input_ids"][in_loss], batch["ctx_teacher_input_ids"][in_loss])
        # The column in front of each in-loss column predicts it, so both sides see it.
        before = in_loss.roll(-1, dims=1)
        before[:, -1] = False
        assert (batch["attention_mask"][before | in_loss] == 1).all()
        assert (batch["ctx_teacher_attention_mask"][before | in_loss] == 1).all()


def check_loss(batch: Batch) -> None:
    """The indices of the in-loss tokens say what the masks say, and ids are equal."""
    real = batch["response_idx_mask"]
    row, _ = torch.nonzero(real, as_tuple=True)
    student, teacher = batch["student_response_idx"][real], batch["teacher_response_idx"][real]
    in_loss = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    in_loss[row, student] = True
    assert torch.equal(in_loss, batch["sdpo_loss_mask"] == 1)
    assert torch.equal(in_loss, batch["sdpo_loss_weight"] > 0)
    assert in_loss.sum() == len(student)
    assert torch.equal(batch["input_ids"][row, student], batch["ctx_teacher_input_ids"][row, teacher])
    for prefix, side, at in (("", "student", student), ("ctx_teacher_", "teacher", teacher)):
        before = batch[f"{side}_logit_idx"][real]
        assert torch.equal(before, at - 1)
        positions = batch[f"{prefix}position_ids"]
        assert torch.equal(positions[row, before] + 1, positions[row, at])
    for key in ("student_response_idx", "teacher_response_idx", "student_logit_idx", "teacher_logit_idx"):
        assert (batch[key][~real] == 0).all()
