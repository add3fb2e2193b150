"""Ray, if it is installed, and the cluster that a command works on."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from chatspan.errors import EngineError, one_line

# Of a core, what a worker takes. With a whole one each, as many workers as there are cores leave none to read the rows
# for them, and Ray waits for ever.
NUM_CPUS = 0.5

# How often a batch is begun again whose worker is gone. A machine that is taken away shall cost nothing; a row that
# kills each worker that takes it up shall end the run, which Ray's own default, without end, would not.
RETRIES = 5

SECONDS_UNTIL_REACHED = 10.0


def require_ray() -> Any:
    """The library, with ``ray.data``.

    Raises:
        EngineError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise EngineError(f'Ray is not installed, or not all of it ({error}): pip install "chatspan[ray]"') from None
    return ray


@contextmanager
def connected() -> Iterator[None]:
    """Within it, Ray is there: the one of this process; else the cluster that ``RAY_ADDRESS`` or ``ray start`` names;
    else one of this machine, which ends with it. Says nothing on the terminal.

    Raises:
        EngineError: Ray is not installed, or there is no cluster at that address.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    if address is not None:
        _require_reachable(address)
    # A cluster that nobody started on purpose reports to nobody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    stop = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    # There is no common base of what Ray raises here.
    except Exception as error:
        with suppress(Exception):
            ray.shutdown()
        where = "start Ray on this machine" if address is None else f"reach Ray at RAY_ADDRESS={address}"
        raise EngineError(f"cannot {where}: {one_line(error)}") from None
    finally:
        # Ray's own would end the process, and whoever stops a run shall be told what is there of it.
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        # Of a run that is stopped it complains about work that it can no longer report, past Python's own streams.
        with _silent_stderr():
            ray.shutdown()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _require_reachable(address: str) -> None:
    """Somebody listens there: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_UNTIL_REACHED).close()
    except (OSError, OverflowError) as error:
        raise EngineError(f"cannot reach Ray at RAY_ADDRESS={address}: {error}; start Ray there, or unset it") from None


def cpu_count() -> int:
    """The cores of all machines of the cluster, at least 1."""
    return max(1, int(require_ray().cluster_resources().get("CPU", 1)))
