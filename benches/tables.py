"""Tables that read well in a terminal and in a file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from timing import Milliseconds

_WIDTH_OF_FILES = 120


class Report:
    """Prints a bench's parts, one table each."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False)
        if not self._console.is_terminal:
            self._console.width = _WIDTH_OF_FILES

    def say(self, text: str) -> None:
        """Prints a line."""
        self._console.print(text)

    def table(self, title: str, columns: Sequence[str]) -> Table:
        """An empty table whose first column is text and whose others are figures."""
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index else "left")
        return table

    def show(self, table: Table, *notes: str) -> None:
        """Prints a filled table and lines under it."""
        self._console.print(table)
        for note in notes:
            self.say(f"  {note}")
        self.say("")


def median(times: Milliseconds) -> str:
    """The median, with the digits that a reader can use."""
    return _shown(float(np.median(times)))


def ratio(values: Milliseconds) -> str:
    """The median of ratios, and their range."""
    return f"{median(values)}x ({_shown(values.min())} to {_shown(values.max())})"


def _shown(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
