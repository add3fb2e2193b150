"""Worker processes end with the process that they work for, also where that one is killed and can tell nobody."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

# From <sys/prctl.h>.
_PR_SET_PDEATHSIG = 1
_SECONDS_BETWEEN_LOOKS = 0.5


def end_with_parent(parent: int, *, by_signal: bool = sys.platform == "linux") -> None:
    """To be called in a worker process, once.

    Args:
        parent: the process that it works for.
        by_signal: have the kernel kill it, at once; Linux only. The kernel does so also when the *thread* ends that
            forked the worker. Else a thread watches the pipe that leads to the parent.
    """
    if by_signal and _killed_by_the_kernel():
        if os.getppid() != parent:
            # It ended before the kernel was told.
            os._exit(1)
        return
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _killed_by_the_kernel() -> bool:
    """Whether the kernel takes the order; a sandbox may not."""
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def _watch(parent: int) -> None:
    process = multiprocessing.parent_process()
    if sys.platform == "linux":
        # A forked worker has both ends of its siblings' pipes, so that none of them sees one closed.
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    elif process is not None:
        process.join()
    os._exit(1)
