"""What is tried, and what comes of a try."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

# Right by a judge from outside, refused with an error that says so, or anything else.
Kind = Literal["right", "refused", "failed"]
# What odd objects say when they raise.
ODD = "an odd object"
# Of a traceback, the last.
_FRAMES = 6


class Outcome(NamedTuple):
    """What came of a try.

    Attributes:
        kind: as the table counts it.
        note: of what sort, for counting: ``"native"``. Where it failed, how.
        tries: how many it stands for, of which at most one failed.
        shown: a line for below the table.
    """

    kind: Kind
    note: str = ""
    tries: int = 1
    shown: str = ""


def right(note: str = "", **more: object) -> Outcome:
    """It came out as the judge says."""
    return Outcome("right", note, **more)  # type: ignore[arg-type]


def refused(note: str = "") -> Outcome:
    """It is an error that users are meant to see."""
    return Outcome("refused", note)


def failed(note: str, **more: object) -> Outcome:
    """It is none of that."""
    return Outcome("failed", note, **more)  # type: ignore[arg-type]


def told_of(error: BaseException) -> str:
    """An error and where it was, also where an odd object makes it one that cannot be shown."""
    try:
        lines = "".join(traceback.format_exception(error, limit=-_FRAMES)).splitlines()
        return "\n".join(line for line in lines if line.strip(" ^~"))
    except BaseException:
        return f"{type(error).__name__}, which cannot be shown"


@dataclass(frozen=True)
class Setting:
    """What all tries of an attack have in common.

    Attributes:
        name: the attack's.
        seed: of all.
        folder: an empty one, for files.
        everything: whether with the larger counts.
        judging: is told when the judge of a try begins and ends: what hangs or ends the process between the two is no
            failure of chatspan.
    """

    name: str
    seed: int
    folder: Path
    everything: bool = False
    judging: Callable[[bool], None] = lambda begins: None

    @contextlib.contextmanager
    def judge(self) -> Iterator[None]:
        """Around what is asked of the judge."""
        self.judging(True)
        try:
            yield
        finally:
            self.judging(False)

    def random(self, number: int) -> Random:
        """Chance for a try, the same for the same number."""
        return Random(f"{self.seed} {self.name} {number}")


# Makes the try of a number. What it raises is a failure.
Attempt = Callable[[int], Outcome]
