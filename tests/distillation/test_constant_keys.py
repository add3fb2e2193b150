"""``constant_keys``: the same keys and dtypes in every batch, and nothing else that is different."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from batches import check
from cases import assistant, config, failed, trace, user
from chatspan import ComposerDataCollator, DistillationConfig, OptionError, SelfDistillationCollator
from chatspan.loss import sdpo_loss
from test_parity_zoo import real_hint
from training import model_of

NO_SITE = trace(user("Go?"), assistant("Gone."), user("And now?"), assistant("Nothing."))
BLANK = trace(user("Go?"), failed("  "), user("Hello?"), assistant("Here."))
SITE = trace(user("Go?"), failed("Try it again."), user("ok"), assistant("Done."))
PAIRED = {**NO_SITE, "dpo_pairs": [{"prompt": [user("Go?")], "chosen": "Yes.", "rejected": "No."}]}
NEW = {"in_loss_tokens", "in_loss_weight"}
OPTIONS: tuple[dict[str, Any], ...] = (
    {"layout": "aligned"},
    {"layout": "placeholder"},
    {"layout": "indexed"},
    {"layout": "indexed", "packing": True},
    {"layout": "aligned", "padding_side": "left", "sdpo_ignore_index": -100, "pad_to_multiple_of": 16},
)


def collator(tokenizer: Any, **options: Any) -> ComposerDataCollator:
    return ComposerDataCollator(tokenizer=tokenizer, config=config(**options))


def kinds(batch: Any) -> dict[str, Any]:
    return {key: (value.dtype, value.dim()) for key, value in batch.items()}


def equal(one: Any, other: Any) -> bool:
    return bool(one.dtype == other.dtype and torch.equal(one, other))


def require_sound(batch: Any, plain: Any) -> None:
    """What the batch without the option has, and what a batch of no loss has beside it."""
    assert all(equal(batch[key], plain[key]) for key in plain), "changed by the option"
    real = batch["response_idx_mask"]
    assert batch["in_loss_tokens"].tolist() == [int(real.sum())]
    torch.testing.assert_close(batch["in_loss_weight"], batch["sdpo_loss_weight"].sum()[None])
    assert real.shape[1] >= 1
    if "sdpo_loss_mask" in plain:
        assert set(batch) == {*plain, *NEW}
        return
    assert not real.any()
    assert not (batch["sdpo_loss_mask"] == 1).any()
    assert not batch["sdpo_loss_weight"].any()
    for key in ("input_ids", "attention_mask", "position_ids", "cu_seq_lens_q", "seq_idx", "max_length_k"):
        assert (key in batch) == (f"ctx_teacher_{key}" in batch)
        assert key not in batch or torch.equal(batch[key], batch[f"ctx_teacher_{key}"])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_batch_has_the_same_keys(small: Any, options: dict[str, Any]) -> None:
    plain, constant = collator(small, **options), collator(small, constant_keys=True, **options)
    rows = ([SITE], [NO_SITE], [BLANK], [SITE, NO_SITE], [BLANK, NO_SITE], [NO_SITE, SITE, SITE])
    batches = [constant([*each]) for each in rows]
    for batch, each in zip(batches, rows, strict=True):
        assert kinds(batch) == kinds(batches[0])
        require_sound(batch, plain([*each]))
        if not options.keys() & {"packing", "pad_to_multiple_of"}:
            check(batch, holes=options["layout"] != "indexed")


def test_weights_are_summed_and_not_counted(small: Any) -> None:
    collate = SelfDistillationCollator(
        small, DistillationConfig(loss_on={"assistant": 0.25}, layout="indexed", constant_keys=True)
    )
    question, answer = user("2 + 2?"), assistant("It is 4.")
    rows = [{"messages": [question, answer], "teacher_messages": [user(f"2 + 2? {n}"), answer]} for n in range(3)]
    batch = collate(rows)
    assert batch["in_loss_weight"].item() == 0.25 * batch["in_loss_tokens"].item() > 0


def test_pairs_of_answers_have_their_keys_too(small: Any) -> None:
    collate = collator(small, constant_keys=True, enable_replay_dpo=True)
    some, none = collate([PAIRED, SITE]), collate([SITE])
    assert kinds(some) == kinds(none)
    assert none["dpo_pair_trace"].shape == (0,)
    assert none["dpo_chosen_input_ids"].shape == (0, 1)
    assert "dpo_pair_trace" not in collator(small, enable_replay_dpo=True)([SITE])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_model_is_trained_by_batches_with_and_without_a_loss(small: Any, options: dict[str, Any]) -> None:
    """The same calls for each; without a loss all gradients are there, and 0."""
    collate, model = collator(small, constant_keys=True, **options), model_of(small)
    names = ("input_ids", "attention_mask", "position_ids")
    for traces in ([SITE], [NO_SITE], [NO_SITE, SITE]):
        batch = collate(traces)
        model.zero_grad()
        student, teacher = (
            model(**{key: batch[prefix + key] for key in names if prefix + key in batch}, use_cache=False).logits
            for prefix in ("", "ctx_teacher_")
        )
        sdpo_loss(student, teacher, batch, num_items_in_batch=batch["in_loss_weight"]).backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        assert all(grad is not None for grad in gradients)
        assert any(grad.any() for grad in gradients) == (SITE in traces)


def test_one_denominator_makes_the_gradient_of_one_batch(small: Any) -> None:
    collate, model = collator(small, constant_keys=True), model_of(small).double()
    names = ("input_ids", "attention_mask", "position_ids")

    def gradient(batches: list[Any]) -> list[torch.Tensor]:
        model.zero_grad()
        total = sum(batch["in_loss_weight"] for batch in batches)
        for batch in batches:
            sides = [model(**{key: batch[prefix + key] for key in names}).logits for prefix in ("", "ctx_teacher_")]
            sdpo_loss(*sides, batch, num_items_in_batch=total).backward()  # type: ignore[arg-type]
        return [parameter.grad.clone() for parameter in model.parameters()]

    longer = trace(user("Go?"), failed("Try it again, and then another way, please."), user("ok"))
    traces = [SITE, NO_SITE, longer, BLANK]
    apart, together = gradient([collate([each]) for each in traces]), gradient([collate(traces)])
    torch.testing.assert_close(apart, together, rtol=1e-6, atol=1e-9)


def test_it_is_on_or_off() -> None:
    with pytest.raises(OptionError, match="constant_keys='yes': expected True or False"):
        DistillationConfig(constant_keys="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 4, 8])
@pytest.mark.parametrize("layout", ["aligned", "indexed", "packed"])
def test_real_traces(zoo_tokenizer: Any, zoo_traces: list[Any], layout: str, size: int, say: Any) -> None:
    tokenizer = zoo_tokenizer("qwen2_5")
    options = {"layout": "indexed", "packing": True} if layout == "packed" else {"layout": layout}
    options |= {"hint_generator": real_hint, "hint_placement": "append_to_previous"}
    plain, constant = collator(tokenizer, **options), collator(tokenizer, constant_keys=True, **options)
    batches = [zoo_traces[at : at + size] for at in range(0, len(zoo_traces), size)]
    seen: set[Any] = set()
    without = 0
    for traces in itertools.islice(batches, 50):
        batch, before = constant(traces), plain(traces)
        seen.add(tuple(kinds(batch).items()))
        require_sound(batch, before)
        without += "sdpo_loss_mask" not in before
        student = torch.randn(*batch["input_ids"].shape, 3, requires_grad=True)
        ids = {key: value for key, value in batch.items() if "input_ids" not in key}
        sdpo_loss(student, torch.randn(*batch["ctx_teacher_input_ids"].shape, 3), ids).backward()
        assert student.grad is not None
        assert bool(student.grad.any()) == ("sdpo_loss_mask" in before)
        assert student.grad.isfinite().all()
    assert len(seen) == 1
    say(f"constant_keys, {layout}, batch size {size}: {without} of {min(50, len(batches))} batches without a loss")
