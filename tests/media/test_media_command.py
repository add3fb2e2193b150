"""``chatspan inspect`` and ``audit`` with ``--processor``: media as a person sees them, counted, and never cut."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "torchvision", reason="transformers' image processors need torchvision: pip install chatspan[media]"
)
pytest.importorskip("PIL", reason="images need pillow: pip install chatspan[media]")

import numpy as np
from chats import said
from chatspan import ChatEncoder, RowError
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow
from chatspan.rows.sources import open_source, read_row
from chatspan.view.media import media_views
from commands import chatspan
from encoded_files import write_rows
from PIL import Image
from processors import SPECS, built, image, medium, own_call
from zoo import EXAMPLES

CAT = {"type": "image", "path": "cat.png"}
ANSWER = {"role": "assistant", "content": "A cat."}
ROWS = [
    {"messages": [said("user", CAT, "What is it?"), ANSWER]},
    {"messages": [{"role": "user", "content": "<image>And <image>?"}, ANSWER], "images": ["dog.png", "cat.png"]},
    {"messages": [{"role": "user", "content": "Say it."}, ANSWER]},
]


@pytest.fixture(scope="module")
def qwen() -> Any:
    spec = next(each for each in SPECS if each.name == "Qwen2VLProcessor")
    return built(spec.name, spec.model_type, spec.media)


@pytest.fixture(scope="module")
def folder(qwen: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A processor as people have it."""
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


def tokens_of(qwen: Any, *sizes: tuple[int, int]) -> list[int]:
    """How many tokens the processor makes of images."""
    parts = [{"type": "image", "image": image(*size)} for size in sizes]
    return [each.end_token - each.start_token for each in ChatEncoder(qwen).encode([said("user", *parts)]).media]


def test_a_terminal_says_what_a_medium_is_in_place_of_its_tokens(qwen: Any, folder: str, data: Path) -> None:
    [cat] = tokens_of(qwen, (64, 64))
    done = chatspan("inspect", str(data), "--processor", folder)
    assert done.returncode == 0, done.stderr
    assert f"[image, {cat} tokens]What is it?<|im_end|>" in done.stdout
    assert "<|image_pad|>" not in done.stdout
    assert re.findall(r"⟦(.*?)⟧", done.stdout) == ["A cat.", "<|im_end|>", "in the loss"]


def test_a_page_has_a_small_picture_of_each_image(qwen: Any, folder: str, data: Path, tmp_path: Path) -> None:
    dog, cat = tokens_of(qwen, (150, 100), (64, 64))
    page = tmp_path / "page.html"
    done = chatspan("inspect", str(data), "--processor", folder, "--row", "1", "--html", str(page))
    assert done.returncode == 0, done.stderr
    html = page.read_text(encoding="utf-8")
    assert "img-src data:;" in html
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    [side] = json.loads(found[1])["views"][0]["sides"]
    assert [(each["message_index"], each["part"], each["tokens"], each["about"]) for each in side["media"]] == [
        (0, 0, dog, "150 × 100"),
        (0, 2, cat, "64 × 64"),
    ]
    for each in side["media"]:
        picture = Image.open(io.BytesIO(base64.b64decode(each["picture"].removeprefix("data:image/jpeg;base64,"))))
        assert max(picture.size) <= 128
    done = chatspan("inspect", str(data), "--processor", folder, "--row", "2", "--html", str(page), "--force")
    assert "img-src" not in page.read_text(encoding="utf-8")


def test_json_has_a_list_of_media(folder: str, data: Path) -> None:
    done = chatspan("inspect", str(data), "--processor", folder, "--json")
    [side] = json.loads(done.stdout)[0]["sides"]
    [cat] = side["media"]
    assert (cat["modality"], cat["message_index"], cat["part"]) == ("image", 0, 0)
    assert set(side["texts"][cat["start_token"] : cat["end_token"]]) == {"<|image_pad|>"}
    assert cat["picture"].startswith("data:image/jpeg;base64,")


