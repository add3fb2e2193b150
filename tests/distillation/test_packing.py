"""Packed rows: groups that fill a row, no padding, and the logits and the loss of separate rows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from cases import assistant, failed, trace, user
from cases import config as hint_config
from chatspan import (
    ComposerDataCollator,
    DistillationConfig,
    OptionError,
    SelfDistillationCollator,
    TruncationError,
    pack_dataset,
)
from chatspan.loss.sdpo import sdpo_loss
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

WORDS = ("Which train?", "Go on, then.", "é 🚆", "To Köln " * 9, "At nine. " * 30, "no")
TRACES = [trace(user(word), failed(f"Try {word}"), user("ok"), assistant("Done."), trace_id=word) for word in WORDS]
TRACES[1] = trace(user("no error here"), assistant("Yes."), trace_id="plain")
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def collator(tokenizer: Any, **options: Any) -> ComposerDataCollator:
    return ComposerDataCollator(tokenizer=tokenizer, config=hint_config(layout="indexed", **options))


@pytest.mark.parametrize("max_length", [350, 500, 2000])
def test_groups_hold_every_row_once_and_are_not_too_long(small: Any, max_length: int) -> None:
    collate = collator(small, packing=True)
    lengths = dict(zip((t["trace_id"] for t in TRACES), collate.lengths(TRACES), strict=True))
    groups = pack_dataset(TRACES, max_length=max_length, collator=collate)
    names = [t["trace_id"] for group in groups for t in group]
    assert sorted(names) == sorted(lengths)
    sums = [sum(lengths[t["trace_id"]] for t in group) for group in groups]
    assert max(sums) <= max_length
    # No two groups would fit into one.
    assert all(a + b > max_length for a, b in itertools.combinations(sums, 2))
    for group, total in zip(groups, sums, strict=True):
        batch = collate([group])
        sides = [batch["input_ids"].shape, batch.get("ctx_teacher_input_ids", batch["input_ids"]).shape]
        assert all(shape[0] == 1 and shape[1] <= total for shape in sides)


def test_a_packed_row_is_its_rows_one_behind_the_other(small: Any) -> None:
    packed, plain = collator(small, packing=True)([TRACES]), collator(small)(TRACES)
    assert "attention_mask" not in packed
    assert "ctx_teacher_attention_mask" not in packed
    for prefix in ("", "ctx_teacher_"):
        seen = plain[f"{prefix}attention_mask"] == 1
        assert packed[f"{prefix}input_ids"][0].tolist() == plain[f"{prefix}input_ids"][seen].tolist()
        assert packed[f"{prefix}position_ids"][0].tolist() == plain[f"{prefix}position_ids"][seen].tolist()
        ends = seen.sum(dim=1).cumsum(0).tolist()
        for name in ("q", "k"):
            boundaries = packed[f"{prefix}cu_seq_lens_{name}"]
            assert boundaries.tolist() == [0, *ends]
            assert boundaries.dtype == torch.int32
            assert packed[f"{prefix}max_length_{name}"] == int(seen.sum(dim=1).max())
        assert packed[f"{prefix}seq_idx"].dtype == torch.int32
        rows = torch.nonzero(seen)[:, 0]
        assert packed[f"{prefix}seq_idx"][0].tolist() == rows.tolist()
    for key in ("response_mask", "sdpo_loss_mask", "sdpo_loss_weight"):
        assert packed[key][0].tolist() == plain[key][plain["attention_mask"] == 1].tolist(), key
    texts = [
        small.decode(batch["ctx_teacher_input_ids"][row, batch["teacher_response_idx"][row][mask]])
        for batch in (packed, plain)
        for row, mask in enumerate(batch["response_idx_mask"])
    ]
    assert texts[0] == "".join(texts[1:])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_logits_and_loss_are_those_of_separate_rows(small: Any, family: str, attention: str) -> None:
    packed, plain = collator(small, packing=True)([TRACES]), collator(small)(TRACES)
    torch.manual_seed(0)
    options = {**SIZES, "vocab_size": len(small), "attn_implementation": attention, "initializer_range": 0.2}
    model = Qwen2ForCausalLM(Qwen2Config(**options)) if family == "qwen2" else LlamaForCausalLM(LlamaConfig(**options))
    model.eval()

    def logits(batch: Any, prefix: str) -> torch.Tensor:
        masks = {"attention_mask": batch[f"{prefix}attention_mask"]} if f"{prefix}attention_mask" in batch else {}
        ids, positions = batch[f"{prefix}input_ids"], batch[f"{prefix}position_ids"]
        found: torch.Tensor = model(ids, position_ids=positions, use_cache=False, **masks).logits
        return found

    with torch.no_grad():
        sides = [[logits(batch, prefix) for prefix in ("", "ctx_teacher_")] for batch in (packed, plain)]
    for side, prefix in enumerate(("", "ctx_teacher_")):
        seen = plain[f"{prefix}attention_mask"] == 1
        torch.testing.assert_close(sides[0][side][0], sides[1][side][seen], atol=2e-4, rtol=1e-4)
    for reduction in ("token_mean", "row_mean", "sum"):
        of_packed, of_plain = (
            sdpo_loss(*found, batch, reduction=reduction)  # type: ignore[arg-type]
            for found, batch in zip(sides, (packed, plain), strict=True)
        )
        torch.testing.assert_close(of_packed, of_plain, atol=1e-5, rtol=1e-3)


def test_pairs_of_answers_come_with_packed_groups(small: Any) -> None:
    pair = {"prompt": [user("Go?")], "chosen": "Yes.", "rejected": "No."}
    traces = [TRACES[0], {**TRACES[2], "dpo_pairs": [pair]}]
    batch = collator(small, packing=True, enable_replay_dpo=True)([traces])
    assert batch["dpo_pair_trace"].tolist() == [1]
    assert batch["row_index"].tolist() == [0, 1]
    seen = batch["dpo_chosen_response_mask"][0] == 1
    assert small.decode(batch["dpo_chosen_input_ids"][0][seen]) == "Yes.<|im_end|>"


def test_packing_needs_rows_without_holes() -> None:
    with pytest.raises(OptionError, match="packing=True needs layout=\"indexed\", not 'aligned'"):
        DistillationConfig(packing=True)


def test_a_row_that_is_too_long_by_itself_is_named(small: Any) -> None:
    collate = SelfDistillationCollator(small, DistillationConfig(layout="indexed", packing=True))
    rows = [{"messages": [user(text)], "teacher_messages": None} for text in ("a", "word " * 99)]
    with pytest.raises(TruncationError, match=r"^trace 'row 1': 3\d\d tokens are more than a packed"):
        pack_dataset(rows, max_length=90, collator=collate)
    with pytest.raises(OptionError, match="max_length=0"):
        pack_dataset(rows, max_length=0, collator=collate)


def test_rows_that_are_left_out_are_in_no_group(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    collate = collator(small, packing=True, max_length=90, overflow="drop_row")
    groups = pack_dataset(TRACES, max_length=90, collator=collate)
    names = {t["trace_id"] for group in groups for t in group}
    assert "At nine. " * 30 not in names
    assert len(names) == 4
    assert "2 of 6 rows are left out of the packed data set, row 3 first" in caplog.text
