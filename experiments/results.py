"""One line for each seed and arm that is finished: a run that was stopped goes on behind them."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_COLUMNS = ("seed", "arm", "held_out", "seen", "steps", "seconds", "settings")


@dataclass(frozen=True)
class Result:
    """What came of an arm of a seed.

    Attributes:
        held_out, seen: success on combinations that nothing was trained on, and on those of the training.
        curve: held-out success on the way, as pairs of steps and success.
        seconds: that training and evaluation took.
        fingerprint: of the settings.
    """

    seed: int
    arm: str
    held_out: float
    seen: float
    steps: int
    seconds: float
    fingerprint: str
    curve: Sequence[tuple[int, float]] = ()


def append(path: Path, result: Result) -> None:
    """Adds a line, after one that was cut off, too."""
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * (file.tell() > 0) + json.dumps(asdict(result)))


def read(path: Path, fingerprint: str) -> list[Result]:
    """Those of these settings; a line that was cut off in the middle is none."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            values = json.loads(line)
            curve = tuple((int(step), float(value)) for step, value in values.pop("curve"))
            found.append(Result(**values, curve=curve))
    return [result for result in found if result.fingerprint == fingerprint]


def save_table(path: Path, results: Sequence[Result]) -> None:
    """A file of comma-separated values, by seed."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for result in results:
            values = (f"{result.held_out:.7f}", f"{result.seen:.7f}", result.steps, f"{result.seconds:.1f}")
            writer.writerow((result.seed, result.arm, *values, result.fingerprint))


def read_table(path: Path) -> list[Result]:
    """What :func:`save_table` saved, which has no curves."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Result(
                int(row["seed"]),
                row["arm"],
                float(row["held_out"]),
                float(row["seen"]),
                int(row["steps"]),
                float(row["seconds"]),
                row["settings"],
            )
            for row in csv.DictReader(file)
        ]
