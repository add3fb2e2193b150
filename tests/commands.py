"""The command ``chatspan`` as tests run it: in this process, which is quick, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from chatspan.cli import main

_ENVIRONMENT = {"COLUMNS": "100", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}

Done = subprocess.CompletedProcess[str]


def chatspan(*args: str, cwd: Path | None = None) -> Done:
    """Runs the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["chatspan", *args]),
        mock.patch.dict(os.environ, _ENVIRONMENT),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _inside(cwd),
    ):
        code = main()
    return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())


def started(*args: str) -> subprocess.Popen[str]:
    """Starts the command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "chatspan", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **_ENVIRONMENT},
        start_new_session=True,
    )


@contextlib.contextmanager
def _inside(folder: Path | None) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder or before)
    try:
        yield
    finally:
        os.chdir(before)
