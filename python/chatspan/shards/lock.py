"""One run at a time in a folder: a lock that the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatspan.errors import OutputError
from chatspan.shards.whole_files import make_folders

# Hidden, as all that is not the data set.
LOCK = ".lock"

# How long a lock may be held by workers of a run that was killed, which are about to end.
SECONDS_UNTIL_WORKERS_END = 10.0
_SECONDS_BETWEEN_TRIES = 0.05
# File systems that know no locks: there, what the file says has to do.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
# Far behind what is in the file: on Windows nobody else can read what is locked.
_LOCKED_BYTE = 1 << 30


@contextmanager
def locked(out: Path, say: Callable[[str], object] = lambda line: None) -> Iterator[None]:
    """Within it no other run writes to the folder, which is made if it is not there.

    The lock is the system's, on a file that also says who holds it; forked workers hold it with their run. A run that
    was killed leaves the file without its lock, which is taken over then.

    Args:
        say: is told of that.

    Raises:
        OutputError: another run is at work in it, or was on another machine, of which nobody here knows whether it has
            ended; or it is a file.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: use a folder for --out")
    make_folders(out)
    path = out / LOCK
    file = _taken(out, path)
    try:
        left = _said(file)
        if left is not None:
            _require_ended(out, path, left)
    except BaseException:
        # The file is not ours.
        os.close(file)
        raise
    try:
        if left is not None:
            say(f"took over the lock on {out} of process {left['pid']}, which has ended")
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(_me()).encode())
        yield
    finally:
        _let_go(file, path)


def _taken(out: Path, path: Path) -> int:
    """The file, locked.

    Raises:
        OutputError: another process has it.
    """
    deadline = time.monotonic() + SECONDS_UNTIL_WORKERS_END
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if _try_lock(file):
            if _is_at(file, path):
                return file
            # Whoever had it has removed it in the meantime.
            os.close(file)
            continue
        holder = _said(file)
        os.close(file)
        if time.monotonic() > deadline or (holder is not None and _is_running(holder) is not False):
            who = "another process" if holder is None else f"process {holder['pid']} on {holder['host']}"
            raise OutputError(f"{out} is being written by {who}: wait until it ends, or use another --out")
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _require_ended(out: Path, path: Path, holder: dict[str, Any]) -> None:
    """The system has given us the lock, which says little on a file system of several machines."""
    running = _is_running(holder)
    if running is None:
        raise OutputError(
            f"{out} was locked by process {holder['pid']} on {holder['host']}, and this is {socket.gethostname()}: "
            f"when that process has ended, remove {path}"
        )
    if running and holder["pid"] != os.getpid():
        raise OutputError(
            f"{out} is being written by process {holder['pid']} on {holder['host']}: wait until it ends, or use "
            "another --out"
        )


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}


def _is_running(holder: dict[str, Any]) -> bool | None:
    """Whether a process is; ``None``: it is, or was, on another machine."""
    if holder["host"] != socket.gethostname():
        return None
    if os.name == "nt":
        # The lock itself is all that can be asked: a signal would end the process.
        return bool(holder["pid"] == os.getpid())
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # Another process may have its number by now.
    return bool(_started(holder["pid"]) == holder["started"])


def _started(pid: int) -> str | None:
    """When a process was started, in a form that tells processes of one number apart; where the system says it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Behind its name, which may have anything in it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # The dead whom nobody has buried yet are no more.
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _said(file: int) -> dict[str, Any] | None:
    """Who wrote that it has the lock; ``None``: nobody, or half of it."""
    os.lseek(file, 0, os.SEEK_SET)
    try:
        found = json.loads(os.read(file, 10_000))
        return {"pid": int(found["pid"]), "host": str(found["host"]), "started": found["started"]}
    except (ValueError, KeyError, TypeError):
        return None


def _is_at(file: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file), os.stat(path))
    return False


def _let_go(file: int, path: Path) -> None:
    """Removes the file, then gives the lock back: who waits for it finds that it is gone."""
    if sys.platform == "win32":
        os.close(file)
        with contextlib.suppress(OSError):
            path.unlink()
        return
    import fcntl

    if _is_at(file, path):
        with contextlib.suppress(OSError):
            path.unlink()
    # Workers that still have the file open have no lock either.
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def _try_lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS
    return True