def test_videos_and_audio_without_a_picture_are_still_told(qwen: Any) -> None:
    messages = [said("user", medium("video", 0), "What?")]
    try:
        own_call(qwen, messages)
    except Exception as error:
        pytest.skip(f"transformers' own takes no such video here: {error}")
    encoding = ChatEncoder(qwen).encode(messages)
    [seen] = media_views(encoding, messages, qwen)
    assert (seen.modality, seen.about) == ("video", "56 × 56")
    assert seen.picture is not None
    [blind] = media_views(encoding)
    assert (blind.words, blind.about, blind.picture) == (f"video, {seen.tokens} tokens", "", None)
    spec = next(each for each in SPECS if each.media == ("audio",))
    listener = built(spec.name, spec.model_type, spec.media)
    messages = [said("user", medium("audio", 0), "What?")]
    [heard] = media_views(ChatEncoder(listener).encode(messages), messages, listener)
    assert (heard.modality, heard.about, heard.picture) == ("audio", "0.5 s", None)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_audit_counts_media(qwen: Any, folder: str, data: Path, processes: str) -> None:
    cat, dog = (tokens_of(qwen, size)[0] for size in ((64, 64), (150, 100)))
    done = chatspan("audit", str(data), "--processor", folder, "--json", "-p", processes)
    report = json.loads(done.stdout)
    assert [each["what"] for each in report["findings"]] == ["marks <image> are read as parts"]
    media = report["media"]
    assert (media["rows"], media["media"], media["tokens"]) == (2, {"image": 3}, {"image": 2 * cat + dog})
    assert media["share"] == media["tokens_in_all"] / report["tokens"]
    assert media["largest"] == {"tokens": dog, "modality": "image", "row": "chats.jsonl:2", "message_index": 0}
    assert (media["tokens_a_row"]["min"], media["tokens_a_row"]["max"]) == (cat, cat + dog)
    assert report["tokens_by_role"]["user"]["media"] == {"tokens": 2 * cat + dog, "in_loss": 0}
    said_of_it = " ".join(chatspan("audit", str(data), "--processor", folder, "-p", processes).stdout.split())
    assert f"2 of 3 rows have media: 3 images; {2 * cat + dog} tokens of them" in said_of_it
    assert f"the largest is an image of {dog} tokens, chats.jsonl:2 message 0." in said_of_it


