"""A teacher's top-k on disk: what is found is of exactly the ids of a batch, and what was scored once stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cases import assistant, config, failed, trace, user
from chatspan import ComposerDataCollator, LossError, OptionError
from chatspan.distillation.teachers import TeacherPrompt, teacher_prompts, top_k_of
from chatspan.errors import OutputError
from chatspan.shards.teacher_store import TeacherStore
from chatspan.shards.whole_files import disk

WORDS = ("Which train?", "Go on, then.", "é 🚆", "To Köln " * 9, "And 2 + 2?")
TRACES = [trace(user(word), failed(f"Try {word}"), user("ok"), assistant("Done."), trace_id=word) for word in WORDS]


def collated(tokenizer: Any, traces: Any, **options: Any) -> Any:
    return ComposerDataCollator(tokenizer=tokenizer, config=config(**{"layout": "indexed", **options}))(traces)


def scored(prompts: list[TeacherPrompt]) -> Any:
    """Of each token entries that say which ids are in front of it, and of some tokens more than of others."""
    choices = []
    for prompt in prompts:
        rows: list[Any] = [None]
        for position, token in enumerate(prompt.input_ids[1:], start=1):
            known = (sum(prompt.input_ids[: position + 1]) * 31 + position) % 997 + 1
            entries = {str(token): {"logprob": -known / 100 - 1}, str(token + 1): {"logprob": -known / 200 - 2}}
            rows.append(entries if known % 2 else {str(token): {"logprob": -known / 100 - 1}})
        choices.append({"prompt_token_ids": prompt.input_ids, "prompt_logprobs": rows})
    return {"choices": choices}


def assert_as_scored(store: TeacherStore, batch: Any) -> None:
    torch.testing.assert_close(store.top_k_of(batch), top_k_of(scored(teacher_prompts(batch)), batch), rtol=0, atol=0)


def test_what_was_scored_is_found_in_any_batch(small: Any, tmp_path: Path) -> None:
    """In another order, padded otherwise, packed, with others, and in another process."""
    store = TeacherStore(tmp_path / "teacher", teacher="a")
    for part in (TRACES[:2], TRACES[2:]):
        prompts = store.missing(collated(small, part))
        assert len(prompts) == len(part)
        store.add(prompts, scored(prompts))
    assert len(list((tmp_path / "teacher").iterdir())) == 2
    for found in (store, TeacherStore(tmp_path / "teacher", teacher="a")):
        for options in ({}, {"padding_side": "left"}, {"layout": "aligned"}, {"packing": True}):
            batch = collated(small, TRACES[::-1], **options)
            assert found.missing(batch) == []
            assert_as_scored(found, batch)
    assert len(store) == sum(len(prompt.positions) for prompt in teacher_prompts(collated(small, TRACES)))


def test_other_ids_in_front_of_a_token_are_not_found(small: Any, tmp_path: Path) -> None:
    store = TeacherStore(tmp_path, teacher="a")
    batch = collated(small, TRACES[:1])
    store.add(store.missing(batch), scored(store.missing(batch)))
    other = {key: value.clone() for key, value in batch.items()}
    other["ctx_teacher_input_ids"][0, 2] += 1
    assert [prompt.row for prompt in store.missing(other)] == [0]
    with pytest.raises(LossError, match=r"row 0, in-loss token 0: .* has nothing for token \d+ of the teacher's ids"):
        store.top_k_of(other)
    # Behind the last in-loss token anything may stand, and more of the row may be in the loss.
    at = int(batch["teacher_response_idx"].max())
    other = {key: value.clone() for key, value in batch.items()}
    other["ctx_teacher_input_ids"][0, at + 1] += 1
    assert store.missing(other) == []
    more = collated(small, TRACES[:1], loss_on="turn")
    assert [prompt.row for prompt in store.missing(more)] == [0]
    with pytest.raises(LossError, match=f"row 0, in-loss token {int(batch['response_idx_mask'].sum())}: "):
        store.top_k_of(more)


def test_a_run_that_was_ended_goes_on(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power is cut before a file has its name; nothing of it is seen, and its prompts are scored again."""
    batches = [collated(small, [each]) for each in TRACES]
    store = TeacherStore(tmp_path, teacher="a")
    for batch in batches[:2]:
        store.add(store.missing(batch), scored(store.missing(batch)))

    def cut(path: Path, to: Path) -> None:
        path.with_name(f"{to.name}.1-ab.tmp").write_bytes(path.read_bytes()[:40])
        raise OSError("no power")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "rename", cut)
        with pytest.raises(OutputError, match=r"top_k-\w+.parquet cannot be written"):
            store.add(store.missing(batches[2]), scored(store.missing(batches[2])))
    again = TeacherStore(tmp_path, teacher="a")
    assert [len(again.missing(batch)) for batch in batches] == [0, 0, 1, 1, 1]
    for batch in batches:
        prompts = again.missing(batch)
        again.add(prompts, scored(prompts) if prompts else [])
        assert_as_scored(again, batch)
    assert len(list(tmp_path.iterdir())) == len(batches)


def test_the_same_prompts_make_the_same_file(small: Any, tmp_path: Path) -> None:
    prompts = teacher_prompts(collated(small, TRACES))
    TeacherStore(tmp_path, teacher="a").add(prompts, scored(prompts))
    [path] = tmp_path.iterdir()
    first = path.read_bytes()
    TeacherStore(tmp_path, teacher="a").add(prompts[::-1], scored(prompts[::-1]))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert sorted(pq.read_table(path)["key"].to_pylist()) == sorted(
        pq.read_table(pa.py_buffer(first))["key"].to_pylist()
    )


def test_responses_to_other_prompts_are_not_written(small: Any, tmp_path: Path) -> None:
    store = TeacherStore(tmp_path, teacher="a")
    prompts = store.missing(collated(small, TRACES))
    with pytest.raises(LossError, match="scored the id"):
        store.add(prompts, scored(prompts[::-1]))
    assert (len(store), list(tmp_path.iterdir())) == (0, [])
    store.add([], [])
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be(small: Any, tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "a", teacher="Qwen/Qwen3-32B")
    prompts = teacher_prompts(collated(small, TRACES))
    store.add(prompts, scored(prompts))
    with pytest.raises(OutputError, match=r"belongs to the teacher 'Qwen/Qwen3-32B', not to 'Qwen/Qwen3-8B': use a"):
        TeacherStore(tmp_path / "a", teacher="Qwen/Qwen3-8B")
    [path] = (tmp_path / "a").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        OutputError, match=r"top_k-\w+.parquet is not a file of a teacher's top-k .*: use another folder"
    ):
        TeacherStore(tmp_path / "a", teacher="Qwen/Qwen3-32B")
    pq.write_table(pa.table({"input_ids": [[1, 2]]}), path)
    with pytest.raises(OutputError, match=r"is not a file of a teacher's top-k \(another form\)"):
        TeacherStore(tmp_path / "a", teacher="Qwen/Qwen3-32B")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file is a file: name a folder"):
        TeacherStore(tmp_path / "file", teacher="a")
    with pytest.raises(OptionError, match="teacher=''"):
        TeacherStore(tmp_path, teacher="")
    with pytest.raises(OptionError, match="folder=3"):
        TeacherStore(3, teacher="a")  # type: ignore[arg-type]
