"""Real training with ``ChatCollator``: transformers' ``Trainer`` and TRL's ``SFTTrainer``, on raw messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import torch
from batches import stretches
from cases import assistant, user
from chatspan import ChatCollator, ChatEncoder, Kind, RowError, pack_dataset
from tables_of_trl import COMPARED, as_cell
from training import CITIES, QUIET, ROWS, UNPREPARED, losses_of, model_of
from transformers import Trainer, TrainingArguments
from zoo import REPO

datasets = pytest.importorskip("datasets", reason="datasets is not installed")

DOCS = (REPO / "docs" / "sft.md").read_text(encoding="utf-8")
OWN_MASKING = (REPO / "docs" / "sfttrainer.md").read_text(encoding="utf-8")


def trainer_of(kind: str, tokenizer: Any, folder: Any, collate: Any, rows: Any = None, **options: Any) -> Any:
    common = {**QUIET, "output_dir": str(folder), "remove_unused_columns": False}
    rows = datasets.Dataset.from_list(ROWS) if rows is None else rows
    given = {"model": model_of(tokenizer), "train_dataset": rows, "data_collator": collate}
    if kind == "Trainer":
        return Trainer(args=TrainingArguments(**{**common, **options}), **given)
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    return trl.SFTTrainer(args=trl.SFTConfig(**{**common, **options}), processing_class=tokenizer, **given)


KINDS: dict[str, dict[str, Any]] = {"Trainer": {}, "SFTTrainer": UNPREPARED}


def test_both_trainers_train_what_the_mask_says_and_the_loss_falls(small: Any, tmp_path: Any) -> None:
    """Packed or not, in either trainer, the losses are the same."""
    encoder = ChatEncoder(small)
    encodings = [encoder.encode(row["messages"]) for row in ROWS]
    expected = sorted(small.decode(encoding.input_ids[encoding.mask()]) for encoding in encodings)
    assert expected[0] == "In Bern.<|im_end|>"
    every = []
    for kind, options in KINDS.items():
        for packing in (False, True):
            trainer = trainer_of(kind, small, tmp_path, ChatCollator(small, packing=packing), **options)
            found = []
            for batch in trainer.get_train_dataloader():
                assert ("attention_mask" in batch) is not packing
                for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
                    found += stretches(small, ids, (labels != -100).int())
            assert sorted(found) == expected
            losses = losses_of(trainer)
            assert len(losses) == 10
            assert all(0 < loss < 20 for loss in losses)
            assert losses[-1] < losses[0] / 2
            every.append(losses)
    for losses in every[1:]:
        assert losses == pytest.approx(every[0], rel=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_streaming_rows_and_workers(small: Any, tmp_path: Any, kind: str) -> None:
    options = {**KINDS[kind], "dataloader_num_workers": 1 if kind == "Trainer" else 0, "max_steps": 2}
    rows = datasets.Dataset.from_list(ROWS).to_iterable_dataset()
    losses = losses_of(trainer_of(kind, small, tmp_path, ChatCollator(small), rows, **options))
    assert len(losses) == 2
    assert all(0 < loss < 20 for loss in losses)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_the_loss_of_packed_and_of_padded_rows_is_that_of_separate_rows(
    small: Any, family: str, attention: str
) -> None:
    model = model_of(small, family, attn_implementation=attention, initializer_range=0.5).eval()
    losses = []
    with torch.no_grad():
        for row in ROWS:
            batch = ChatCollator(small)([row])
            count = int((batch["labels"] != -100).sum())
            losses.append((float(model(**batch).loss) * count, count))
        alone = sum(loss for loss, _ in losses) / sum(count for _, count in losses)
        forms: tuple[dict[str, Any], ...] = (
            {},
            {"padding_side": "left"},
            {"pad_to_multiple_of": 16},
            {"packing": True},
        )
        for form in forms:
            batch = ChatCollator(small, **form)(ROWS)
            assert float(model(**batch).loss) == pytest.approx(alone, rel=1e-4), form
        # What the collator turns off: with a cache rows see each other.
        assert float(model(**{**batch, "use_cache": True}).loss) != pytest.approx(alone, rel=1e-3)


def test_the_weighted_trainer_of_the_docs(small: Any, tmp_path: Any) -> None:
    names: dict[str, Any] = {}
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL) if "class Weighted" in b)
    exec(compile(block, "docs/sft.md", "exec"), names)
    model = model_of(small)
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)

    def loss(loss_on: Any) -> float:
        batch = ChatCollator(small, loss_on=loss_on)(ROWS)
        found: torch.Tensor = names["WeightedTrainer"](model=model, args=arguments).compute_loss(model, batch)
        return float(found.detach())

    plain = ChatCollator(small, loss_on="content")(ROWS)
    assert loss({("assistant", Kind.CONTENT): 1.0}) == pytest.approx(float(model(**plain).loss), rel=1e-5)
    # Twice the weight on contents: the mean of contents and ends of turn, each of which has a loss of its own.
    parts = {kind: ChatCollator(small, loss_on={kind})(ROWS) for kind in (Kind.CONTENT, Kind.END_OF_TURN)}
    losses = {kind: float(model(**part).loss) for kind, part in parts.items()}
    counts = {kind: int((part["labels"] != -100).sum()) for kind, part in parts.items()}
    weights = {("assistant", Kind.CONTENT): 2.0, ("assistant", Kind.END_OF_TURN): 1.0}
    mass = {kind: counts[kind] * weight for (_, kind), weight in weights.items()}
    mean = sum(losses[kind] * mass[kind] for kind in mass) / sum(mass.values())
    assert loss(weights) == pytest.approx(mean, rel=1e-5)


def test_a_data_set_that_was_packed_goes_through_the_trainer(small: Any, tmp_path: Any) -> None:
    collate = ChatCollator(small, packing=True)
    groups = pack_dataset(ROWS, max_length=90, collator=collate)
    assert len(groups) < len(ROWS)
    options = {"per_device_train_batch_size": 1, "max_steps": len(groups)}
    trainer = trainer_of("Trainer", small, tmp_path, collate, groups, **options)
    texts = [small.decode(batch["labels"][batch["labels"] != -100]) for batch in trainer.get_train_dataloader()]
    assert sorted("".join(texts).split("<|im_end|>")) == ["", *sorted(f"In {city}." for city in CITIES)]
    assert all(0 < loss < 20 for loss in losses_of(trainer))


def test_trl_drops_rows_of_a_data_set_that_it_prepares(small: Any, tmp_path: Any) -> None:
    """Which the docs warn of: they were left out before a collator could speak."""
    long = {"prompt": [user("word " * 99)], "completion": [assistant("Yes.")]}
    rows = datasets.Dataset.from_list([long, {"prompt": [user("a")], "completion": [assistant("Yes.")]}])
    trainer = trainer_of("SFTTrainer", small, tmp_path, ChatCollator(small), rows, max_length=64)
    assert [row["prompt"] for row in trainer.train_dataset] == [[user("a")]]
    trainer = trainer_of("SFTTrainer", small, tmp_path, ChatCollator(small), rows, max_length=64, **UNPREPARED)
    assert len(trainer.train_dataset) == 2


FORGOT: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "Trainer": (
        "Trainer",
        {"remove_unused_columns": True},
        ValueError,
        r"may need to set `remove_unused_columns=False`",
    ),
    "SFTTrainer": (
        "SFTTrainer",
        {"remove_unused_columns": True},
        RowError,
        r"got 'input_ids', 'labels'; .*remove_unused_columns=False is set, and TRL's .*'skip_prepare_dataset': True",
    ),
    "SFTTrainer that packs itself": (
        "SFTTrainer",
        {"packing": True, "packing_strategy": "wrapped", "max_length": 64},
        RowError,
        r"got 'input_ids', 'labels'; .*'skip_prepare_dataset': True",
    ),
    "padding_free": (
        "SFTTrainer",
        {**UNPREPARED, "padding_free": True},
        ValueError,
        "custom data collator is not supported when using padding-free",
    ),
    "packing by TRL": (
        "SFTTrainer",
        {**UNPREPARED, "packing": True},
        ValueError,
        "custom data collator is not supported when using padding-free",
    ),
}


@pytest.mark.parametrize("name", FORGOT)
def test_an_option_that_was_forgotten_is_an_error_that_names_it(small: Any, tmp_path: Any, name: str) -> None:
    kind, options, error, message = FORGOT[name]
    with pytest.raises(error, match=message):
        trainer_of(kind, small, tmp_path, ChatCollator(small), **options).train()


def test_columns_that_a_streaming_data_set_lost(small: Any, tmp_path: Any) -> None:
    rows = datasets.Dataset.from_list(ROWS).to_iterable_dataset()
    with pytest.raises(RowError, match=r"got none; .* A trainer removes .* remove_unused_columns=False"):
        trainer_of("Trainer", small, tmp_path, ChatCollator(small), rows, remove_unused_columns=True).train()


def templates() -> dict[str, str | None]:
    """The small tokenizer's own, which TRL does not know, and two that it does."""
    known = pytest.importorskip("trl.chat_template_utils", reason="TRL is not installed")
    return {
        "examples/tokenizer": None,
        "Qwen2.5, as TRL has it": known.qwen2_5_chat_template,
        "Qwen3, as TRL has it": known.qwen3_chat_template,
    }


