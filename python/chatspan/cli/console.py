"""What a person sees while a command works: what it waits for, how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from chatspan.cli.text import plural, printable

# Where nobody watches, a line in this many seconds shows that the work goes on.
SECONDS_A_LINE = 10.0
# What takes shorter is not worth a line.
SECONDS_UNTIL_SAID = 2.0
# But a command that starts says within so many seconds what it waits for.
FIRST_LINE_SECONDS = 1.0
_START_SECONDS = 3.0
_SHORTEST_SECONDS = 0.3
_BEGAN = time.monotonic()


class SafeConsole(Console):
    """A console on which text has no control characters but line feeds; its own codes for colours stay.

    Text of a table is made :func:`chatspan.cli.text.printable` before, so that columns have the right width.
    """

    def on_broken_pipe(self) -> None:
        """Whoever reads has seen enough, which is no failure, as Rich takes it for."""
        raise BrokenPipeError

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def stdout() -> Console:
    """Where results go."""
    return SafeConsole(markup=False, highlight=False, emoji=False)


def stderr() -> Console:
    """Where all goes that is said about the work."""
    return SafeConsole(stderr=True, markup=False, highlight=False, emoji=False)


def say(line: str) -> None:
    """Says a line about the work."""
    stderr().print(f"chatspan: {printable(line)}", soft_wrap=True)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says what is waited for: at once on a terminal, elsewhere if it takes a while."""
    console = stderr()
    if console.is_terminal:
        with console.status(Text(f"{printable(what)} …")):
            yield
        return
    timer = threading.Timer(
        _seconds_until_said(), lambda: console.print(f"chatspan: {printable(what)} …", soft_wrap=True)
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _seconds_until_said() -> float:
    passed = time.monotonic() - _BEGAN
    return SECONDS_UNTIL_SAID if passed > _START_SECONDS else max(_SHORTEST_SECONDS, FIRST_LINE_SECONDS - passed)


class RowProgress:
    """How far a data set is: rows, rows a second, time left. Used as a context manager.

    Args:
        what: what is done with the rows.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._console = stderr()
        self._rows = 0
        self._began = self._said = time.monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> RowProgress:
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                _RowsColumn(),
                TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=None, rows=0, began=time.monotonic())
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, rows: int, position: float | None) -> None:
        """So many more rows are done; of the data set this part, from 0 to 1, if anybody knows."""
        self._rows += rows
        if self._bar is not None:
            total = None if position is None else 1.0
            self._bar.update(self._task, total=total, completed=position or 0.0, rows=self._rows)
        elif time.monotonic() - self._said >= SECONDS_A_LINE:
            self._said = time.monotonic()
            done = "" if position is None else f" ({position:.0%})"
            speed = self._rows / (self._said - self._began)
            line = f"chatspan: {self._what}: {plural(self._rows, 'row')}{done}, {speed:,.0f} rows/s"
            self._console.print(line, soft_wrap=True)


class _RowsColumn(ProgressColumn):
    """Rows and rows a second."""

    def render(self, task: object) -> Text:
        fields = task.fields  # type: ignore[attr-defined]
        seconds = max(1e-9, time.monotonic() - fields["began"])
        return Text(f"{plural(fields['rows'], 'row')}, {fields['rows'] / seconds:,.0f} rows/s", style="cyan")
