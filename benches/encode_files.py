"""``chatspan encode`` on a large file: ``python benches/encode_files.py [--rows N]``.

Rows a second with 1 and 2 processes, and the memory of all its processes on a file ten times as long.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from inputs import DEFAULT_ZOO
from tables import Report

_EVERY_SECONDS = 0.05


@dataclass
class Measured:
    """A run of the command.

    Attributes:
        seconds: of all of it, loading included.
        peak_mb: the most that its processes took together at once, memory that they share counted once.
    """

    seconds: float
    peak_mb: float


def main() -> None:
    """Runs the command on files of both lengths, alternating between 1 and 2 processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=DEFAULT_ZOO, help="the folder of tokenizers and traces")
    parser.add_argument("--tokenizer", default="qwen2_5", help="its name in the zoo")
    parser.add_argument("--rows", type=int, default=20_000, help="of the long file; the short one has a tenth")
    parser.add_argument("--rounds", type=int, default=3, help="how often each runs")
    arguments = parser.parse_args()
    report = Report()
    counts = (arguments.rows // 10, arguments.rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [_write(arguments.zoo, folder / f"{count}.jsonl", count) for count in counts]
        runs: dict[tuple[int, int], list[Measured]] = {}
        for _ in range(arguments.rounds):
            for count, file in zip(counts, files, strict=True):
                for processes in (1, 2):
                    measured = _run(file, arguments.zoo / "tokenizers" / arguments.tokenizer, folder, processes)
                    runs.setdefault((count, processes), []).append(measured)
    report.say(
        f"{os.cpu_count()} CPUs (load {os.getloadavg()[0]:.1f}); real conversations, repeated; {arguments.tokenizer}"
    )
    table = report.table(
        "chatspan encode, parquet",
        ["rows", "processes", "seconds", "rows/s", "rows/s without the start", "peak memory, MB"],
    )
    for (count, processes), found in sorted(runs.items()):
        seconds = _median([each.seconds for each in found])
        steady = 1 / _marginal(runs, counts, processes)
        peak = _median([each.peak_mb for each in found])
        speeds = (f"{count / seconds:,.0f}", f"{steady:,.0f}")
        table.add_row(f"{count:,}", f"{processes}", f"{seconds:.1f}", *speeds, f"{peak:,.0f}")
    report.show(
        table,
        "Without the start: the rows that the long file has more, by the seconds that it takes longer.",
        "Memory: the sum of the processes' proportional set sizes, the page cache not counted.",
    )


def _write(zoo: Path, path: Path, count: int) -> Path:
    lines = (zoo / "traces" / "tau_airline_sdpo.jsonl").read_text(encoding="utf-8").strip().split("\n")
    with path.open("w", encoding="utf-8") as file:
        for index in range(count):
            trace = json.loads(lines[index % len(lines)])
            file.write(json.dumps({**trace, "trace_id": f"{trace['trace_id']}-{index}"}) + "\n")
    return path


def _run(file: Path, tokenizer: Path, folder: Path, processes: int) -> Measured:
    out = folder / "out"
    args = ["encode", str(file), "-t", str(tokenizer), "-o", str(out), "-p", str(processes), "--force"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "chatspan", *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _memory_mb(process.pid))
        time.sleep(_EVERY_SECONDS)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"chatspan {' '.join(args)} ended with {process.returncode}")
    return Measured(seconds, peak)


def _memory_mb(pid: int) -> float:
    """Of a process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        # It ended while it was looked at.
        return 0.0
    own = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return own / 1024 + sum(_memory_mb(int(child)) for child in children)


def _marginal(runs: dict[tuple[int, int], list[Measured]], counts: tuple[int, int], processes: int) -> float:
    """Seconds a row, of the rows that the long file has more."""
    short, long = (_median([each.seconds for each in runs[count, processes]]) for count in counts)
    return (long - short) / (counts[1] - counts[0])


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()
