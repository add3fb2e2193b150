"""Files that a command writes: never over another one unasked, never half of one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from chatspan.cli.failures import NO_ROOM, CliError
from chatspan.shards import whole_files
from chatspan.shards.whole_files import renamed, write_whole


def check_output(path: Path, *, force: bool) -> None:
    """Refuses a place where nothing can be written, before anything is worked on.

    Raises:
        CliError: the file exists, it is a folder, or there is no folder for it.
    """
    if path.is_dir():
        raise CliError(f"{path} is a folder: name a file in it")
    if path.exists() and not path.is_file():
        raise CliError(f"{path} is not a regular file: use another path")
    if path.exists() and not force:
        raise CliError(f"{path} exists: use another file, or overwrite it with --force")
    if not path.parent.is_dir():
        raise CliError(f"there is no folder {path.parent} to write {path.name} into: create it first")


def write_output(path: Path, text: str, *, force: bool) -> None:
    """Writes a file in UTF-8, whole or not at all.

    Raises:
        CliError: as :func:`check_output`, or the folder cannot be written to.
        OSError: there is no space left.
    """
    check_output(path, force=force)
    try:
        write_whole(path, text.encode())
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise CliError(f"cannot write {path}: {error.strerror}; use another path") from None


@contextlib.contextmanager
def growing_output(path: Path, *, force: bool) -> Iterator[TextIO]:
    """A file in UTF-8 to write to bit by bit; it has its name only when all of it is written.

    Raises:
        CliError: as :func:`check_output`, or the folder cannot be written to.
        OSError: there is no space left.
    """
    check_output(path, force=force)
    try:
        with renamed(path) as temporary, temporary.open("x", encoding="utf-8", newline="\n") as file:
            yield file
            whole_files.disk.sync(file)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise CliError(f"cannot write {path}: {error.strerror}; use another path") from None
