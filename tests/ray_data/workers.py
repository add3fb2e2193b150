"""Worker processes that tests watch and kill: what they do is in a file that all of them write."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What a worker may take to be made anew on a busy machine, many times over.
SECONDS = 180.0

Line = tuple[int, str, int]


class Log:
    """Which process has begun and done what: a batch or a chunk, by its first row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def watched(self, work: Callable[..., Any], first_row: Callable[..., int]) -> Callable[..., Any]:
        """The work, slower, and noted down."""

        def slow(*args: Any) -> Any:
            self.note("begun", first_row(*args))
            time.sleep(0.1)
            found = work(*args)
            self.note("done", first_row(*args))
            return found

        return slow

    def note(self, what: str, row: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{os.getpid()} {what} {row}\n")

    def lines(self) -> list[Line]:
        words = [line.split() for line in self.path.read_text().splitlines()]
        return [(int(process), what, int(row)) for process, what, row in words]


class Killer(threading.Thread):
    """Kills a worker that has done something and has begun something else; once."""

    def __init__(self, log: Log) -> None:
        super().__init__(daemon=True)
        self.log = log
        self.killed: int | None = None
        self.before: list[Line] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(0.002):
            for process in {process for process, what, _ in self.log.lines() if what == "done"}:
                # It stands still while it is looked at, so that it is killed in what it was seen at.
                os.kill(process, signal.SIGSTOP)
                self.before = self.log.lines()
                if [what for other, what, _ in self.before if other == process][-1] == "begun":
                    os.kill(process, signal.SIGKILL)
                    self.killed = process
                    return
                os.kill(process, signal.SIGCONT)

    def require_in_the_middle(self, first_rows: set[int]) -> None:
        """The worker had done a part, and held another, which a worker did that lives; most was not begun yet."""
        assert self.killed is not None
        mine = [(what, row) for process, what, row in self.log.lines() if process == self.killed]
        assert mine[0][0] == "begun"
        assert ("done", mine[0][1]) in mine
        what, held = mine[-1]
        assert what == "begun"
        assert len({row for _, _, row in self.before}) < len(first_rows) / 2
        others = {row for process, what, row in self.log.lines() if what == "done" and process != self.killed}
        assert held in others
        assert others | {row for what, row in mine if what == "done"} == first_rows
