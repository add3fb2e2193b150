"""Shards of a batch: each column once; two processes have the loss and the gradients of one."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
import torch
from cases import assistant, config, failed, trace, user
from chatspan import ChatCollator, ComposerDataCollator, LossError, OptionError, shard_batch
from chatspan.loss import linear_sdpo_loss, sdpo_loss
from context_attention import install, see
from processes import in_processes
from torch import distributed
from torch.nn.functional import cross_entropy
from training import model_of
from transformers import AutoTokenizer
from zoo import EXAMPLES, REPO

WORDS = ("Which train?", "é 🚆", "To Köln " * 5, "no")
TRACES = [trace(user(word), failed(f"Try {word}"), user("ok"), assistant("Done.")) for word in WORDS]
TRACES[1] = trace(user("no error here"), assistant("Yes."))
ROWS = [{"messages": [user(word), assistant(f"It is {word}."), user("ok"), assistant("Yes.")]} for word in WORDS]
WEIGHTED = {"loss_on": {"assistant": 0.5}}
# Layouts and orders; all have columns for two processes.
DISTILLED: dict[str, dict[str, Any]] = {
    "aligned": {"layout": "aligned", "pad_to_multiple_of": 4},
    "aligned, left": {"layout": "aligned", "pad_to_multiple_of": 4, "padding_side": "left", **WEIGHTED},
    "indexed": {"layout": "indexed", "pad_to_multiple_of": 4, **WEIGHTED},
    "packed": {"layout": "indexed", "packing": True, "pad_sequences_to_multiple_of": 4, "pad_to_multiple_of": 4},
}
SUPERVISED: dict[str, dict[str, Any]] = {
    "padded": {"pad_to_multiple_of": 4, **WEIGHTED},
    "packed": {"packing": True, "pad_sequences_to_multiple_of": 4, **WEIGHTED},
}
ORDERS = ("contiguous", "zigzag")


@functools.cache
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")


def distilled(name: str, traces: list[Any] = TRACES, **options: Any) -> Any:
    options = {**DISTILLED[name], "constant_keys": True, **options}
    collate = ComposerDataCollator(tokenizer=tokenizer(), config=config(**options))
    return collate([traces] if options.get("packing") else traces)


def supervised(name: str) -> Any:
    options = SUPERVISED[name]
    return ChatCollator(tokenizer(), **options)([ROWS] if options.get("packing") else ROWS)


NAMES = [
    *(f"distilled, {name}" for name in DISTILLED),
    *(f"supervised, {name}" for name in SUPERVISED),
    "distilled, nothing in the loss",
    "distilled, no teacher",
]


@functools.cache
def batch_of(name: str) -> Any:
    kind, _, which = name.partition(", ")
    if which in ("nothing in the loss", "no teacher"):
        return distilled("aligned", TRACES[1:2], constant_keys=which != "no teacher")
    return distilled(which) if kind == "distilled" else supervised(which)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("name", "world"), [*itertools.product(NAMES, (1, 2)), ("packed", 3), ("indexed", 3)])
def test_each_column_is_in_one_shard(name: str, world: int, order: Any) -> None:
    """Shards put together are the batch; those of zigzag are as long before the middle of a sequence as after it."""
    if world == 3:
        each = {"pad_sequences_to_multiple_of": 6} if name == "packed" else {}
        batch = distilled(name, pad_to_multiple_of=6, **each)
    else:
        batch = batch_of(name)
    shards = [shard_batch(batch, rank, world, order=order) for rank in range(world)]
    for prefix in ("", "ctx_teacher_"):
        if f"{prefix}input_ids" not in batch:
            continue
        shape = batch[f"{prefix}input_ids"].shape
        columns = torch.cat([shard[f"{prefix}shard_columns"] for shard in shards])
        assert sorted(columns.tolist()) == list(range(shape[1]))
        own = [key for key in batch if key.startswith("ctx_teacher_") == bool(prefix)]
        cut = [key for key in own if torch.is_tensor(batch[key]) and batch[key].shape == shape and "_idx" not in key]
        assert f"{prefix}input_ids" in cut
        for key in cut:
            assert torch.equal(torch.cat([shard[key] for shard in shards], dim=1), batch[key][:, columns]), key
        for shard in shards:
            kept = [key for key in own if key not in cut and "_idx" not in key]
            assert all(shard[key] is batch[key] or torch.equal(shard[key], batch[key]) for key in kept)
            at = shard[f"{prefix}shard_columns"]
            assert len(at) == shape[1] // world
            if order == "contiguous":
                assert at.diff().eq(1).all()
            else:
                bounds = batch.get(f"{prefix}cu_seq_lens_q", torch.tensor([0, shape[1]])).tolist()
                for start, end in itertools.pairwise(bounds):
                    inside = at[(at >= start) & (at < end)]
                    # As many before the middle as after it, which mirror each other.
                    assert sorted((start + end - 1 - inside).tolist()) == inside.tolist()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", DISTILLED)
def test_each_token_in_the_loss_is_in_one_shard(name: str, order: Any) -> None:
    """Ids and weights are at hand where the token's logits are, wherever the token itself is."""
    batch = distilled(name)
    real = batch["response_idx_mask"]
    shards = [shard_batch(batch, rank, 2, order=order) for rank in range(2)]
    for side, prefix, mask in (("student", "", "response_idx_mask"), ("teacher", "ctx_teacher_", "teacher_logit_mask")):
        assert torch.equal(sum(shard[mask].int() for shard in shards), real.int())
        for shard in shards:
            row, entry = shard[mask].nonzero(as_tuple=True)
            columns = shard[f"{prefix}shard_columns"][shard[f"{side}_logit_idx"][row, entry]]
            assert torch.equal(columns, batch[f"{side}_logit_idx"][row, entry])
            ids = batch[f"{prefix}input_ids"][row, batch[f"{side}_response_idx"][row, entry]]
            assert torch.equal(shard[f"{side}_response_input_ids"][row, entry], ids)
            if side == "student":
                weights = batch["sdpo_loss_weight"][row, batch["student_response_idx"][row, entry]]
                assert torch.equal(shard["student_response_sdpo_loss_weight"][row, entry], weights)
            assert f"{side}_response_idx" not in shard
    for shard in shards:
        assert torch.equal(shard["in_loss_weight"], batch["in_loss_weight"])
        if "aligned" in name:
            assert torch.equal(shard["response_idx_mask"], shard["teacher_logit_mask"])


