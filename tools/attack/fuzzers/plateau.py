"""Whether memory stays flat: what a process takes after each part of the work, and how much that grows at the end."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path

from attack.tries import Attempt, Outcome, failed, right

_MIB = 2**20
# What the second half may grow by: what allocators keep is never quite the same.
_LIMIT_MIB = 4.0


def resident_mib() -> float:
    """The memory of this process that is in RAM, once what was freed has been given back."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MIB


def plateau(part: Callable[[int], float], parts: int, tries: int) -> Attempt:
    """The attempt of a part of the work; the last one judges.

    Args:
        part: does the part of a number, and says what of the memory that it took is another library's.
        parts: how many there are.
        tries: how many tries each stands for.
    """
    seen: list[float] = []
    of_others = 0.0

    def attempt(number: int) -> Outcome:
        nonlocal of_others
        of_others += part(number)
        seen.append(resident_mib() - of_others)
        if number + 1 < parts:
            return right(tries=tries)
        return judged(seen, tries)

    return attempt


def judged(seen: list[float], tries: int) -> Outcome:
    """Whether what was seen is flat in its second half."""
    half = len(seen) // 2
    growth = max(seen[half:]) - seen[half - 1]
    shown = (
        f"MiB after each {tries:,}: {' '.join(f'{each:.0f}' for each in seen)}; the second half grew by {growth:.1f}"
    )
    if growth > _LIMIT_MIB:
        return failed(f"the second half grew by {growth:.1f} MiB, more than {_LIMIT_MIB}", tries=tries, shown=shown)
    return right(tries=tries, shown=shown)
