"""The native tokenizer of a folder, made before transformers' own is loaded: used where it is the same, only there."""

from __future__ import annotations

import json
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import chatspan
import pytest
from chatspan.errors import BackendError
from chatspan.tokenize import ahead, native
from transformers import AutoTokenizer

FOLDER = Path(__file__).parents[2] / "examples" / "tokenizer"
CHAT = [{"role": "user", "content": "Grüße 👋 1234"}, {"role": "assistant", "content": "  Hello there!\n\n"}]
# A size of the cache of its own, so that no other test has loaded the same tokenizer.
SIZES = count(54_321)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made when the tokenizer is there: the files."""
    files: list[str] = []

    def make(file: str, **how: Any) -> Any:
        files.append(file)
        return chatspan._core.NativeTokenizer(file, **how)

    monkeypatch.setattr(native, "NativeTokenizer", make)
    return files


def check(tokenizer: Any, cache_bytes: int) -> None:
    """Tokens as transformers gives them, from the native tokenizer."""
    encoder = chatspan.ChatEncoder(tokenizer, backend="native", cache_bytes=cache_bytes)
    encoding = encoder.encode(CHAT)
    assert encoding.backend == "native"
    reference = tokenizer(encoding.text, add_special_tokens=False, return_offsets_mapping=True)
    assert encoding.input_ids.tolist() == reference["input_ids"]
    assert encoding.offsets.tolist() == [list(each) for each in reference["offset_mapping"]]
    assert not ahead._PENDING


def test_what_was_made_ahead_is_used(made: list[str]) -> None:
    size = next(SIZES)
    ahead.make_ahead(str(FOLDER), size)
    check(AutoTokenizer.from_pretrained(FOLDER), size)
    assert made == []


def test_older_files_with_other_words_for_the_same_are_used(made: list[str], tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "tokenizer.json"
    file = json.loads(path.read_text(encoding="utf-8"))
    file["model"]["merges"] = [" ".join(each) for each in file["model"]["merges"] if isinstance(each, list)]
    del file["model"]["ignore_merges"]
    path.write_text(json.dumps(file), encoding="utf-8")
    size = next(SIZES)
    ahead.make_ahead(str(tmp_path), size)
    check(AutoTokenizer.from_pretrained(tmp_path), size)
    assert made == []


@pytest.mark.parametrize("change", ["added token", "pre-tokenizer", "other size"])
def test_what_is_another_tokenizer_is_not_used(made: list[str], change: str) -> None:
    size = next(SIZES)
    ahead.make_ahead(str(FOLDER), next(SIZES) if change == "other size" else size)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    if change == "added token":
        tokenizer.add_tokens(["Hello there"])
    elif change == "pre-tokenizer":
        from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

        tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(True), ByteLevel(add_prefix_space=False)])
    check(tokenizer, size)
    assert len(made) == 1


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"model": {"type": "WordPiece"}}', "\udc80"])
def test_a_broken_file_is_left_to_who_needs_it(made: list[str], tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    size = next(SIZES)
    ahead.make_ahead(str(tmp_path), size)
    check(AutoTokenizer.from_pretrained(FOLDER), size)
    assert len(made) == 1


def test_a_name_is_no_folder(made: list[str]) -> None:
    ahead.make_ahead("some-organization/some-model", 1)
    assert ahead._PENDING == []


def test_a_refused_one_is_refused_with_its_reason(tmp_path: Path) -> None:
    size = next(SIZES)
    ahead.make_ahead(str(FOLDER), size)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    tokenizer.backend_tokenizer.model.dropout = 0.5
    with pytest.raises(BackendError, match="dropout: ids are drawn by chance"):
        chatspan.ChatEncoder(tokenizer, backend="native", cache_bytes=size)
