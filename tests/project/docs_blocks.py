"""The code blocks of the README and the docs: what they say of themselves, and what it takes to run one.

A block's first line says its language and, for a reader and a test, its title:

- ``python`` is a whole program. One with the title ``first`` stands in front of each later program of its page.
- ``sh`` holds commands.
- ``text`` behind one of these with the title ``prints`` is all that it prints to stdout, ``pytb`` with the title
  ``raises`` the error that ends it; a line ``…`` stands for any lines.

Programs and commands run in an empty folder with the repository's ``examples`` in it, and with the names that pages use
for a reader's own files and for a model on the hub.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any
from unittest import mock

import check_docs
import commands
import pytest
import typer
from chatspan.cli.app import app
from zoo import REPO

PAGES = tuple(sorted(check_docs.PAGES))
FIRST = "first"
# Languages and titles of what a page says of the program before.
PRINTS, RAISES = ("text", "prints"), ("pytb", "raises")
RUN = ("python", "sh")

# What pages call a reader's own files, and a model on the hub.
STAND_INS = {
    "data.jsonl": "examples/sample_chats.jsonl",
    "traces.jsonl": "examples/sample_traces.jsonl",
    "Qwen/Qwen3-0.6B": "examples/tokenizer",
    "Qwen/Qwen2.5-0.5B-Instruct": "examples/tokenizer",
}
GOOD_ROWS = "chats.jsonl"
# Libraries of programs that cannot be installed everywhere.
NOT_ON_EVERY_PYTHON = {
    "renderers": "it needs Python 3.11",
    "trl": "it needs Python 3.11",
    "ray": "it has wheels for some Pythons only",
}

_VARIABLE = re.compile(r"[A-Z_]+=")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: from the folder of the repository: ``"docs/sft.md"``.
        line: the page's line that its code begins at, from 1.
        language: ``""`` where it says none.
        title: what a reader sees above it; ``""`` where it has none.
    """

    page: str
    line: int
    language: str
    title: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def kind(self) -> tuple[str, str]:
        return (self.language, self.title)


@dataclass(frozen=True)
class Program:
    """A block that runs, what stands in front of it, and what its page says that it does."""

    block: Block
    first: Sequence[Block]
    prints: Block | None
    raises: Block | None


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for fence in _FENCE.finditer(text):
        language, _, rest = fence["info"].strip().partition(" ")
        title = re.fullmatch(r'title="([^"]*)"', rest.strip())
        assert not rest or title, f'{page.name}: ```{fence["info"]}: say only a language and title="…"'
        line = text.count("\n", 0, fence.start("code")) + 1
        code = textwrap.dedent(fence["code"])
        blocks.append(Block(page.relative_to(REPO).as_posix(), line, language, title[1] if title else "", code))
    return blocks


def indented_code_of(page: Path) -> list[str]:
    """The first lines of code without a fence, which nothing would run."""
    lines = _FENCE.sub("", page.read_text(encoding="utf-8")).splitlines()
    found = []
    before = ""
    for above, line in pairwise(lines):
        before = above if above.strip() else before
        if not above.strip() and line.startswith("    ") and not re.match(r"\s|[-*:]|\d+\.", before):
            found.append(line)
    return found


def programs_of(page: Path) -> list[Program]:
    """The blocks of a page that run."""
    programs: list[Program] = []
    first: list[Block] = []
    blocks = blocks_of(page)
    for index, block in enumerate(blocks):
        if block.language not in RUN:
            continue
        claims: dict[tuple[str, str], Block] = {}
        for claim in blocks[index + 1 :]:
            if claim.kind not in (PRINTS, RAISES):
                break
            claims[claim.kind] = claim
        in_front = tuple(first) if block.language == "python" else ()
        programs.append(Program(block, in_front, claims.get(PRINTS), claims.get(RAISES)))
        if block.title == FIRST:
            first.append(block)
    return programs


ALL_BLOCKS = tuple(block for page in PAGES for block in blocks_of(page))
ALL_PROGRAMS = tuple(program for page in PAGES for program in programs_of(page))


