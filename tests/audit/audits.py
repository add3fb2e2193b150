"""Data sets in files, audited by the command as people run it, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chatspan.cli import main
from zoo import EXAMPLES

TOKENIZER = str(EXAMPLES / "tokenizer")

# ChatML whose assistants' messages are generation blocks, with a newline in front that is no part of the turn.
TAGGED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ '\\n' + m.content }}{% endgeneration %}{{ '<|im_end|>\\n' }}"
    "{% else %}{{ '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Drops reasoning of all but the last message, as Qwen3 does.
FORGETFUL = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.reasoning_content and loop.last %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}"
    "{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
GOOD = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]


def write_rows(path: Path, *rows: Any) -> Path:
    """JSON lines: lists are messages, dicts are rows, strings are lines as they are."""
    lines = [
        row if isinstance(row, str) else json.dumps({"messages": row} if isinstance(row, list) else row) for row in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class Command:
    """Runs ``chatspan audit``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.folder = folder

    def run(self, *arguments: object, tokenizer: str = TOKENIZER, columns: int = 100) -> tuple[int, str, str]:
        """The exit code, stdout and stderr, on a terminal of so many columns."""
        line = ["chatspan", "audit", *map(str, arguments), "--tokenizer", tokenizer]
        self._monkeypatch.setattr("sys.argv", line)
        self._monkeypatch.setenv("COLUMNS", str(columns))
        self._capsys.readouterr()
        code = main()
        out, err = self._capsys.readouterr()
        return code, out, err

    def rows(self, *rows: Any, options: tuple[object, ...] = ()) -> dict[str, Any]:
        """The report of rows, as JSON; the exit code says whether there are problems."""
        code, out, err = self.run(write_rows(self.folder / "data.jsonl", *rows), "--json", *options)
        assert out, err
        report: dict[str, Any] = json.loads(out)
        assert code == (1 if report["problems"] else 0)
        return report


def findings(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Findings by ``"severity, category: what"``."""
    return {f"{each['severity']}, {each['category']}: {each['what']}": each for each in report["findings"]}
