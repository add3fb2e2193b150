"""The code of the README and the docs runs, and does what the pages say."""

from __future__ import annotations

from pathlib import Path

import chatspan
import docs_blocks
import pytest
from conftest import REPO
from docs_blocks import ALL_BLOCKS, ALL_PROGRAMS, PRINTS, RAISES, RUN, Program

# What pages may hold beside programs, by language.
SHOWN = {"diff": "a change of a reader's own code"}

# Texts that nothing here compares, by their title.
NOT_COMPARED = {
    "make test": "the tests' own summary, with all data sets",
    "make bench": "times",
    "make bench-encode": "times",
    "tools/against_table.py": "made anew by hand: takes other libraries' versions",
    "chatspan audit --against": "a part of a report, of a data set that is not here",
    "the way of the data": "a picture",
    "the loss of a token": "a formula",
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("program", ALL_PROGRAMS, ids=lambda program: str(program.block))
def test_a_block_does_what_its_page_says(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs_blocks.furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = docs_blocks.run_python if program.block.language == "python" else docs_blocks.run_commands
    run(program)


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


def test_the_tables_of_this_test_have_nothing_that_no_page_has() -> None:
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
