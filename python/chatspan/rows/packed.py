"""Files as they are read: unpacked by their ending; and the standard input, kept in a file of its own."""

from __future__ import annotations

import atexit
import bz2
import gzip
import io
import lzma
import shutil
import sys
import tempfile
import zlib
from pathlib import Path
from typing import IO, Any

from chatspan.errors import SourceError

# What a command's FILE is called that is the standard input.
STDIN = "-"
PACKED = (".gz", ".bz2", ".xz", ".zst")
# What a packed file that is damaged raises; without a number of the system, which has its own reasons.
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)
# Lines are longer than Python's own buffer.
_BUFFERED = 1 << 18
# What files begin with that are no text, and their endings.
_BEGINNINGS = {
    b"\x1f\x8b": ".jsonl.gz",
    b"BZh": ".jsonl.bz2",
    b"\xfd7zXZ\x00": ".jsonl.xz",
    b"\x28\xb5\x2f\xfd": ".jsonl.zst",
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
}


def opened(path: Path) -> IO[bytes]:
    """A file, unpacked."""
    suffix = path.suffix.lower()
    if suffix == ".zst":
        return _unpacked_zstd(path)
    unpack: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(suffix)
    found: IO[bytes] = path.open("rb", buffering=_BUFFERED) if unpack is None else unpack(path, "rb")
    return found


def _unpacked_zstd(path: Path) -> IO[bytes]:
    import pyarrow as pa

    stream = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    found: Any = io.BufferedReader(_ArrowStream(stream), _BUFFERED)
    return found  # type: ignore[no-any-return]


class _ArrowStream(io.RawIOBase):
    """A stream of Arrow, which has no lines, as a raw one of Python."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def kept_stdin() -> Path:
    """What is piped into the command, in a file that is gone when the process ends: rows are read more than once.

    Raises:
        SourceError: nothing is piped into it.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise SourceError("- reads the standard input, but nothing is piped into it: cat chats.jsonl | chatspan …")
    folder = Path(tempfile.mkdtemp(prefix="chatspan-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    stream = sys.stdin.buffer
    begins = stream.read(8)
    ending = next((ending for magic, ending in _BEGINNINGS.items() if begins.startswith(magic)), ".jsonl")
    path = folder / f"stdin{ending}"
    with path.open("wb") as file:
        file.write(begins)
        shutil.copyfileobj(stream, file, _BUFFERED)
    return path
