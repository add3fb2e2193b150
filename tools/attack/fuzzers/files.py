"""Files of every form with random contents and damage: no row is lost in silence, and no error is a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import datasets
import pyarrow.parquet as pq
from commands import Done, chatspan
from zoo import EXAMPLES

from attack.fuzzers.damaged_files import Input, input_of
from attack.tries import Attempt, Outcome, Setting, failed, refused, right

_TOKENIZER = str(EXAMPLES / "tokenizer")
# What a command says of what nobody foresaw.
_UNFORESEEN = ("Traceback (most recent call last)", "an unexpected error", "panicked at")
_BROKEN = re.compile(r"is broken after its first ([\d,]+) rows")
_FAILED_ROWS = re.compile(r"([\d,]+) rows? failed")


def start(setting: Setting) -> Attempt:
    """A try is one file and one command."""
    datasets.disable_progress_bars()

    def attempt(number: int) -> Outcome:
        chance, folder = setting.random(number), setting.folder / str(number)
        folder.mkdir()
        with setting.judge():
            given = input_of(folder, chance)
        command = chance.choice(["encode", "encode", "audit", "convert"])
        return tried(command, given, folder / "out", chance)

    return attempt


def tried(command: str, given: Input, out: Path, chance: Random) -> Outcome:
    """What a command makes of an input."""
    words = {"encode": encode_options, "audit": audit_options, "convert": convert_options}[command](out, chance)
    done = chatspan(command, str(given.path), *words)
    wrong = wrong_with(command, done) or lost(command, done, given, out)
    if wrong:
        said = f"chatspan {command} {given.path.name} {' '.join(words)}\n{given.said}; rows: {given.rows}"
        return failed(f"{said}\nexit code {done.returncode}\n{done.stdout[-600:]}\n{done.stderr[-600:]}\n{wrong}")
    note = f"{command} of {given.kind}"
    return right(note) if done.returncode == 0 else refused(note)


def encode_options(out: Path, chance: Random) -> list[str]:
    """Options of ``chatspan encode``."""
    words = ["-t", _TOKENIZER, "-o", str(out), "-p", "2" if chance.random() < 0.1 else "1"]
    words += ["--rows-per-shard", str(chance.choice([1, 3, 100]))] if chance.random() < 0.5 else []
    words += ["--format", "arrow"] if chance.random() < 0.2 else []
    words += ["--max-length", str(chance.choice([5, 40]))] if chance.random() < 0.2 else []
    return words


def audit_options(out: Path, chance: Random) -> list[str]:
    """Options of ``chatspan audit``."""
    return ["-t", _TOKENIZER, "-p", "1", "--json", *(["--turns"] if chance.random() < 0.3 else [])]


def convert_options(out: Path, chance: Random) -> list[str]:
    """Options of ``chatspan convert``."""
    return ["-o", str(out), *(["--to", "traces"] if chance.random() < 0.3 else [])]


def wrong_with(command: str, done: Done) -> str | None:
    """What is wrong with how a command ends."""
    if done.returncode not in (0, 1, 2):
        return "it ends with another exit code"
    for words in _UNFORESEEN:
        if words in done.stderr or words in done.stdout:
            return f"it says {words!r}"
    if done.returncode and not done.stderr.strip() and not (command == "audit" and done.stdout.strip()):
        return "it fails and says nothing"
    return None


def lost(command: str, done: Done, given: Input, out: Path) -> str | None:
    """Which rows are neither in what was written nor among those that failed."""
    if given.rows is None:
        return None
    count = counts_of(command, done, out)
    broken = _BROKEN.search(done.stderr)
    if broken is not None:
        said = int(broken[1].replace(",", ""))
        return None if count == said and done.returncode == 1 else f"{count} rows are there, and it says {said}"
    if count is None:
        return None if done.returncode else "nothing was written, and the exit code is 0"
    if count != given.rows:
        return f"{count} rows came out, rejected ones included"
    return None


def counts_of(command: str, done: Done, out: Path) -> int | None:
    """How many rows a command wrote or said to have failed; nothing where it refused the whole input."""
    if command == "audit":
        return int(json.loads(done.stdout)["rows"]) if done.stdout.strip() else None
    if command == "convert":
        if not out.exists():
            return None
        said = _FAILED_ROWS.search(done.stderr)
        return len(out.read_bytes().splitlines()) + (int(said[1].replace(",", "")) if said else 0)
    if not out.exists():
        return None
    rejects = out / "rejects.jsonl"
    rejected = len(rejects.read_bytes().splitlines()) if rejects.exists() else 0
    return rejected + sum(_rows_of(path) for path in out.rglob("*") if path.suffix in (".parquet", ".arrow"))


def _rows_of(path: Path) -> int:
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    table: Any = datasets.Dataset.from_file(str(path))
    return int(table.num_rows)
