"""What tells whether rows are those that they were: a mark for each, and a rolling hash of many."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable
from typing import Any

from chatspan.rows.row import RawRow

_DIGITS = 32
# Of the versions that all supported Pythons write, one without a memory of what was written: there, equal values that
# are one object would differ from equal values that are two.
_PROTOCOL = 4


def mark_of(row: RawRow) -> bytes:
    """What changes if the row changes: the mark that its source gave, else the line, else the value, written out."""
    if row.mark is not None:
        return row.mark
    return row.value if isinstance(row.value, bytes) else written_out(row.value)


def written_out(value: Any) -> bytes:
    """A value as bytes that are the same for equal values."""
    target = io.BytesIO()
    pickler = pickle.Pickler(target, _PROTOCOL)
    pickler.fast = True
    try:
        pickler.dump(value)
    # Anything may stand in a row, and each type fails in its own way.
    except Exception:
        return repr(value).encode("utf-8", "backslashreplace")
    return target.getvalue()


def hash_of(data: bytes | memoryview) -> bytes:
    """A mark for much data."""
    return hashlib.sha256(data).digest()


def hex_of(data: bytes | memoryview) -> str:
    """The same, to be written down."""
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


class RowsDigest:
    """A rolling hash of rows' marks.

    Attributes:
        rows: how many there are in it.

    Example:
        >>> from chatspan.rows.row import RawRow
        >>> one, other = RawRow(0, "a.jsonl:1", b"{}"), RawRow(0, "b.jsonl:9", b"{}")
        >>> digest_of([one]) == digest_of([other]), digest_of([one]) == digest_of([one, one])
        (True, False)
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(self, mark: bytes) -> None:
        """Adds a row."""
        self._hash.update(len(mark).to_bytes(8, "little"))
        self._hash.update(mark)
        self.rows += 1

    def hexdigest(self) -> str:
        """The hash, to be written down."""
        return self._hash.hexdigest()[:_DIGITS]


def digest_of(rows: Iterable[RawRow]) -> str:
    """The digest of rows."""
    digest = RowsDigest()
    for row in rows:
        digest.add(mark_of(row))
    return digest.hexdigest()
