"""Packed rows that are filled up, whole and sequence by sequence; labels where they are predicted."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from cases import assistant, config, failed, trace, user
from chatspan import ChatCollator, ChatEncoder, ComposerDataCollator, OptionError, Rollout, pack_dataset
from chatspan.loss import sdpo_loss
from torch.nn.functional import cross_entropy
from training import model_of
from transformers.loss.loss_utils import ForCausalLMLoss

WORDS = ("Which train?", "Go on, then.", "é 🚆", "To Köln " * 5, "no")
TRACES = [trace(user(word), failed(f"Try {word}"), user("ok"), assistant("Done."), trace_id=word) for word in WORDS]
TRACES[1] = trace(user("no error here"), assistant("Yes."), trace_id="plain")
ROWS = [{"messages": [user(word), assistant(f"It is {word}."), user("ok"), assistant("Yes.")]} for word in WORDS]
FILLED = [
    {"pad_to_multiple_of": 64},
    {"pad_sequences_to_multiple_of": 8},
    {"pad_sequences_to_multiple_of": 12, "pad_to_multiple_of": 64},
]


def collator(tokenizer: Any, **options: Any) -> ComposerDataCollator:
    return ComposerDataCollator(tokenizer=tokenizer, config=config(layout="indexed", packing=True, **options))


def filled(lengths: list[int], each: int = 1, whole: int = 1) -> tuple[list[list[bool]], int]:
    """Which columns of each sequence have a token, and the sequence behind them; slow and readable."""
    sequences = [[True] * length for length in lengths]
    for sequence in sequences:
        while len(sequence) % each:
            sequence.append(False)
    rest = 0
    while (sum(map(len, sequences)) + rest) % whole or (sum(map(len, sequences)) + rest) % each:
        rest += 1
    return sequences, rest


def require_filled(batch: Any, plain: Any, prefix: str, pad_id: int, options: dict[str, int]) -> list[int]:
    """Everything that the packed side has, by what the side without padding has; gives where its tokens are."""
    bounds = plain[f"{prefix}cu_seq_lens_q"].tolist()
    lengths = [end - start for start, end in itertools.pairwise(bounds)]
    each, whole = options.get("pad_sequences_to_multiple_of", 1), options.get("pad_to_multiple_of", 1)
    sequences, rest = filled(lengths, each, whole)
    columns = [*itertools.chain.from_iterable(sequences), *[False] * rest]
    real = torch.tensor(columns)
    widths = [*map(len, sequences), *([rest] if rest else [])]
    ids = batch[f"{prefix}input_ids"]
    assert ids.shape == (1, len(columns))
    assert ids.shape[1] % whole == ids.shape[1] % each == 0
    assert torch.equal(ids[0][real], plain[f"{prefix}input_ids"][0])
    assert (ids[0][~real] == pad_id).all()
    assert batch[f"{prefix}position_ids"][0].tolist() == [at for width in widths for at in range(width)]
    for name in ("q", "k"):
        assert batch[f"{prefix}cu_seq_lens_{name}"].tolist() == [0, *itertools.accumulate(widths)]
        assert batch[f"{prefix}cu_seq_lens_{name}"].dtype == torch.int32
        assert int(batch[f"{prefix}max_length_{name}"]) == max(widths)
    if f"{prefix}seq_idx" in batch:
        assert batch[f"{prefix}seq_idx"][0].tolist() == [n for n, width in enumerate(widths) for _ in range(width)]
    return real.nonzero()[:, 0].tolist()


@pytest.mark.parametrize("options", FILLED, ids=str)
def test_both_sides_are_filled_up(small: Any, options: dict[str, int]) -> None:
    batch, plain = collator(small, **options)([TRACES]), collator(small)([TRACES])
    assert set(batch) == set(plain)
    for prefix, side in (("", "student"), ("ctx_teacher_", "teacher")):
        at = require_filled(batch, plain, prefix, small.pad_token_id, options)
        for kind in ("logit", "response"):
            moved = [at[column] for column in plain[f"{side}_{kind}_idx"][0].tolist()]
            assert batch[f"{side}_{kind}_idx"][0].tolist() == moved
        if prefix == "":
            for key in ("response_mask", "sdpo_loss_mask", "sdpo_loss_weight"):
                expected = torch.zeros_like(batch[key])
                expected[0, at] = plain[key][0]
                assert torch.equal(batch[key], expected), key


@pytest.mark.parametrize("options", FILLED, ids=str)
def test_supervised_rows_are_filled_up(small: Any, options: Any) -> None:
    given = {"loss_on": {"assistant": 0.5}, "packing": True, "shift_labels": True}
    batch, plain = ChatCollator(small, **given, **options)(ROWS), ChatCollator(small, **given)(ROWS)
    at = require_filled(batch, plain, "", small.pad_token_id, options)
    for key, nothing in (("labels", -100), ("loss_weight", 0)):
        expected = torch.full_like(batch[key], nothing)
        expected[0, at] = plain[key][0]
        assert torch.equal(batch[key], expected), key
    assert type(batch["max_length_q"]) is int


@pytest.mark.parametrize("options", FILLED, ids=str)
def test_loss_and_gradients_are_those_without_padding(small: Any, options: dict[str, int]) -> None:
    model = model_of(small).double()
    results = []
    for batch in (collator(small, **options)([TRACES]), collator(small)([TRACES])):
        model.zero_grad()
        student, teacher = (
            model(batch[f"{prefix}input_ids"], position_ids=batch[f"{prefix}position_ids"], use_cache=False).logits
            for prefix in ("", "ctx_teacher_")
        )
        loss = sdpo_loss(student, teacher, batch, reduction="row_mean")
        loss.backward()
        results.append([loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())])
    torch.testing.assert_close(*results)


def test_side_arrays_stand_at_their_tokens(small: Any) -> None:
    rows, count = [], 0
    for answer in ("It is 5.", "No, it is 4, I think."):
        rollout = Rollout(ChatEncoder(small), [user("2 + 2?")])
        ids = small(f"{answer}<|im_end|>")["input_ids"]
        rollout.add_completion(ids, message=assistant(answer), logprobs=[-float(each) for each in ids])
        rows += rollout.rows()
        count += len(ids)
    options: dict[str, Any] = {"per_token": ("logprobs",), "pad_sequences_to_multiple_of": 16}
    traces = [{"sampled": row, "tool_errors": {1: "wrong"}} for row in rows]
    for batch in (
        ChatCollator(small, packing=True, **options)([rows]),
        collator(small, loss_on="turn", pad_to_multiple_of=96, **options)([traces]),
    ):
        sampled = batch["logprobs"] != 0
        assert int(sampled.sum()) == count
        assert torch.equal(batch["logprobs"][sampled], -batch["input_ids"][sampled].float())


def test_lengths_count_what_a_sequence_is_filled_up_with(small: Any) -> None:
    for plain, padded, rows in (
        (collator(small), collator(small, pad_sequences_to_multiple_of=32), TRACES),
        (ChatCollator(small, packing=True), ChatCollator(small, packing=True, pad_sequences_to_multiple_of=32), ROWS),
    ):
        lengths = padded.lengths(rows)  # type: ignore[attr-defined]
        assert [length % 32 for length in lengths] == [0] * len(rows)
        assert all(0 <= b - a < 32 for a, b in zip(plain.lengths(rows), lengths, strict=True))  # type: ignore[attr-defined]
        for group in pack_dataset(rows, max_length=192, collator=padded):  # type: ignore[arg-type]
            assert padded([group])["input_ids"].shape[1] <= 192  # type: ignore[operator]


@pytest.mark.parametrize("options", [{}, {"padding_side": "left"}, {"packing": True}, {"packing": True, **FILLED[2]}])
def test_shifted_labels_are_what_models_make_of_labels(small: Any, options: Any) -> None:
    batch = ChatCollator(small, shift_labels=True, **options)(ROWS)
    logits = torch.randn(*batch["input_ids"].shape, len(small))
    shifted = ForCausalLMLoss(logits, None, len(small), shift_labels=batch["shift_labels"])
    torch.testing.assert_close(shifted, ForCausalLMLoss(logits, batch["labels"], len(small)))
    assert "shift_labels" not in ChatCollator(small, **options)(ROWS)


@pytest.mark.parametrize(
    "options", [{"layout": "aligned"}, {"layout": "aligned", "padding_side": "left"}, {"packing": True, **FILLED[2]}]
)
def test_shifted_labels_of_distillation_are_the_tokens_in_the_loss(small: Any, options: dict[str, Any]) -> None:
    """Cross entropy at them is that of the in-loss tokens, found by index."""
    collate = ComposerDataCollator(
        tokenizer=small, config=config(**{"layout": "indexed", "shift_labels": True, **options})
    )
    batch = collate([TRACES] if "packing" in options else TRACES)
    logits = torch.randn(*batch["input_ids"].shape, len(small))
    rows, mask = torch.arange(len(logits)).unsqueeze(1), batch["response_idx_mask"]
    tokens = batch["input_ids"][rows, batch["student_response_idx"]][mask]
    expected = cross_entropy(logits[rows, batch["student_logit_idx"]][mask], tokens)
    found = cross_entropy(logits.flatten(0, 1), batch["shift_labels"].flatten())
    torch.testing.assert_close(found, expected)
    assert int((batch["shift_labels"] != -100).sum()) == int(mask.sum()) > 0
    none = collate([[TRACES[1]]] if "packing" in options else [TRACES[1]])
    assert (none["shift_labels"] == -100).all()


def test_what_cannot_be() -> None:
    with pytest.raises(OptionError, match="pad_sequences_to_multiple_of=8 is for packing=True"):
        config(pad_sequences_to_multiple_of=8)
    with pytest.raises(OptionError, match="shift_labels=None: expected True or False"):
        config(shift_labels=None)