def furnish(folder: Path) -> None:
    """Puts into a folder what programs and commands of pages name."""
    for name, target in {"examples": "examples", **STAND_INS}.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(REPO / target)
    # The sample has a line that is cut, and a row with nothing to train on, for audits to find.
    lines = (REPO / STAND_INS["data.jsonl"]).read_text(encoding="utf-8").splitlines()
    good = [line for line in lines if line.endswith("}") and '"assistant"' in line]
    (folder / GOOD_ROWS).write_text("\n".join(good), encoding="utf-8")


def commands_of(block: Block) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The commands of a block: variables that are set in front, and words."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        environment = dict(word.split("=", 1) for word in takewhile(_VARIABLE.match, words))
        if words[len(environment) :]:
            yield environment, words[len(environment) :]


def run_python(program: Program) -> None:
    """Runs it in this process and compares."""
    names = {"__name__": "__main__"}
    out = io.StringIO()
    error = None
    with contextlib.redirect_stdout(out):
        for block in program.first:
            exec(compile(block.code, str(block), "exec"), names)
        try:
            exec(compile(program.block.code, str(program.block), "exec"), names)
        except Exception as raised:
            if isinstance(raised, ModuleNotFoundError) and raised.name in NOT_ON_EVERY_PYTHON:
                pytest.skip(f"{raised.name} is not installed: {NOT_ON_EVERY_PYTHON[raised.name]}")
            if program.raises is None:
                raise
            error = _last_line(raised)
    require_said(program.raises, error)
    if program.prints is not None:
        require_said(program.prints, out.getvalue())


def run_commands(program: Program) -> None:
    """Runs each ``chatspan`` of a block and compares; looks that what other commands name is there."""
    printed, error = "", None
    for environment, words in commands_of(program.block):
        if words[0] == "chatspan":
            done, error = _chatspan(words[1:], environment, may_raise=program.raises is not None)
            printed += done
        else:
            require_there(words)
    require_said(program.raises, error)
    if program.prints is not None:
        require_said(program.prints, printed)


def _chatspan(words: Sequence[str], environment: dict[str, str], *, may_raise: bool) -> tuple[str, str | None]:
    """What it prints, and what it says when it fails."""
    with mock.patch.dict(os.environ, environment):
        try:
            done = commands.chatspan(*words)
        except Exception as raised:  # with CHATSPAN_TRACEBACK
            if not may_raise:
                raise
            return "", f"…\n{_last_line(raised)}"
    # An audit that found problems ends with 1, too.
    found_problems = words[0] == "audit" and bool(done.stdout)
    assert done.returncode == 0 or found_problems or may_raise, done.stderr
    return done.stdout, done.stderr if may_raise else None


def _last_line(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error))


def require_there(words: Sequence[str]) -> None:
    """Fails for a command that cannot be as it is written: no such target in the Makefile, no such file."""
    command, *rest = words
    if command == "make":
        named = {word for word in rest if "=" not in word}
        assert named <= check_docs.make_targets(), f"make has no {named - check_docs.make_targets()}"
    elif command in ("python", ".venv/bin/python", "pip", "cargo"):
        paths = [word.split("::")[0] for word in rest if re.search(r"\w/\w|\.py$", word.split("::")[0])]
        missing = [path for path in paths if not (REPO / path).exists()]
        assert missing == [], f"{' '.join(words)}: there is no {missing}"
    else:
        pytest.fail(f"{' '.join(words)}: nothing here knows how to check {command!r}")


def require_valid(block: Block) -> None:
    """Fails for a program that is no Python, or a command with options that there are not; runs nothing."""
    if block.language == "python":
        compile(block.code, str(block), "exec")
        return
    group: Any = typer.main.get_command(app)
    for _, words in commands_of(block):
        if words[0] != "chatspan":
            require_there(words)
            continue
        name, *rest = words[1:]
        assert name in group.commands, f"{block}: chatspan has no {name!r}"
        group.commands[name].make_context(name, rest)


def require_said(claim: Block | None, found: str | None) -> None:
    """Compares what a page says with what was printed or raised."""
    if claim is None and found is None:
        return
    assert claim is not None
    assert found is not None, f"{claim}: nothing was raised"
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line.rstrip()) + r"[ ]*\n" for line in claim.code.splitlines()
    )
    if not re.fullmatch(pattern, found.rstrip() + "\n"):
        # Fails, and shows the difference.
        assert found.rstrip().splitlines() == claim.code.rstrip().splitlines(), str(claim)
