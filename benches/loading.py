"""What loading a native tokenizer takes, beside transformers' own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tables import Report

_LOADING = """
import json, resource, sys, time
from pathlib import Path
from transformers import AutoTokenizer
import chatspan.tokenize.backends
def grown():
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
before, start = grown(), time.perf_counter()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
hf_ms, hf_mb = (time.perf_counter() - start) * 1e3, grown() - before
before, start = grown(), time.perf_counter()
backends = chatspan.tokenize.backends.Backends(tokenizer, "native", 0)
backends.wait()
ms, mb = (time.perf_counter() - start) * 1e3, grown() - before
start = time.perf_counter()
backends.encode_batch([sys.argv[2]])
print(json.dumps([hf_ms, hf_mb, ms, mb, (time.perf_counter() - start) * 1e3]))
"""


def report_loading(report: Report, zoo: Path, names: Sequence[str], text: str) -> None:
    """Prints what loading takes, each tokenizer in a process of its own."""
    table = report.table(
        "7e. Loading, each in a process of its own",
        ["tokenizer", "HF ms", "HF MB", "native ms more", "native MB more", "first text ms"],
    )
    for name in names:
        command = [sys.executable, "-c", _LOADING, str(zoo / "tokenizers" / name), text]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split("\n")[-1]
        table.add_row(name, *(f"{value:.0f}" for value in json.loads(found)[:4]), f"{json.loads(found)[4]:.1f}")
    report.show(
        table, "Native: the JSON of the live tokenizer and the test at load included; it loads beside the first rows."
    )
