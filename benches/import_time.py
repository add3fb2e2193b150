"""What ``import chatspan`` costs, over a Python that has numpy."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
from tables import Report, median
from timing import alternate

# A process' start varies more than a call, and costs little.
_PAIRS_PER_ROUND = 5


def report_import_time(report: Report, rounds: int) -> None:
    """Prints the difference of paired processes."""
    statements = ("import numpy", "import numpy, chatspan")
    times = alternate([partial(_run, statement) for statement in statements], _PAIRS_PER_ROUND * rounds)
    table = report.table("6. Importing", ["process", "ms"])
    for column, statement in enumerate(statements):
        table.add_row(f'python -c "{statement}"', median(times[:, column]))
    table.add_row("difference of pairs", median(times[:, 1] - times[:, 0]))
    # On a busy machine the fastest processes say more than pairs of them.
    fastest = times.min(axis=0)
    table.add_row("difference of the fastest", median(fastest[1:] - fastest[:1]))
    extra = np.quantile(times[:, 1] - times[:, 0], (0.25, 0.75))
    report.show(table, f"half of the differences are between {extra[0]:.1f} and {extra[1]:.1f} ms")


def _run(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True)
