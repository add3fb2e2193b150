"""The native tokenizer against other libraries: ids and offsets against their ids alone, on one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from inputs import REPOSITORY, Inputs
from peer_libraries import PEERS
from peer_process import OURS
from rich.table import Table
from tables import Report, median
from texts import kinds, pieces

# Texts of a portion, which is what one of a pair encodes; messages of a conversation; and pairs for each round that is
# asked for, since one of them takes less than a millisecond.
_TEXTS, _MESSAGES, _PAIRS = 2, 80, 3
# What libraries read, some of them when they are imported: one thread for each.
ONE_THREAD = {
    "RAYON_NUM_THREADS": "1",
    "FASTOKENS_BPE_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def report_peers(report: Report, inputs: Inputs, zoo: Path, rounds: int) -> None:
    """Prints MB/s of text for each tokenizer of the zoo; without a zoo for the project's own."""
    folders = sorted(path for path in (zoo / "tokenizers").glob("*") if (path / "tokenizer.json").exists())
    count = _TEXTS * (_PAIRS * rounds + 1)
    portions = {kind: _portions(pieces(kind, count)) for kind in kinds()}
    chat = _portions(inputs.joined_rows(_MESSAGES)[:count])
    if not chat:
        report.say("8. Against other libraries: left out, there are too few conversations\n")
        return
    table = report.table(
        f"8. MB/s of text on one thread, at first sight: {OURS}'s ids and offsets, the others' ids alone",
        ["tokenizer", "text", OURS, *PEERS],
    )
    notes: dict[str, list[str]] = {}
    for folder in folders or [REPOSITORY / "examples" / "tokenizer"]:
        found = _measured(folder, portions, chat)
        for name, reason in found["left_out"].items():
            notes.setdefault(f"Left out: {name}: {reason}", []).append(folder.name)
        for kind, of_kind in found["kinds"].items():
            _add_row(table, folder.name if kind == "chat" else "", kind, of_kind)
            for name, difference in of_kind["unequal"].items():
                notes.setdefault(f"Other ids: {name}: {difference}", []).append(f"{folder.name}, {kind}")
        table.add_section()
    report.show(
        table,
        f"Beside each library how many times as fast {OURS} is: the median of pairs that run in turn.",
        f"MB of UTF-8 in a second of processor time. Ids, and {OURS}'s offsets, equal those of HF's tokenizers.",
        f"At first sight: each encodes a timed text once, and {OURS}'s cache of texts is off. Each may remember words",
        f"of earlier texts: {_TEXTS} of the kind come before all others, and the first of them before each sample.",
        f"Each gets strings of its own, whose UTF-8 it asks for itself. {OURS}'s native tokenizer is called by itself:",
        "that the tokenizer was not changed is looked at once for each batch.",
        "One thread: the process is bound to one CPU where the system can do that, and is started with",
        f"{', '.join(f'{name}={value}' for name, value in ONE_THREAD.items())}.",
        f"Versions: {', '.join(_versions())}.",
        *(f"{note} ({'; '.join(where)})" for note, where in notes.items()),
    )


def _portions(texts: Sequence[Any]) -> list[Sequence[Any]]:
    """None if there is but one, which is for warming up."""
    found = [texts[at : at + _TEXTS] for at in range(0, len(texts) - _TEXTS + 1, _TEXTS)]
    return found if len(found) > 1 else []


def _measured(folder: Path, portions: Mapping[str, Any], chat: Sequence[Any]) -> dict[str, Any]:
    """What a process of its own finds; see :func:`peer_process.measured`."""
    asked = {"folder": str(folder), "texts": portions, "chat": chat, "peers": list(PEERS)}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("peer_process.py"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **ONE_THREAD},
    )
    if done.returncode:
        what = f"the process that times tokenizers ended with {done.returncode}"
        raise SystemExit(f"{folder.name}: {what}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _add_row(table: Table, name: str, kind: str, found: Mapping[str, Any]) -> None:
    megabytes = np.array(found["bytes"]) / 1e6
    rates = {each: megabytes / np.array(seconds) for each, seconds in found["seconds"].items()}
    ours = rates.get(OURS)
    cells = []
    for each in PEERS:
        if each in found["unequal"]:
            cells.append("other ids")
        elif each not in rates:
            cells.append("")
        else:
            factor = "" if ours is None else f"{median(ours / rates[each])}x"
            cells.append(f"{median(rates[each])} {factor}".strip())
    own = "other ids" if OURS in found["unequal"] else "" if ours is None else median(ours)
    table.add_row(name, kind, own, *cells)


def _versions() -> list[str]:
    found = []
    for name, peer in PEERS.items():
        try:
            found.append(f"{name} {version(peer.package)}")
        except PackageNotFoundError:
            continue
    return found
