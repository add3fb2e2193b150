"""``make attack``: it runs, and what it looks for it finds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from zoo import REPO

# Each for a moment: how many tries there are is the machine's, what comes of them is not.
SHORT = ("control tokens", "templates", "objects", "calls")


def attack(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPO / "tools" / "attack"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPO, timeout=300)


@pytest.mark.parametrize("name", SHORT)
def test_an_attack_runs_and_nothing_fails(name: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    done = attack("--only", name, "--minutes", "0.15", "--seed", "3", "--markdown", str(page))
    row = next(line for line in done.stdout.splitlines() if line.startswith(f"| {name} "))
    tried, right, refused, failed = (int(cell.replace(",", "")) for cell in row.split("|")[3:7])
    assert (done.returncode, failed) == (0, 0), done.stdout + done.stderr
    assert tried == right + refused
    assert tried > 0
    assert row in page.read_text(encoding="utf-8")


def test_what_fails_is_counted_and_can_be_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With an encoder that is wrong by one id, one that raises what it should not, and one that hangs."""
    monkeypatch.syspath_prepend(str(REPO / "tools"))
    # After the path is there.
    from attack.fuzzers import objects, small
    from attack.table import failures, table
    from attack.tries import Setting
    from attack.watch import Result
    from attack.worker import outcome_of
    from chatspan import ChatEncoder

    attempt = objects.start(Setting("objects", 0, tmp_path))
    number = next(number for number in range(200) if outcome_of(attempt, number).kind == "right")
    encode = ChatEncoder.encode

    def off_by_one(self: ChatEncoder, *given: Any, **keywords: Any) -> Any:
        found = encode(self, *given, **keywords)
        found.input_ids[-1] += 1
        return found

    def untyped(self: ChatEncoder, *given: Any, **keywords: Any) -> Any:
        raise KeyError("role")

    notes = []
    for wrong in (off_by_one, untyped):
        monkeypatch.setattr(ChatEncoder, "encode", wrong)
        outcome = outcome_of(attempt, number)
        assert outcome.kind == "failed"
        notes.append(outcome.note)
    assert re.search(r"from \d+ on, .* by transformers, .* by chatspan", notes[0])
    assert "KeyError: 'role'" in notes[1]
    from attack.attacks import BY_NAME

    result = Result(BY_NAME["objects"])
    result.counts.update(failed=1)
    result.failures[number] = notes[1]
    assert "| objects " in table([result])
    assert f'make attack ARGS="--only objects --seed 0 --try {number}"' in failures([result], 0)[0]
    assert small.tokenizer() is not None
