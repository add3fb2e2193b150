"""The process in which an attack's tries are made; what begins and what comes of it are lines of JSON."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from attack.attacks import BY_NAME
from attack.tries import Attempt, Outcome, Setting, failed, told_of


def work(order: dict[str, Any], told: TextIO) -> None:
    """Makes tries from a number on, until as many are made or the time is over.

    Args:
        order: ``name``, ``seed``, ``folder``, ``everything``, ``first``, ``end`` (a number or nothing), ``deadline``.
        told: where the lines go to.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    setting = Setting(
        order["name"],
        order["seed"],
        Path(order["folder"]),
        order["everything"],
        judging=lambda begins: _tell(told, judging=begins),
    )
    module = import_module(f"attack.fuzzers.{BY_NAME[setting.name].module}")
    attempt: Attempt = module.start(setting)
    number = order["first"]
    _tell(told, ready=True)
    # One at least: on a busy machine starting may take all of a short time.
    while (order["end"] is None or number < order["end"]) and (
        number == order["first"] or time.time() < order["deadline"]
    ):
        _tell(told, begin=number)
        _tell(told, end=number, **outcome_of(attempt, number)._asdict())
        number += 1


def outcome_of(attempt: Attempt, number: int) -> Outcome:
    """What comes of a try; an exception, or a panic of the core, is a failure."""
    try:
        return attempt(number)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return failed(told_of(error))


def _tell(told: TextIO, **line: Any) -> None:
    told.write(json.dumps(line, default=str) + "\n")
    told.flush()


def main() -> None:
    """Takes its order from the command line, and writes to the file of the given number."""
    # Where it was when it crashed, or when it is asked before it is killed.
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    order = json.loads(sys.argv[2])
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8", errors="replace") as told:
        work(order, told)
    # Threads of what was attacked are not waited for.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