def trained_by_trl(tokenizer: Any, folder: Any, row: Any, **options: Any) -> str:
    if options and not knows(tokenizer):
        with pytest.raises(ValueError, match="not training-compatible"):
            trainer_of("SFTTrainer", tokenizer, folder, None, datasets.Dataset.from_list([row]), **options)
        return "ValueError"
    trainer = trainer_of("SFTTrainer", tokenizer, folder, None, datasets.Dataset.from_list([row]), **options)
    found = trainer.train_dataset[0]
    if -100 not in found["labels"]:
        return f"all {len(found['labels'])} tokens"
    return as_cell(stretches(tokenizer, torch.tensor(found["input_ids"]), torch.tensor(found["labels"]) != -100))


def knows(tokenizer: Any) -> bool:
    """Whether TRL has a copy of the template."""
    return tokenizer.chat_template in templates().values()


def table(load: Callable[[], Any], folder: Any) -> list[str]:
    lines = []
    for name, template in templates().items():
        for what, row in COMPARED.items():
            tokenizer = load_with(load, template)
            batch = ChatCollator(tokenizer)([row])
            ours = as_cell(stretches(tokenizer, batch["input_ids"][0], batch["labels"][0] != -100))
            default = trained_by_trl(tokenizer, folder, row)
            only = trained_by_trl(load_with(load, template), folder, row, assistant_only_loss=True)
            lines.append(f"| {name} | {what} | {ours} | {default} | {only} |")
    return lines


def load_with(load: Callable[[], Any], template: str | None) -> Any:
    tokenizer = load()
    tokenizer.chat_template = template or tokenizer.chat_template
    return tokenizer


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_table_of_what_trl_trains_is_in_the_docs(tmp_path: Any, say: Any) -> None:
    from transformers import AutoTokenizer

    installed = version("trl")
    if not installed.startswith("1.16."):
        pytest.skip(f"the docs tell of TRL 1.16, and {installed} is installed")
    lines = table(lambda: AutoTokenizer.from_pretrained(REPO / "examples" / "tokenizer"), tmp_path)
    differ = sum(len({cell.strip() for cell in line.replace("\\|", "").split("|")[3:6]}) > 1 for line in lines)
    say(f"SFTTrainer's own masking beside ChatCollator's: {differ} of {len(lines)} rows differ (docs/sfttrainer.md)")
    assert [line for line in lines if line not in OWN_MASKING] == []
