"""Runs of ``chatspan encode`` without its command line, in this process or in a forked one that can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatspan import ChatEncoder, OutputError
from chatspan.rows.sources import open_source
from chatspan.shards.lock import locked
from chatspan.shards.plan import EncodePlan, manifest_of
from chatspan.shards.run import Progress, Summary, encode_files, prepare

# What a forked process ends with when it was refused, and when it failed in any other way.
REFUSED, FAILED = 3, 4


@dataclass
class Run:
    """A run of the same source, tokenizer and options, anywhere."""

    source: Path
    encoder: ChatEncoder
    options: dict[str, Any]

    def __call__(
        self,
        out: Path,
        *,
        processes: int = 1,
        force: bool = False,
        progress: Progress = lambda rows, position: None,
        say: Callable[[str], object] = lambda line: None,
    ) -> Summary:
        plan = EncodePlan(source=str(self.source), tokenizer="small", **self.options)
        with locked(out, say):
            source = open_source(str(self.source))
            found = prepare(out, manifest_of(plan, self.encoder), force=force, source=source, say=say)
            if found is not None:
                return found
            return encode_files(source, plan, self.encoder, out, processes=processes, progress=progress)


def forked(work: Callable[[], object]) -> int:
    """Begins work in a process of its own, the first of a group; its number."""
    process = os.fork()
    if process:
        return process
    code = FAILED
    try:
        os.setsid()
        work()
        code = 0
    except OutputError:
        code = REFUSED
    except BaseException:
        if os.environ.get("CHATSPAN_TRACEBACK"):
            traceback.print_exc()
    finally:
        os._exit(code)


def ended(process: int) -> int:
    """Waits for a forked process; its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def children(process: int) -> list[int]:
    """The children of a process."""
    try:
        return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def alive(group: int) -> Iterator[int]:
    """The processes of a group that have not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            yield int(path.parent.name)


def require_no_survivors(group: int, seconds: float) -> None:
    """All processes of a group end."""
    deadline = time.monotonic() + seconds
    while left := list(alive(group)):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def kill(process: int) -> None:
    """Kills a process, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
