"""A trainer's life: workers, pickling, pinned memory, and a trainer of transformers with a loss of five lines."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from batches import check, recoveries
from cases import assistant, failed, hint, system, trace, user
from chatspan import (
    ChatspanError,
    CollatorConfig,
    ComposerDataCollator,
    DistillationConfig,
    SelfDistillationCollator,
    TruncationError,
)
from chatspan.loss.sdpo import sdpo_loss
from torch.utils.data import DataLoader
from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer, TrainingArguments

WORDS = ["late", "early", "there", "gone", "full"]
# Lists, which torch takes for data sets; every third trace has no error site.
TRACES = [
    trace(
        system("Be kind."),
        user(f"Is it {word}? " * (1 + i % 3)),
        failed(f"It is {word}.", error=word) if i % 3 else assistant("Yes."),
        user("And now?"),
        assistant("No."),
        trace_id=f"t{i}",
    )
    for i, word in enumerate(WORDS * 2)
]
ROWS = [
    {"trace_id": t["trace_id"], "messages": plain, "teacher_messages": [user(f"Hint {i}."), *plain]}
    for i, t in enumerate(TRACES)
    for plain in [[{"role": turn["role"], "content": turn["content"]} for turn in t["turns"]]]
]


def collators(tokenizer: Any) -> dict[str, tuple[Any, list[Any]]]:
    def of_traces(**options: Any) -> ComposerDataCollator:
        # Spawned workers need a hint generator that can be pickled: a function of a module.
        return ComposerDataCollator(tokenizer=tokenizer, config=CollatorConfig(hint_generator=hint, **options))

    return {
        "traces": (of_traces(), TRACES),
        "per site, indexed": (of_traces(hint_scope="per_site", layout="indexed", padding_side="left"), TRACES),
        "rows": (SelfDistillationCollator(tokenizer, DistillationConfig(loss_on="turn", max_length=60)), ROWS),
    }


NAMES = ["traces", "per site, indexed", "rows"]


def require_equal(batch: Any, other: Any) -> None:
    assert set(batch) == set(other)
    for key in batch:
        assert batch[key].dtype == other[key].dtype
        assert torch.equal(batch[key], other[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_a_collator_can_be_pickled_before_and_after_its_first_batch(small: Any, name: str) -> None:
    collate, rows = collators(small)[name]
    before = pickle.loads(pickle.dumps(collate))
    batch = collate(rows)
    after = pickle.loads(pickle.dumps(collate))
    assert after.config == before.config == collate.config
    for other in (before, after):
        require_equal(other(rows), batch)


@pytest.mark.parametrize(
    ("workers", "context"), [(0, None), (2, "fork"), (2, "spawn")], ids=["no workers", "fork", "spawn"]
)
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_batches_of_workers_are_those_of_none(small: Any, workers: int, context: str | None) -> None:
    for name in NAMES if context != "spawn" else ["traces"]:  # a spawned worker takes seconds to import torch
        collate, rows = collators(small)[name]
        expected = [collate(rows[start : start + 3]) for start in range(0, len(rows), 3)]
        loader = DataLoader(
            rows, batch_size=3, collate_fn=collate, num_workers=workers, multiprocessing_context=context
        )
        found = list(loader)
        assert len(found) == len(expected)
        for batch, other in zip(found, expected, strict=True):
            require_equal(batch, other)


def test_a_batch_depends_on_its_rows_alone(small: Any) -> None:
    """Whatever a collator has seen before, and in which order."""
    for name in NAMES:
        collate, rows = collators(small)[name]
        groups = [rows[start : start + 3] for start in range(0, len(rows), 3)]
        expected = [collate(group) for group in groups]
        again, _ = collators(small)[name]
        for index in (2, 0, 3, 1, 2):
            require_equal(again(groups[index]), expected[index])


def test_counts_survive_workers_and_say_what_was_dropped(small: Any) -> None:
    config = CollatorConfig(hint_generator=hint, max_length=45, overflow="drop_row")
    collate = ComposerDataCollator(tokenizer=small, config=config)
    loader = DataLoader(TRACES, batch_size=5, collate_fn=collate, num_workers=2, multiprocessing_context="fork")
    batches = list(loader)
    for batch, start in zip(batches, range(0, 10, 5), strict=True):
        require_equal(batch, collate(TRACES[start : start + 5]))
        for key in ("row_index", "dropped_tokens", "dropped_messages", "dropped_sites"):
            assert batch[key].shape == batch["input_ids"].shape[:1]
            assert batch[key].dtype == torch.int64
        assert len(batch["row_index"]) + int(batch["dropped_rows"]) == 5
    assert sum(int(batch["dropped_messages"].sum()) for batch in batches) > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_names_the_trace(small: Any, workers: int) -> None:
    collate = ComposerDataCollator(tokenizer=small, config=CollatorConfig(hint_generator=hint, max_length=20))
    context = "fork" if workers else None
    loader = DataLoader(TRACES, collate_fn=collate, num_workers=workers, multiprocessing_context=context)
    with pytest.raises(TruncationError, match=r"trace 't1', turn 2: \d+ tokens are more than max_length=20") as error:
        list(loader)
    assert isinstance(error.value, ChatspanError)


def test_pinned_memory(small: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device, and without one nothing is pinned")
    collate, rows = collators(small)["traces"]
    for batch in DataLoader(rows, batch_size=3, collate_fn=collate, pin_memory=True):
        assert all(tensor.is_pinned() for tensor in batch.values())


SIDE = ("input_ids", "attention_mask", "position_ids")


class DistillationTrainer(Trainer):
    """The student is distilled on itself, as a teacher that sees the hints."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        student = model(**{key: inputs[key] for key in SIDE})
        with torch.no_grad():
            teacher = model(**{key: inputs[f"ctx_teacher_{key}"] for key in SIDE})
        loss = sdpo_loss(student.logits, teacher.logits, inputs)
        return (loss, student) if return_outputs else loss


@pytest.mark.parametrize("layout", ["aligned", "indexed"])
def test_in_a_trainer_of_transformers(small: Any, layout: Any, tmp_path: Any) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings = Qwen2Config(vocab_size=len(small), num_key_value_heads=2, initializer_range=0.2, **sizes)
    model = Qwen2ForCausalLM(settings)
    before = {name: value.clone() for name, value in model.named_parameters()}
    collate = ComposerDataCollator(tokenizer=small, config=CollatorConfig(hint_generator=hint, layout=layout))
    rows = [row for row in TRACES if collate.has_signal(row)]
    assert len(rows) == 6
    check(collate(rows), holes=layout == "aligned")
    assert recoveries(small, collate(rows), 0) == ["It is early."]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=3,
        max_steps=2,
        learning_rate=1e-2,
        remove_unused_columns=False,
        report_to="none",
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = DistillationTrainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert all(loss > 0 for loss in losses)
    assert any(not torch.equal(before[name], value) for name, value in model.named_parameters())
