"""Files that are whole or not there, also after a power cut: written under another name, on the disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

TEMPORARY = ".tmp"
# File systems that know nothing of folders on the disk.
_NOT_FOR_FOLDERS = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EISDIR)


class Disk:
    """What is done to a disk, each a method: tests note them, and cut the power between any two."""

    def write(self, file: IO[bytes], data: bytes | memoryview) -> None:
        """Writes to a new file."""
        file.write(data)

    def sync(self, file: IO[Any]) -> None:
        """Returns when what was written to a file is on the disk."""
        file.flush()
        os.fsync(file.fileno())

    def rename(self, path: Path, to: Path) -> None:
        """Gives a file another name, whether or not there is one of that name."""
        os.replace(path, to)

    def remove(self, path: Path) -> None:
        """Removes a file that is there."""
        path.unlink()

    def make_folder(self, path: Path) -> None:
        """Makes a folder that is not there."""
        path.mkdir()

    def remove_folder(self, path: Path) -> None:
        """Removes an empty folder."""
        path.rmdir()

    def sync_folder(self, path: Path) -> None:
        """Returns when the names in a folder are on the disk."""
        if os.name == "nt":
            return
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in _NOT_FOR_FOLDERS:
                raise
        finally:
            os.close(folder)


disk = Disk()


def temporary_of(path: Path) -> Path:
    """A name beside a file that no other process takes."""
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")


def write_whole(path: Path, data: bytes | memoryview, *, sync_folder: bool = True) -> None:
    """Writes a file under another name and renames it: whoever sees it sees all of it.

    Args:
        sync_folder: whether its name is on the disk too when this returns; what it holds is.

    Raises:
        OSError: with ``filename``; what was there before is there still.
    """
    with renamed(path, sync_folder=sync_folder) as temporary, temporary.open("xb") as file:
        disk.write(file, data)
        disk.sync(file)


@contextmanager
def renamed(path: Path, *, sync_folder: bool = True) -> Iterator[Path]:
    """A name to write a file to, which gets its own name afterwards, or is removed if there was an error."""
    temporary = temporary_of(path)
    try:
        yield temporary
        disk.rename(temporary, path)
        if sync_folder:
            disk.sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, whole."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def remove_files(*paths: Path) -> None:
    """Removes files, if they are there; the names are gone on the disk too."""
    there = [path for path in paths if path.is_symlink() or path.exists()]
    for path in there:
        disk.remove(path)
    for folder in dict.fromkeys(path.parent for path in there):
        disk.sync_folder(folder)


def remove_temporaries(folder: Path, *names: str) -> None:
    """Removes what was left of files that were being written; of all, or of those of these names."""
    remove_files(*(left for name in names or ("*",) for left in folder.glob(f"{name}.*{TEMPORARY}")))


def make_folders(path: Path) -> None:
    """Makes a folder and those that it lies in, as far as they are not there."""
    if path.is_dir():
        return
    make_folders(path.parent)
    with contextlib.suppress(FileExistsError):
        disk.make_folder(path)
    disk.sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Removes a folder of files, if it is there."""
    if not path.is_dir():
        return
    for each in path.iterdir():
        if each.is_dir() and not each.is_symlink():
            remove_folder(each)
        else:
            disk.remove(each)
    disk.remove_folder(path)
    disk.sync_folder(path.parent)