def test_processes_work_where_torch_has_had_threads(folder: str, data: Path) -> None:
    """A forked process has none of them, and would wait for them where there is much to do."""
    image(1024, 1024).save(data.parent / "cat.png")
    script = """
import sys, torch
from transformers import AutoProcessor
from chatspan import ChatEncoder
from chatspan.audit.run import audit
from chatspan.audit.settings import AuditSettings
from chatspan.rows.sources import open_source
torch.set_num_threads(2)
torch.nn.functional.interpolate(torch.rand(1, 3, 900, 900), size=(500, 500), mode="bicubic")
encoder = ChatEncoder(AutoProcessor.from_pretrained(sys.argv[1]))
print(audit(open_source(sys.argv[2]), encoder, AuditSettings(), processes=2).media.media)
"""
    command = [sys.executable, "-W", "ignore", "-c", script, folder, str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "Counter({'image': 3})\n", done.stderr


def test_an_audit_says_where_a_cut_goes_through_a_medium(qwen: Any, folder: str, data: Path, tmp_path: Path) -> None:
    whole = [len(each) for each in (ChatEncoder(qwen).encode(read(qwen, data, index)) for index in (0, 1))]
    options = ("--max-length", str(whole[0] - 1), "-p", "1")
    report = json.loads(chatspan("audit", str(data), "--processor", folder, "--json", *options).stdout)
    # The left one takes a control token of the header alone of the first row; of the second one more than its image.
    assert report["cuts"]["right"]["rows"] == 2
    assert report["cuts"]["left"]["media"] == 1
    found = {each["what"]: each for each in report["findings"] if "media" in each["category"]}
    [place] = found["cut off on the left"]["places"]
    assert (place["row"], place["message_index"]) == ("chats.jsonl:2", 0)
    assert re.fullmatch(r"an image of \d+ tokens among \d+", place["quote"])
    page = tmp_path / "audit.html"
    text = chatspan("audit", str(data), "--processor", folder, *options, "--html", str(page)).stdout
    assert "1 row would have a medium cut, and are rejected" in " ".join(text.split())
    assert "rows with a medium cut" in page.read_text(encoding="utf-8")


def read(qwen: Any, data: Path, index: int) -> Any:
    return RowReader(template=ChatEncoder(qwen)).read(read_row(open_source(str(data)), index)).messages


def test_files_are_looked_for_where_the_command_runs_and_then_beside_the_data(
    qwen: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(qwen, data, 0)[0]["content"][0]["path"] == str(data.parent / "cat.png")
    monkeypatch.chdir(data.parent)
    assert read(qwen, data, 0)[0]["content"][0]["path"] == "cat.png"


def test_what_tables_keep_of_media_is_opened(qwen: Any, data: Path) -> None:
    packed = (data.parent / "cat.png").read_bytes()
    wanted = ChatEncoder(qwen).encode([said("user", {"type": "image", "image": image(64, 64)}, "What?"), ANSWER])
    for value in ({"bytes": packed, "path": "cat.png"}, {"bytes": packed}, packed, image(64, 64)):
        row = {"messages": [said("user", {"type": "image"}, "What?"), ANSWER], "images": [value]}
        encoder = ChatEncoder(qwen)
        found = encoder.encode(RowReader(template=encoder).read(RawRow(0, "row 0", row)).messages)
        assert found.input_ids.tolist() == wanted.input_ids.tolist()
        assert (found.model_inputs["pixel_values"] == wanted.model_inputs["pixel_values"]).all()


def test_parquet_with_images_as_datasets_writes_them(folder: str, data: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    images = [[{"bytes": (data.parent / "cat.png").read_bytes(), "path": None}]]
    messages = [[{"role": "user", "content": "<image>What is it?"}, ANSWER]]
    pq.write_table(pa.table({"messages": messages, "images": images}), data.parent / "chats.parquet")
    done = chatspan("inspect", str(data.parent / "chats.parquet"), "--processor", folder)
    assert "[image, 4 tokens]What is it?" in done.stdout, done.stderr


def test_a_folder_of_datasets_with_images(folder: str, data: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs datasets", exc_type=ImportError)
    table = {
        "messages": [ROWS[1]["messages"]],
        "images": [[str(data.parent / name) for name in ("dog.png", "cat.png")]],
    }
    rows = datasets.Dataset.from_dict(table).cast_column("images", datasets.Sequence(datasets.Image()))
    rows.save_to_disk(str(tmp_path / "saved"))
    done = chatspan("inspect", str(tmp_path / "saved"), "--processor", folder)
    assert re.search(r"\[image, \d+ tokens\]And \[image, 4 tokens\]\?", done.stdout), done.stderr


@pytest.mark.parametrize(
    ("part", "said_of_it"),
    [
        (
            {"type": "image", "image": b"no image"},
            r"part 0 of message 0 is image data \(8 bytes\) that cannot be opened",
        ),
        (
            {"type": "video", "video": b"film"},
            r"part 0 of message 0 is video data \(4 bytes\), which processors take only",
        ),
        ({"type": "image", "image": {"name": "cat"}}, "part 0 of message 0 is image data with the keys 'name': pass"),
    ],
    ids=["broken image", "video in bytes", "unknown keys"],
)
def test_data_that_cannot_be_read_say_which_part_it_is(qwen: Any, part: Any, said_of_it: str) -> None:
    reader = RowReader(template=ChatEncoder(qwen))
    with pytest.raises(RowError, match=said_of_it) as error:
        reader.read(RawRow(0, "row 0", {"messages": [said("user", part, "What?"), ANSWER]}))
    assert error.value.message_index == 0


def test_decoded_audio_has_the_processors_sampling_rate() -> None:
    spec = next(each for each in SPECS if each.media == ("audio",))
    listener = built(spec.name, spec.model_type, spec.media)
    reader = RowReader(template=ChatEncoder(listener))

    def row(rate: int) -> RawRow:
        sound = {"array": np.zeros(8000).tolist(), "sampling_rate": rate, "path": None}
        return RawRow(0, "row 0", {"messages": [said("user", {"type": "audio"}, "What?"), ANSWER], "audios": [sound]})

    part = reader.read(row(16_000)).messages[0]["content"][0]
    assert part["audio"].dtype == np.float32
    with pytest.raises(RowError, match=r"audio of 44,100 samples a second, and the processor takes 16,000: dataset\."):
        reader.read(row(44_100))


def test_the_same_words_about_another_image_are_another_row(folder: str, data: Path) -> None:
    rows = [{"messages": [said("user", {**CAT, "path": name}, "What?"), ANSWER]} for name in ("cat.png", "dog.png")]
    images = [{"messages": ROWS[1]["messages"], "images": names} for names in (["cat.png"] * 2, ["dog.png"] * 2)]
    write_rows(data, [*rows, *images, rows[0]])
    report = json.loads(chatspan("audit", str(data), "--processor", folder, "--json", "-p", "1").stdout)
    [repeated] = [each for each in report["findings"] if each["category"] == "duplicate rows"]
    assert [place["row"] for place in repeated["places"]] == ["chats.jsonl:5"]


def test_one_of_both_is_named(folder: str, data: Path, tmp_path: Path) -> None:
    tokenizer = str(EXAMPLES / "tokenizer")
    for command in (("inspect",), ("audit",), ("encode", "-o", str(tmp_path / "out"))):
        for given, why in (
            ((), "one of them is needed"),
            (("--tokenizer", tokenizer, "--processor", folder), "use only one of them"),
        ):
            done = chatspan(*command, str(data), *given)
            assert done.returncode == 2
            assert why in " ".join(done.stderr.replace("│", " ").split())


def test_what_is_no_processor_says_what_to_give(folder: str, data: Path, tmp_path: Path) -> None:
    tokenizer = str(EXAMPLES / "tokenizer")
    done = chatspan("inspect", str(data), "--processor", tokenizer)
    assert done.returncode == 1
    # Of a folder without a model's configuration transformers before 5 makes nothing.
    told = (f"{tokenizer} has a tokenizer and no processor: use --tokenizer {tokenizer}", "Unrecognized model in")
    assert any(each in done.stderr for each in told)
    done = chatspan("inspect", str(data), "--processor", str(tmp_path / "none"))
    assert f"there is no processor in {tmp_path / 'none'}: no such folder" in done.stderr
    done = chatspan("inspect", str(data), "--tokenizer", tokenizer)
    assert "pass the model's processor" in done.stderr
    for option in (("--stability",), ("--against", "hf")):
        done = chatspan("audit", str(data), "--processor", folder, *option)
        assert f"{option[0]} works only on text: use --tokenizer" in done.stderr


def test_a_student_and_a_teacher_with_pictures(folder: str, data: Path) -> None:
    """Both sides' media stand in place of their tokens."""
    row = json.loads(data.read_text(encoding="utf-8").splitlines()[0])
    pair = {**row, "teacher_messages": [{"role": "system", "content": "It is a cat."}, *row["messages"]]}
    pairs = write_rows(data.parent / "pairs.jsonl", [pair])
    done = chatspan("inspect", str(pairs), "--processor", folder, "--json")
    [view] = json.loads(done.stdout)
    media = [[(each["modality"], each["tokens"]) for each in side["media"]] for side in view["sides"]]
    assert media[0] == media[1] != []
    assert [each["message_index"] for side in view["sides"] for each in side["media"][:1]] == [0, 1]
    page = data.parent / "pair.html"
    assert chatspan("inspect", str(pairs), "--processor", folder, "--html", str(page)).returncode == 0
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == 2 * len(media[0])


def test_missing_packages_are_named(folder: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Qwen2VLImageProcessor requires the Torchvision library but it was not found")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", missing)
    done = chatspan("inspect", str(data), "--processor", folder)
    assert 'requires the Torchvision library but it was not found; pip install "chatspan[media]"' in done.stderr
