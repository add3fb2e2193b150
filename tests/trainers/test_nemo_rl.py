"""NeMo-RL's SDPO batches, by its contract written out: how it pairs the masks, and its loss of what it has paired.

``nemo-rl`` on PyPI is an empty name, and no release has SDPO.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import assistant, config, failed, trace, user
from chatspan import ComposerDataCollator, DistillationConfig, LayoutError, OptionError, SelfDistillationCollator
from chatspan.loss import sdpo_loss
from chatspan.nemo_rl import SDPOBatches, sdpo_batches
from torch import Tensor
from training import model_of
from trl_steps import ROWS, rollout_row


def collator(tokenizer: Any, **options: Any) -> SelfDistillationCollator:
    return SelfDistillationCollator(
        tokenizer, DistillationConfig(**{"layout": "indexed", "loss_on": "turn", **options})
    )


def aligned(logits: Tensor, batches: SDPOBatches) -> Tensor:
    """``align_teacher_topk`` with K = V: the teacher's logits in front of the n-th token of its mask, in the student's
    column in front of the n-th token of its mask."""
    found = torch.zeros(*batches.student["input_ids"].shape, logits.shape[-1])
    for row, (mine, theirs) in enumerate(
        zip(batches.student["token_mask"], batches.teacher["token_mask"], strict=True)
    ):
        at, there = mine.nonzero()[:, 0] - 1, theirs.nonzero()[:, 0] - 1
        assert len(at) == len(there)
        found[row, at] = logits[row, there]
    return found


def logits_of(model: Any, batch: Any) -> Tensor:
    """Rows end at their ``input_lengths``."""
    mask = torch.arange(batch["input_ids"].shape[1]) < batch["input_lengths"].unsqueeze(1)
    found: Tensor = model(input_ids=batch["input_ids"], attention_mask=mask.long()).logits
    return found


@pytest.mark.parametrize("kl_type", ["forward", "reverse"])
def test_the_loss_of_what_it_pairs_is_the_divergence(small: Any, kl_type: str) -> None:
    """``SDPOLossFn`` with K = V, over columns of which the first has no logits, by the number of valid tokens."""
    rows = [*ROWS, rollout_row(small)]
    student, teacher = model_of(small), model_of(small, initializer_range=0.3)
    batches = sdpo_batches(collator(small), rows)
    with torch.no_grad():
        s = logits_of(student, batches.student)[:, :-1].log_softmax(-1)
        t = aligned(logits_of(teacher, batches.teacher), batches)[:, :-1].log_softmax(-1)
    per_token = (t.exp() * (t - s) if kl_type == "forward" else s.exp() * (s - t)).sum(-1)
    valid = batches.student["token_mask"] * batches.student["sample_mask"].unsqueeze(1)
    mask = valid[:, 1:] * batches.student["sdpo_mask"].unsqueeze(1)
    loss = float((per_token * mask).sum() / valid.sum())
    batch = collator(small)(rows)
    keys = ("input_ids", "attention_mask", "position_ids")
    with torch.no_grad():
        sides = [
            model(**{key: batch[prefix + key] for key in keys}).logits
            for model, prefix in ((student, ""), (teacher, "ctx_teacher_"))
        ]
    assert loss == pytest.approx(float(sdpo_loss(*sides, batch, beta=float(kl_type == "reverse"))), abs=1e-6)


def test_keys_dtypes_and_masks(small: Any) -> None:
    batches = sdpo_batches(collator(small, per_token=("logprobs",)), [*ROWS, rollout_row(small)], pad_to_multiple_of=8)
    for batch in batches:
        assert batch["input_ids"].dtype == batch["token_mask"].dtype == batch["input_lengths"].dtype == torch.int64
        assert batch["sample_mask"].dtype == torch.float32
        assert batch["input_ids"].shape[1] % 8 == 0
        for row, length in enumerate(batch["input_lengths"].tolist()):
            assert batch["input_ids"][row, length:].tolist() == [small.pad_token_id] * (
                len(batch["input_ids"][row]) - length
            )
    assert batches.student["sdpo_mask"].tolist() == [1.0, 0.0, 1.0, 1.0, 1.0]
    texts = [
        [small.decode(ids[mask == 1]) for ids, mask in zip(batch["input_ids"], batch["token_mask"], strict=True)]
        for batch in batches
    ]
    assert texts[0] == texts[1]
    assert texts[0] == [
        "It is 4.<|im_end|>",
        "",
        "It is 5.<|im_end|>Then 4, of course.<|im_end|>",
        "One.<|im_end|>",
        "I call it.<|im_end|>It is full.<|im_end|>",
    ]
    sampled = batches.student["generation_logprobs"]
    assert sampled.dtype == torch.float32
    assert torch.equal(sampled[4], batches.student["token_mask"][4] * -0.25)
    assert not sampled[:4].any()
    assert "generation_logprobs" not in sdpo_batches(collator(small), ROWS).student


def test_traces_with_hints_and_what_is_refused(small: Any) -> None:
    rows = [trace(user("Go?"), failed("Try it."), user("ok"), failed("Again.")), trace(user("Go?"), assistant("No."))]
    composer = ComposerDataCollator(small, config(loss_on="turn", hint_scope="per_site"))
    student, teacher = sdpo_batches(composer, rows)
    assert student["sdpo_mask"].tolist() == [1.0, 1.0, 0.0]
    assert ["Hint: " in small.decode(ids) for ids in teacher["input_ids"]] == [True, True, False]
    assert not any("Hint: " in small.decode(ids) for ids in student["input_ids"])
    with pytest.raises(LayoutError, match=r"weights other than 1, which a mask cannot carry"):
        sdpo_batches(collator(small, loss_on={"assistant": 0.5}), ROWS)
    with pytest.raises(OptionError, match=r"pad_to_multiple_of=0: expected the number of tokens"):
        sdpo_batches(collator(small), ROWS, pad_to_multiple_of=0)
