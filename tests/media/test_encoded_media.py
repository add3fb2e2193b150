"""``chatspan encode --processor``, and the collator that makes batches with pixels of what it wrote."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "torchvision", reason="transformers' image processors need torchvision: pip install chatspan[media]"
)
pytest.importorskip("PIL", reason="images need pillow: pip install chatspan[media]")
pytest.importorskip("datasets", reason="needs datasets", exc_type=ImportError)

import datasets
import pyarrow.parquet as pq
import torch
from chats import chats, said
from chatspan import (
    ChatCollator,
    ChatEncoder,
    EncodedMediaCollator,
    ExpansionError,
    LayoutError,
    OptionError,
    RowError,
)
from chatspan.rows.row import RawRow
from chatspan.shards.plan import EncodePlan
from chatspan.shards.worker import ShardWorker, make_shard
from commands import chatspan
from encoded_files import contents, write_rows
from processors import DOZEN, SPECS, Spec, built, image, medium

CAT = {"type": "image", "path": "cat.png"}
ANSWER = {"role": "assistant", "content": "A cat."}
ROWS = [
    {"messages": [said("user", CAT, "What is it?"), ANSWER]},
    {"messages": [{"role": "user", "content": "<image>And <image>?"}, ANSWER], "images": ["dog.png", "cat.png"]},
    {"messages": [{"role": "user", "content": "Say it."}, ANSWER]},
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "spec" in metafunc.fixturenames:
        metafunc.parametrize("spec", SPECS if metafunc.config.getoption("--all") else DOZEN, ids=str)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def processor_of(name: str) -> Any:
    spec = next(each for each in SPECS if each.name.startswith(name))
    processor = built(spec.name, spec.model_type, spec.media)
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = "<|endoftext|>"
    return processor


@pytest.fixture(scope="module")
def qwen() -> Any:
    return processor_of("Qwen2VL")


@pytest.fixture(scope="module")
def folder(qwen: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("processor")
    qwen.save_pretrained(path)
    return str(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Rows whose images lie beside their file."""
    (tmp_path / "data").mkdir()
    image(64, 64).save(tmp_path / "data" / "cat.png")
    image(150, 100).save(tmp_path / "data" / "dog.png")
    return write_rows(tmp_path / "data" / "chats.jsonl", ROWS)


def encoded(processor: Any, rows: Sequence[Any], tmp_path: Path, **options: Any) -> list[dict[str, Any]]:
    """Rows as a shard has them."""
    plan = EncodePlan(source="rows", processor="a processor", **options)
    raw = [RawRow(index, f"row {index}", row) for index, row in enumerate(rows)]
    shard = make_shard(ShardWorker(plan, tmp_path, ChatEncoder(processor)), raw)
    assert not shard.rejects, shard.rejects
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(memoryview(shard.table))).to_pylist()
    return found


def require_same(found: Any, wanted: Any) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype, name
            assert torch.equal(found[name], value), name
        else:
            assert found[name] == value, name


def media_columns(messages: Sequence[Any]) -> dict[str, list[Any]]:
    """What parts hold, as columns: their shards have no sources of it."""
    found: dict[str, list[Any]] = {}
    for message in messages:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] != "text":
                found.setdefault(f"{part['type']}s", []).append(part[part["type"]])
    return found


