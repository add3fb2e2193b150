"""``--help`` of each command: nothing is cut, and no word is broken, however narrow the terminal is."""

from __future__ import annotations

import re

import pytest
import typer
from chatspan.cli.app import app
from typer.testing import CliRunner

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_help_breaks_no_word(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for name, command in COMMANDS.items():
        run = CliRunner().invoke(app, [name, "--help"])
        assert run.exit_code == 0, run.output
        assert max(map(len, run.output.splitlines())) <= width
        assert not re.search(r"<[^>\s│]*[\s│]", run.output), "a type is broken over two lines"
        shown = set(re.split(r"[\s│]+", run.output))
        for option in command.params:
            names = [each for each in (*option.opts, *option.secondary_opts) if each.startswith("-")]
            words = [*names, *(getattr(option, "help", None) or "").split()]
            # A column of names may join two of them: "--a/--b", "--a,-b".
            joined = {part for word in shown for part in re.split(r"[,/](?=-)", word)}
            lost = [word for word in words if word not in shown | joined]
            assert lost == [], f"chatspan {name} --help, {width} columns"