def hidden(model: Any, batch: Any, whole: Any, prefix: str, sharded: bool) -> torch.Tensor:
    see(whole, prefix, batch[f"{prefix}shard_columns"] if sharded else None)
    given = {key: batch[f"{prefix}{key}"] for key in ("input_ids", "position_ids") if f"{prefix}{key}" in batch}
    found: torch.Tensor = model.model(**given, use_cache=False).last_hidden_state
    return found


def docs_exchange() -> Any:
    """The program of the docs that brings the teacher's hidden states to the processes of the student's columns."""
    page = (REPO / "docs" / "distillation.md").read_text(encoding="utf-8")
    (block,) = (block for block in page.split("```python\n")[1:] if "def of_all_processes" in block)
    names: dict[str, Any] = {}
    exec(block.split("```")[0], names)
    return names["of_all_processes"]


def distillation_loss(model: Any, whole: Any, shard: Any | None) -> torch.Tensor:
    """By the columns of this process, or by all."""
    batch = whole if shard is None else shard
    student = hidden(model, batch, whole, "", shard is not None)
    with torch.no_grad():
        # Another model than the student, or there is nothing to learn.
        teacher = hidden(model, batch, whole, "ctx_teacher_", shard is not None).cos()
    total, head = batch["in_loss_weight"], model.lm_head
    if shard is None:
        return sdpo_loss(head(student), head(teacher), batch, num_items_in_batch=total)
    if torch.equal(shard["response_idx_mask"], shard["teacher_logit_mask"]):
        return linear_sdpo_loss(student, teacher, shard, head, head, num_items_in_batch=total)
    teacher = docs_exchange()(teacher, shard)
    student = student[torch.arange(len(student)).unsqueeze(1), shard["student_logit_idx"]]
    return sdpo_loss(head(student), head(teacher), shard, num_items_in_batch=total, gathered=True)


def supervised_loss(model: Any, whole: Any, shard: Any | None) -> torch.Tensor:
    batch = whole if shard is None else shard
    logits = model.lm_head(hidden(model, batch, whole, "", shard is not None))
    if shard is None:
        labels, weights, logits = batch["labels"][:, 1:], batch["loss_weight"][:, 1:], logits[:, :-1]
    else:
        labels, weights = batch["shift_labels"], batch["shift_loss_weight"]
    losses = cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return (losses * weights).sum() / whole["loss_weight"].sum()


def results(rank: int, world: int) -> dict[str, list[torch.Tensor]]:
    """The loss and the gradients of each batch, by this process's shard where there are several."""
    model = install(model_of(tokenizer()).double())
    found = {}
    for name, order in itertools.product(NAMES, ORDERS):
        if "no teacher" not in name:
            whole = batch_of(name)
            shard = shard_batch(whole, rank, world, order=order) if world > 1 else None  # type: ignore[arg-type]
            model.zero_grad()
            loss = (distillation_loss if "distilled" in name else supervised_loss)(model, whole, shard)
            loss.backward()
            values = [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())]
            if world > 1:
                for value in values:
                    distributed.all_reduce(value)
            found[f"{name}, {order}"] = values
    return found


def test_two_processes_have_the_loss_and_the_gradients_of_one(say: Any) -> None:
    """A model of transformers, attention over all columns, in float64: sums over the processes against one."""
    alone = results(0, 1)
    worst = 0.0
    for both in in_processes(2, results):
        assert both.keys() == alone.keys()
        for name, values in both.items():
            torch.testing.assert_close(
                values, alone[name], rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
            )
            assert (values[0] > 0) == ("nothing" not in name)
            worst = max(worst, *(float((a - b).abs().max()) for a, b in zip(values, alone[name], strict=True)))
    say(
        f"shard_batch: {len(alone)} batches on 2 processes, loss and gradients differ from one's by {worst:.1e} at most"
    )


