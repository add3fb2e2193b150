"""Watches over the process in which tries are made: one that ends by itself, or does not go on, has failed its try."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attack.attacks import Attack
from attack.tries import Outcome, failed, refused

# What a process may take until it begins, and what is shown of its own words.
_START_SECONDS, _CHARACTERS = 120, 1500
# How often it is looked at.
_TICK = 0.2


@dataclass
class Result:
    """What came of an attack.

    Attributes:
        counts: of tries, by kind.
        notes: how often each was said of what was right or refused.
        failures: the numbers of the tries that failed, and how.
        shown: lines for below the table.
    """

    attack: Attack
    counts: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, number: int, outcome: Outcome) -> None:
        """Counts a try."""
        if outcome.kind == "failed":
            self.counts["failed"] += 1
            self.counts["right"] += outcome.tries - 1
            self.failures[number] = outcome.note
        else:
            self.counts[outcome.kind] += outcome.tries
            if outcome.note:
                self.notes[f"{outcome.kind}: {outcome.note}"] += outcome.tries
        if outcome.shown:
            self.shown.append(outcome.shown)


Told = Callable[[Result], None]


@dataclass
class Watch:
    """Watches over an attack.

    Args:
        entry: what starts a worker, as arguments of Python.
    """

    attack: Attack
    seed: int
    everything: bool = False
    entry: tuple[str, ...] = (str(Path(__file__).parent),)

    def run(self, seconds: float, *, first: int = 0, end: int | None = None, told: Told = lambda _: None) -> Result:
        """Makes tries for some time.

        Args:
            first, end: which; without an end as many as there is time for.
            told: is called with what there is, again and again.
        """
        result, begun = Result(self.attack), time.monotonic()
        deadline = time.time() + seconds
        next_one: int | None = first
        while next_one is not None and (end is None or next_one < end) and time.time() < deadline:
            next_one = self._one_process(result, next_one, end, deadline, told)
            told(result)
        if not result.counts.total():
            result.shown.append(f"its {seconds:.0f} s were over before the first try")
        elif next_one is not None and end is not None and next_one < end:
            result.shown.append(f"its time was over after {next_one} of {end}")
        result.seconds = time.monotonic() - begun
        return result

    def _one_process(self, result: Result, first: int, end: int | None, deadline: float, told: Told) -> int | None:
        """Makes tries until the process ends. Returns the number of the next one, if there is to be one."""
        with (
            tempfile.TemporaryDirectory(prefix="chatspan-attack-") as folder,
            self._started(first, end, deadline, Path(folder)) as (process, lines, words),
        ):
            number, limit, judging = None, _START_SECONDS, False
            since = time.monotonic()
            while True:
                # Looked at before what it told is read, so that all of that is read.
                over = process.poll() is not None
                line = next(lines)
                if line is not None:
                    since = time.monotonic()
                    limit = self.attack.seconds
                    judging = line.get("judging", False)
                    if "begin" in line:
                        number = line["begin"]
                    elif "end" in line:
                        number, first = None, line.pop("end") + 1
                        result.add(first - 1, Outcome(**line))
                        told(result)
                elif over:
                    break
                elif time.monotonic() - since > limit:
                    said = f"it hangs: no end after {limit:.0f} s{'' if number is not None else ' of starting'}"
                    result.add(
                        first,
                        refused("the judge hangs") if judging else failed(f"{said}\n{_asked(process, words)}"),
                    )
                    return first + 1
            if number is None and process.returncode == 0:
                return first
            how = process.returncode
            name = signal.Signals(-how).name if how < 0 else f"exit code {how}"
            said = f"the process ended by itself ({name}): {_end_of(words)}"
            result.add(first, refused("the judge ends the process") if judging else failed(said))
            # One that cannot even begin will not the next time.
            return first + 1 if number is not None else None

    @contextlib.contextmanager
    def _started(
        self, first: int, end: int | None, deadline: float, folder: Path
    ) -> Iterator[tuple[subprocess.Popen[bytes], Iterator[dict[str, Any] | None], Path]]:
        reading, writing = os.pipe()
        order = {
            "name": self.attack.name,
            "seed": self.seed,
            "folder": str(folder),
            "everything": self.everything,
            "first": first,
            "end": end,
            "deadline": deadline,
        }
        words = folder / "words.txt"
        with words.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *self.entry, "worker", str(writing), json.dumps(order)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=[writing],
                start_new_session=True,
            )
        os.close(writing)
        try:
            yield process, _lines(reading), words
        finally:
            # With what it started itself.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(reading)


def _lines(reading: int) -> Iterator[dict[str, Any] | None]:
    """What is told, line by line; nothing where for a moment there is nothing more."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while True:
            *whole, rest = rest.split(b"\n")
            yield from (json.loads(line) for line in whole)
            if selector.select(_TICK):
                data = os.read(reading, 1 << 16)
                rest += data
                if data:
                    continue
                time.sleep(_TICK)
            yield None


def _asked(process: subprocess.Popen[bytes], words: Path) -> str:
    """Where a process is."""
    process.send_signal(signal.SIGUSR1)
    time.sleep(1)
    return _end_of(words)


def _end_of(words: Path) -> str:
    return words.read_text("utf-8", "replace").strip()[-_CHARACTERS:] or "it said nothing"