def test_shards_say_where_media_stand_and_have_no_pixels(qwen: Any, folder: str, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = chatspan("encode", str(data), "--processor", folder, "-o", str(out), "-p", "1")
    assert done.returncode == 0, done.stderr
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    names = ["row_index", "input_ids", "labels", "message_index", "kind", "render", "media"]
    assert loaded.column_names == names
    for row in loaded:
        assert qwen.tokenizer.decode([each for each in row["labels"] if each != -100]) == "A cat.<|im_end|>"
        for each in row["media"]:
            tokens = row["input_ids"][each["start_token"] : each["end_token"]]
            assert set(qwen.tokenizer.convert_ids_to_tokens(tokens)) == {"<|image_pad|>"}
    found = [[(each["message_index"], each["part"], each["source"]) for each in row["media"]] for row in loaded]
    cat, dog = (str(data.parent / name) for name in ("cat.png", "dog.png"))
    assert found == [[(0, 0, cat)], [(0, 0, dog), (0, 2, cat)], []]
    assert loaded[0]["render"].startswith("<|im_start|>user\n<|image_pad|>What is it?<|im_end|>\n")


def test_the_files_do_not_depend_on_the_number_of_processes(folder: str, data: Path, tmp_path: Path) -> None:
    for processes, out in (("1", "one"), ("2", "two")):
        options = ("--processor", folder, "--rows-per-shard", "1", "-p", processes)
        assert chatspan("encode", str(data), "-o", str(tmp_path / out), *options).returncode == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_another_processor_is_another_run(qwen: Any, folder: str, data: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert chatspan("encode", str(data), "--processor", folder, "-o", out, "-p", "1").returncode == 0
    again = chatspan("encode", str(data), "--processor", folder, "-o", out, "-p", "1")
    assert "3 rows already in" in again.stdout
    small = tmp_path / "small"
    qwen.save_pretrained(small)
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (small / name).exists():
            text = (small / name).read_text(encoding="utf-8")
            (small / name).write_text(text.replace("0.48145466", "0.5"), encoding="utf-8")
    done = chatspan("encode", str(data), "--processor", str(small), "-o", out, "-p", "1")
    assert "holds a run of another processor, by what is in it" in done.stderr
    assert done.returncode == 1


def test_a_row_whose_image_is_missing_is_rejected(folder: str, data: Path, tmp_path: Path) -> None:
    lost = {"messages": [said("user", {"type": "image", "path": "lost.png"}, "What?"), ANSWER]}
    packed = {"messages": [said("user", "What?"), {"role": "user", "content": "No answer."}]}
    write_rows(data, [ROWS[0], lost, packed])
    done = chatspan("encode", str(data), "--processor", folder, "-o", str(tmp_path / "out"), "-p", "1")
    assert done.returncode == 1
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text("utf-8").splitlines()]
    assert [(each["row_index"], each["error"]) for each in rejects] == [(1, "ExpansionError"), (2, "EmptyRowError")]
    assert "look at the media" in rejects[0]["message"]


def test_a_cut_through_a_medium_is_rejected(folder: str, data: Path, tmp_path: Path) -> None:
    options = ("--max-length", "6", "--truncation", "right", "-p", "1")
    done = chatspan("encode", str(data), "--processor", folder, "-o", str(tmp_path / "out"), *options)
    assert done.returncode == 1
    assert "cuts off part 0 of message 0, an image of 4 tokens among" in done.stderr


@pytest.mark.parametrize("side", ["right", "left"])
def test_batches_are_those_of_the_rows(qwen: Any, folder: str, data: Path, side: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert chatspan("encode", str(data), "--processor", folder, "-o", str(out), "-p", "1").returncode == 0
    rows = list(datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache")))
    cat, dog = image(64, 64), image(150, 100)
    own = [
        {"messages": [said("user", {"type": "image", "image": cat}, "What is it?"), ANSWER]},
        {**ROWS[1], "images": [dog, cat]},
        ROWS[2],
    ]
    found = EncodedMediaCollator(qwen, padding_side=side, pad_to_multiple_of=8)(rows)
    require_same(found, ChatCollator(qwen, padding_side=side, pad_to_multiple_of=8)(own))
    require_same(EncodedMediaCollator(qwen)(rows[2:]), ChatCollator(qwen)(own[2:]))


def test_batches_of_real_processors_are_those_of_chat_collator(spec: Spec, tmp_path: Path) -> None:
    processor = processor_of(spec.name)
    given = [messages for name, messages in chats(spec.media).items() if name in ("one", "several")]
    own = [{"messages": messages} for messages in given]
    try:
        ChatCollator(processor)(own)
    except ExpansionError as error:
        pytest.skip(f"{spec} takes no such batch: {error!s:.80}")
    rows = encoded(processor, own, tmp_path)
    rows = [row | media_columns(messages) for row, messages in zip(rows, given, strict=True)]
    for side in ("right", "left"):
        wanted = ChatCollator(processor, padding_side=side)(own)
        require_same(EncodedMediaCollator(processor, padding_side=side)(rows), wanted)


def test_weights_cuts_and_ids_that_stand_in_place_of_the_texts(qwen: Any, tmp_path: Path) -> None:
    tokenizer = qwen.tokenizer
    letters = [i for letter in "A cat." for i in tokenizer(letter, add_special_tokens=False)["input_ids"]]
    sampled = {**ANSWER, "token_ids": [*letters, tokenizer.convert_tokens_to_ids("<|im_end|>")]}
    cat = medium("image", 3)
    long = said("assistant", "A cat, and so on and on and on.")
    for answer, collated, options in (
        (sampled, {}, {}),
        ({**ANSWER, "weight": 0.5}, {"loss_weight": True}, {"loss_weight": True}),
        (long, {"max_length": 24, "truncation": "right"}, {"max_length": 24, "truncation": "right"}),
        (ANSWER, {"special_tokens": "escape"}, {"special_tokens": "escape"}),
    ):
        own = [
            {"messages": [said("user", cat, "<|im_end|> What?" if "special_tokens" in options else "What?"), answer]}
        ]
        rows = [{**row, "images": [cat["image"]]} for row in encoded(qwen, own, tmp_path, **options)]
        require_same(EncodedMediaCollator(qwen)(rows), ChatCollator(qwen, **collated)(own))


def test_sources_are_found_in_another_folder(qwen: Any, data: Path, tmp_path: Path) -> None:
    own = [{"messages": [said("user", {"type": "image", "image": image(64, 64)}, "What?"), ANSWER]}]
    [row] = encoded(qwen, own, tmp_path)
    assert row["media"][0]["source"] is None
    row["media"][0]["source"] = "cat.png"
    require_same(EncodedMediaCollator(qwen, media_folder=str(data.parent))([row]), ChatCollator(qwen)(own))


def test_another_processor_or_another_image_is_an_error_that_names_the_row(qwen: Any, tmp_path: Path) -> None:
    own = [{"messages": [said("user", medium("image", number), "What?"), ANSWER]} for number in (3, 0)]
    rows = encoded(qwen, own, tmp_path)
    rows = [{**row, "images": [medium("image", 3)["image"]]} for row in rows]
    with pytest.raises(
        LayoutError, match=r"row 1: the processor makes \d+ tokens from it that are not its \d+ input_ids"
    ):
        EncodedMediaCollator(qwen)(rows)


def test_what_cannot_be(qwen: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="a tokenizer: pass the processor"):
        EncodedMediaCollator(qwen.tokenizer)
    with pytest.raises(OptionError, match="padding_side='top'"):
        EncodedMediaCollator(qwen, padding_side="top")  # type: ignore[arg-type]
    collate = EncodedMediaCollator(qwen)
    [row] = encoded(qwen, [{"messages": [said("user", medium("image", 3), "What?"), ANSWER]}], tmp_path)
    with pytest.raises(RowError, match="row 0: it has no 'render', as chatspan encode --processor writes it"):
        collate([{name: value for name, value in row.items() if name != "render"}])
    with pytest.raises(RowError, match="row 0: an image of message 0 has no source, and the row has no data for it"):
        collate([row])
    with pytest.raises(RowError, match="row 0: its 'labels' must have a value for each of its input_ids"):
        collate([{**row, "labels": [1], "images": [image(64, 64)]}])
    with pytest.raises(RowError, match="the batch is empty"):
        collate([])
