"""The code of the README and the docs runs, and does what the pages say."""

from __future__ import annotations

from pathlib import Path

import chatspan
import docs_blocks
import pytest
from chatspan.moved import MOVED
from docs_blocks import ALL_BLOCKS, ALL_PROGRAMS, PAGES, PRINTS, RAISES, RUN, Block, Program, indented_code_of
from zoo import REPO, ZOO, require_zoo

# What pages may hold beside programs, by language.
SHOWN = {"diff": "a change of a reader's own code"}

# Programs and commands that cannot run here: "page: a part of the code", and why. They are still read.
NOT_RUN = {
    "docs/ray.md: --engine ray --processes 16": "sixteen workers; tests/ray_data/test_ray.py runs it with two",
    "docs/media.md: --processor": "a processor of the hub; tests/media/test_media_command.py runs them with one",
    'docs/media.md: load_dataset("encoded"': "what a command wrote; tests/media/test_encoded_media.py runs it",
    "docs/command-line.md: chatspan teacher": "a server; tests/shards/test_teacher_command.py runs it with one",
}

# Texts that nothing here compares, by their title.
NOT_COMPARED = {
    "make test": "the tests' own summary, with all data sets",
    "make bench": "times",
    "make attack": "takes ten minutes",
    "make bench-encode": "times",
    "benches/top_k.py": "tests/loss/test_topk_cosines.py compares it",
    "tools/against_table.py": "made anew by hand: takes other libraries' versions",
    "chatspan audit": "parts of reports, of a data set that is not here",
    "chatspan audit --against": "a part of a report, of a data set that is not here",
    "a renderer in TOML": "a reader's own configuration",
    "agent_loops.yaml": "a reader's own configuration",
    "swift rlhf": "a command of another library; tests/trainers/test_swift_library.py runs a step of it",
    "the proof by ms-swift's template": "needs an environment of its own; tests/trainers/test_swift_library.py runs it",
    "NeMo-RL's SDPO loop": "a part of a loop of another library, which is not on PyPI",
    "Kimi's tokenizer": "a download; tests/tokenize/test_other_patterns.py does it with a small file",
    "one turn of a row": "a picture",
    "a recording of the experiment": "a picture",
    "the way of the data": "a picture",
    "the way of a template": "a picture",
    "encode_batch and the collators": "a picture",
    "the loss of a token": "a formula",
    "the loss of a shard": "a part of a process; tests/distillation/test_shard_batch.py runs it in two",
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("program", ALL_PROGRAMS, ids=lambda program: str(program.block))
def test_a_block_does_what_its_page_says(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs_blocks.furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    docs_blocks.require_valid(program.block)
    if any(is_of(program.block, key) for key in NOT_RUN):
        return
    run = docs_blocks.run_python if program.block.language == "python" else docs_blocks.run_commands
    run(program)


def is_of(block: Block, key: str) -> bool:
    page, _, part = key.partition(": ")
    return block.page == page and part in block.code


def test_no_block_is_left_out() -> None:
    claims = [program.prints for program in ALL_PROGRAMS] + [program.raises for program in ALL_PROGRAMS]
    looked_at = {str(program.block) for program in ALL_PROGRAMS} | {str(claim) for claim in claims if claim}
    for block in ALL_BLOCKS:
        if block.language in RUN or block.kind in (PRINTS, RAISES):
            assert str(block) in looked_at, f"{block}: what prints this? It must follow a program at once"
        elif block.language == "text":
            assert block.title in NOT_COMPARED, f'{block}: say title="prints", or in NOT_COMPARED why not'
        else:
            assert block.language in SHOWN, f"{block}: nothing runs ```{block.language}"


def test_no_code_is_without_a_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = REPO / "docs" / "api"
    assert {
        str(page): found for page in PAGES if reference not in page.parents and (found := indented_code_of(page))
    } == {}
    monkeypatch.setattr(Path, "read_text", lambda *args, **kwargs: "Say:\n\n    print(1)\n\n- a list\n\n    of two\n")
    assert indented_code_of(PAGES[0]) == ["    print(1)"]


def test_the_tables_of_this_test_have_nothing_that_no_page_has() -> None:
    assert [key for key in NOT_RUN if not any(is_of(program.block, key) for program in ALL_PROGRAMS)] == []
    assert set(SHOWN) == {block.language for block in ALL_BLOCKS} - {*RUN, "text", "pytb"}
    assert set(NOT_COMPARED) == {block.title for block in ALL_BLOCKS if block.language == "text"} - {"prints"}
    code = " ".join(block.code for block in ALL_BLOCKS)
    assert [name for name in docs_blocks.STAND_INS if name not in code] == []


ERRORS = {
    program.raises.code.strip().splitlines()[-1].partition(":")[0].removeprefix("chatspan.errors."): program
    for program in ALL_PROGRAMS
    if program.block.page == "docs/errors.md" and program.raises is not None
}


def test_the_page_of_errors_has_each_public_error() -> None:
    page = (REPO / "docs" / "errors.md").read_text(encoding="utf-8")
    public = {name for name in chatspan.__all__ if name.endswith(("Error", "Warning"))}
    assert {name for name in public if name not in page} == set()
    raised = {name for name in public if name.endswith("Error")} - {"ChatspanError", "ContentError"}
    assert set(ERRORS) == raised
    headings = [line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")]
    assert headings == list(ERRORS), "each error stands under its own name"


def test_the_first_program_prints_the_same_with_the_tokenizer_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not only with its stand-in, whose template is another one."""
    require_zoo()
    first = next(program for program in ALL_PROGRAMS if program.block.page == "docs/index.md" and program.prints)
    link = tmp_path / "Qwen" / "Qwen2.5-0.5B-Instruct"
    assert str(link.relative_to(tmp_path)) in first.block.code
    link.parent.mkdir()
    link.symlink_to(ZOO / "tokenizers" / "qwen2_5")
    monkeypatch.chdir(tmp_path)
    docs_blocks.run_python(first)


def test_the_page_of_changes_has_each_path_that_moved() -> None:
    page = (REPO / "docs" / "changed-since-0.1.md").read_text(encoding="utf-8")
    assert [f"| `{old}` | `{new}` |" for old, new in MOVED.items() if f"| `{old}` | `{new}` |" not in page] == []


def test_a_claim_that_is_not_so_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = REPO / "docs" / "a page that is not there.md"

    def run(text: str) -> None:
        monkeypatch.setattr(Path, "read_text", lambda *args, **kwargs: text)
        (program,) = docs_blocks.programs_of(page)
        monkeypatch.undo()
        docs_blocks.run_python(program)

    run('```python\nprint("one")\nprint("two")\n```\n\n```text title="prints"\n…\ntwo\n```\n')
    for wrong in ('```text title="prints"\ntwo\n```\n', '```pytb title="raises"\nValueError: two\n```\n'):
        with pytest.raises(AssertionError):
            run(f'```python\nprint("one")\nprint("two")\n```\n\n{wrong}')
    with pytest.raises(ValueError, match="three"):
        run('```python\nraise ValueError("three")\n```\n')
    with pytest.raises(AssertionError, match="say only a language"):
        run("```python linenums=1\n1\n```\n")


@pytest.mark.parametrize(
    ("language", "code", "message"),
    [
        ("python", "print(\n", "never closed"),
        ("sh", "chatspan inspect chats.jsonl --tokeniser gpt2\n", "No such option"),
        ("sh", "chatspan explain chats.jsonl\n", "chatspan has no 'explain'"),
        ("sh", "make tee  # for two\n", "make has no {'tee'}"),
        ("sh", "python tools/no_such_tool.py\n", "there is no"),
        ("sh", "curl elsewhere\n", "nothing here knows how to check 'curl'"),
    ],
)
def test_what_cannot_run_is_still_read(language: str, code: str, message: str) -> None:
    with pytest.raises(BaseException, match=message):
        docs_blocks.require_valid(Block("docs/a.md", 1, language, "", code))
