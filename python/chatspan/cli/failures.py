"""What ends a command: one line that says what to do, never a traceback."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from chatspan.cli.text import printable
from chatspan.errors import ChatspanError, one_line
from chatspan.rows.row import ROWS_OF_ERROR

# Set to anything, a traceback is printed too: for reports of errors that nobody foresaw.
TRACEBACK_VARIABLE = "CHATSPAN_TRACEBACK"

STOPPED = 130

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CliError(Exception):
    """What ends a command, in a line."""


class Stopped(Exception):
    """Somebody stopped the command; with what is to be said of it."""


def stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """A command that ends with :class:`Stopped` at Ctrl-C and at a polite kill; the CLI library would say less."""

    @functools.wraps(command)
    def run(**options: Any) -> None:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, stop)
        try:
            command(**options)
        except KeyboardInterrupt:
            raise Stopped("stopped") from None
        except EOFError as error:
            # The CLI library takes it for an end of what a person types, and says "Aborted." alone.
            raise RuntimeError(f"EOFError: {error}") from error
        finally:
            signal.signal(signal.SIGTERM, before)

    return run


def exit_code_of(app: Callable[..., Any]) -> int:
    """Runs a command and says in one line on stderr what ended it."""
    if hasattr(sys.stdout, "reconfigure"):
        # Output that is piped into a file of an older encoding shall show a "?" rather than end.
        sys.stdout.reconfigure(errors="replace")
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would complain once more when it closes stdout.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Stopped, KeyboardInterrupt) as stop:
        _say(str(stop) or "stopped")
        return STOPPED
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        _say(line_of(error))
        return 1
    return 0


def line_of(error: BaseException) -> str:
    """An error in one line, with what to do."""
    if isinstance(error, (CliError, ChatspanError)):
        return one_line(error)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        where = f" for {error.filename}" if error.filename else ""
        return f"no space left{where}: {error.strerror}; make room, or name another place"
    if isinstance(error, OSError) and error.filename:
        return f"cannot open {error.filename}: {error.strerror}"
    rows = getattr(error, ROWS_OF_ERROR, None)
    where = "" if rows is None else f" at {rows}"
    return (
        f"an error that chatspan did not foresee{where}: {type(error).__name__}: {one_line(error)}; "
        f"{TRACEBACK_VARIABLE}=1 shows where, for a report"
    )


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"chatspan: {printable(line)}", file=sys.stderr)
