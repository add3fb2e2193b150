"""A disk whose power is cut between any two operations on it: what may be found afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from chatspan.shards.whole_files import Disk

# An operation, and what it is done to.
Operation = tuple[Any, ...]


class Noted(Disk):
    """Does everything but wait for the disk, and notes it."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def write(self, file: IO[bytes], data: bytes | memoryview) -> None:
        super().write(file, data)
        self.operations.append(("write", Path(file.name), bytes(data)))

    def sync(self, file: IO[Any]) -> None:
        file.flush()
        self.operations.append(("sync", Path(file.name)))

    def rename(self, path: Path, to: Path) -> None:
        super().rename(path, to)
        self.operations.append(("rename", path, to))

    def remove(self, path: Path) -> None:
        super().remove(path)
        self.operations.append(("remove", path))

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        self.operations.append(("make_folder", path))

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(path)
        self.operations.append(("remove_folder", path))

    def sync_folder(self, path: Path) -> None:
        self.operations.append(("sync_folder", path))


@dataclass
class File:
    """What a file holds, and what of it has reached the disk."""

    data: bytes
    on_disk: bytes = b""


# A folder's names; `None` is a folder.
Names = dict[Path, "File | None"]


@dataclass
class Machine:
    """A disk, and what the system has in memory of it: what is not synced may or may not be there after a cut."""

    names: Names = field(default_factory=dict)
    on_disk: Names = field(default_factory=dict)
    newest: Path | None = None

    @classmethod
    def holding(cls, folder: Path) -> Machine:
        """A disk that has everything in a folder."""
        names: Names = {
            path: File(path.read_bytes(), path.read_bytes()) if path.is_file() else None
            for path in (folder, *folder.rglob("*"))
            if path.exists()
        }
        return cls(dict(names), dict(names))

    def does(self, operation: Operation) -> None:
        """An operation."""
        what, path = operation[:2]
        if what not in ("sync", "sync_folder"):
            self.newest = operation[-1] if what == "rename" else path
        if what == "write":
            self.names[path] = File(operation[2])
        elif what == "sync":
            file = self.names[path]
            assert file is not None
            file.on_disk = file.data
        elif what == "rename":
            self.names[operation[2]] = self.names.pop(path)
        elif what == "make_folder":
            self.names[path] = None
        elif what in ("remove", "remove_folder"):
            del self.names[path]
        else:
            self.on_disk = {name: file for name, file in self.on_disk.items() if name.parent != path}
            self.on_disk |= {name: file for name, file in self.names.items() if name.parent == path}

    def after_a_cut(self) -> Iterator[dict[Path, bytes | None]]:
        """What may be found: all, names without what their files hold, halves of it, only what was
        synced, that and the newest name.
        """
        yield {path: file and file.data for path, file in self.names.items()}
        yield {path: file and file.on_disk for path, file in self.names.items()}
        yield {path: file and (file.on_disk or file.data[: len(file.data) // 2]) for path, file in self.names.items()}
        yield {path: file and file.on_disk for path, file in self.on_disk.items()}
        # Names do not reach the disk in the order in which they were given.
        newest = {path: file for path, file in self.on_disk.items() if path != self.newest}
        newest |= {path: file for path, file in self.names.items() if path == self.newest}
        yield {path: file and file.on_disk for path, file in newest.items()}


def laid_out(found: dict[Path, bytes | None], at: Path, to: Path) -> None:
    """Writes what was found, of files in a folder that is there."""
    for path in sorted(found):
        place, data = to / path.relative_to(at), found[path]
        if not all(parent in found for parent in path.parents if parent.is_relative_to(at)):
            continue
        if data is None:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(data)


def cuts(machine: Machine, operations: list[Operation]) -> Iterator[tuple[int, dict[Path, bytes | None]]]:
    """What may be found after each number of operations, each state once."""
    seen = set()
    for number, operation in enumerate([None, *operations]):
        if operation is not None:
            machine.does(operation)
        for found in machine.after_a_cut():
            state = frozenset(found.items())
            if state not in seen:
                seen.add(state)
                yield number, found