def test_the_attention_of_these_tests_is_the_models_own() -> None:
    batch = distilled("aligned")
    model = model_of(tokenizer()).double()
    given = {key: batch[key] for key in ("input_ids", "attention_mask", "position_ids")}
    own = model.model(**given, use_cache=False).last_hidden_state
    see(batch, "", None)
    slow = install(model).model(batch["input_ids"], position_ids=batch["position_ids"], use_cache=False)
    seen = batch["attention_mask"] == 1
    torch.testing.assert_close(slow.last_hidden_state[seen], own[seen])


def test_importance_weights_and_clips_are_those_of_the_whole() -> None:
    batch = distilled("aligned, left")
    random = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(*batch["input_ids"].shape, 751, generator=random).double() for _ in range(2))
    batch["old_log_probs"] = -6 - torch.rand(*batch["response_idx_mask"].shape, generator=random)
    options: dict[str, Any] = {"is_clip": 1.5, "top_k": 9, "token_clip": 0.05, "beta": 0.3}
    whole = sdpo_loss(student, teacher, batch, reduction="none", **options)
    for order in ORDERS:
        parts = []
        for rank in range(2):
            shard = shard_batch(batch, rank, 2, order=order)  # type: ignore[arg-type]
            at = shard["shard_columns"]
            parts.append(sdpo_loss(student[:, at], teacher[:, at], shard, reduction="none", **options))
        torch.testing.assert_close(parts[0] + parts[1], whole)
        assert parts[0].any()
        assert parts[1].any()


def test_what_a_shard_cannot_know_is_refused() -> None:
    shard = shard_batch(distilled("aligned"), 0, 2)
    logits = torch.zeros(*shard["input_ids"].shape, 7)
    for options in ({"reduction": "row_mean"}, {}):
        with pytest.raises(LossError, match=r"of a shard is a mean over its own columns: use 'token_mean' with"):
            sdpo_loss(logits, logits, shard, **options)  # type: ignore[arg-type]
    shards = [shard_batch(distilled("indexed"), rank, 2) for rank in range(2)]
    shard = next(each for each in shards if (each["teacher_logit_idx"] == -1).any())
    student, teacher = (torch.zeros(*shard[f"{prefix}input_ids"].shape, 7) for prefix in ("", "ctx_teacher_"))
    with pytest.raises(LossError, match=r"teacher_logit_idx is -1, .*: they are in another process; gather them"):
        sdpo_loss(student, teacher, shard, reduction="sum")


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        ({}, (2, 2, "contiguous"), "rank=2: expected the index of one of the 2 processes, from 0 to 1"),
        ({}, (True, 2, "contiguous"), "rank=True"),
        ({}, (0, 0, "contiguous"), "world=0: expected the number of processes that share the batch"),
        ({}, (0, 2, "ring"), "order='ring': use one of 'contiguous', 'zigzag'"),
        ({}, (0, 7, "contiguous"), r"input_ids has \d+ columns, not 7 equal parts: .* pad_to_multiple_of=7"),
        ({}, (0, 7, "zigzag"), r"not 14 equal parts: pass the collator pad_to_multiple_of=14"),
        ({"shard_columns": torch.arange(3)}, (0, 2, "zigzag"), "it is a shard; pass the whole batch"),
        ({"input_ids": None}, (0, 2, "zigzag"), r"batch\['input_ids'\] is NoneType: pass a tensor of two dimensions"),
        ({"attention_mask": torch.ones(1, 2)}, (0, 2, "zigzag"), r"batch\['attention_mask'\] is \[1, 2\] on cpu"),
        ({"response_idx_mask": torch.ones(4, 2)}, (0, 2, "zigzag"), r"'response_idx_mask'\] is torch.float32 \[4, 2\]"),
        ({"student_logit_idx": torch.ones(4, 2)}, (0, 2, "zigzag"), "'student_logit_idx'"),
    ],
)
def test_batches_and_processes_that_cannot_be(change: dict[str, Any], given: tuple[Any, ...], message: str) -> None:
    rank, world, order = given
    with pytest.raises(OptionError, match=message):
        shard_batch({**distilled("aligned"), **change}, rank, world, order=order)


def test_sequences_that_do_not_divide_are_named() -> None:
    batch = distilled("packed", pad_sequences_to_multiple_of=None)
    assert shard_batch(batch, 0, 2)["input_ids"].shape[1] == batch["input_ids"].shape[1] // 2
    with pytest.raises(OptionError, match=r"sequence \d of input_ids has .* pad_sequences_to_multiple_of=4"):
        shard_batch(batch, 0, 2, order="zigzag")
    with pytest.raises(OptionError, match="batch is list: pass the dict that a collator makes"):
        shard_batch([batch], 0, 2)  # type: ignore[arg-type]
