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


def check(batch: Batch) -> None:
    """What every batch promises: shapes, dtypes, positions, and equal ids wherever the loss is."""
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())
    shape = batch["input_ids"].shape
    sides = [""] + ["ctx_teacher_"] * ("ctx_teacher_input_ids" in batch)
    for prefix in sides:
        attention, positions = batch[f"{prefix}attention_mask"], batch[f"{prefix}position_ids"]
        assert batch[f"{prefix}input_ids"].shape == attention.shape == positions.shape == shape
        for row in range(shape[0]):
            seen = attention[row] == 1
            assert positions[row][seen].tolist() == list(range(int(seen.sum())))
            assert 0 <= int(positions[row].min()) <= int(positions[row].max()) < shape[1]
    assert not (batch["response_mask"] & ~batch["attention_mask"] & 1).any()
    assert (
        batch["attention_mask"].sum(0) + batch.get("ctx_teacher_attention_mask", batch["attention_mask"]).sum(0) > 0
    ).all()
    if len(sides) == 1:
        assert "sdpo_loss_mask" not in batch
        return
    in_loss = batch["sdpo_loss_mask"] == 1
    assert in_loss.any()
    assert torch.equal(batch["input_ids"][in_loss], batch["ctx_teacher_input_ids"][in_loss])
    # The column in front of each in-loss column predicts it, so both sides see it.
    before = in_loss.roll(-1, dims=1)
    before[:, -1] = False
    assert (batch["attention_mask"][before | in_loss] == 1).all()
    assert (batch["ctx_teacher_attention_mask"][before | in_loss] == 1).all()
