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


class SeenEnough(Exception):
    """Whoever reads the output wants no more of it."""


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
        except BrokenPipeError:
            # Of which the CLI library makes a failure.
            raise SeenEnough from None
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
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (SeenEnough, BrokenPipeError):
        # Whoever read the output has seen enough. Python would complain once more when it closes stdout.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Stopped, KeyboardInterrupt) as stop:
        _say(str(stop) or "stopped")
        return STOPPED
    except Exception as error:
        if is_wrong_usage(error):
            return _say_usage(error)
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        _say(line_of(error))
        return 1


def is_wrong_usage(error: Any) -> bool:
    """Whether it is the CLI library's own error; the class is click's, or of a click that typer has for itself."""
    return callable(getattr(error, "format_message", None)) and isinstance(getattr(error, "exit_code", None), int)


def _say_usage(error: Any) -> int:
    """Shows the CLI library's own error as it does, but for what a terminal would obey: it quotes what was typed."""
    # Loads rich, which what goes well does without.
    from typer import rich_utils

    safe = printable(error.format_message())
    error.format_message = lambda: safe
    rich_utils.rich_format_error(error)
    return int(error.exit_code)


def line_of(error: BaseException) -> str:
    """An error in one line, with what to do."""
    if isinstance(error, (CliError, ChatspanError)):
        return one_line(error)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        where = f" for {error.filename}" if error.filename else ""
        return f"no space left{where}: {error.strerror}; free some space, or use another path"
    if isinstance(error, OSError) and error.filename:
        return f"cannot open {error.filename}: {error.strerror}"
    rows = getattr(error, ROWS_OF_ERROR, None)
    where = "" if rows is None else f" at {rows}"
    return (
        f"an unexpected error{where}: {type(error).__name__}: {one_line(error)}; "
        f"{TRACEBACK_VARIABLE}=1 shows where; please report it"
    )


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"chatspan: {printable(line)}", file=sys.stderr)
