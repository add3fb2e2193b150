"""A data set, audited chunk by chunk, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from chatspan.audit.findings import Finding
from chatspan.audit.rows import RowAuditor, audit_chunk
from chatspan.audit.settings import AuditSettings
from chatspan.audit.totals import Totals
from chatspan.encoder import ChatEncoder
from chatspan.rows.parallel import in_chunks, map_chunks
from chatspan.rows.row import RawRow, Source, UntilBroken

DUPLICATES = "duplicate rows"
CHUNK_ROWS = 64
# Rows beyond are not compared with each other: each takes about 150 bytes.
DIGESTS_KEPT = 1_000_000


def audit(
    source: Source,
    encoder: ChatEncoder,
    settings: AuditSettings,
    *,
    limit: int | None = None,
    processes: int = 1,
    totals: Totals | None = None,
    on_rows: Callable[[int, float | None], None] = lambda rows, position: None,
) -> Totals:
    """Audits a data set.

    Args:
        limit: the first rows only.
        totals: what is added to, so that whoever stops it has what was counted until then.
        on_rows: is told how many more rows are done, and how much of the data set, from 0 to 1, if anybody knows.

    Raises:
        BrokenSourceError: the data set is broken somewhere; all that could be read was counted.
        SourceError: it cannot be read on.
        OptionError: see :class:`RowAuditor`.
        WorkerError: a worker process ended by itself.
    """
    totals = Totals() if totals is None else totals
    seen: dict[bytes, str] = {}
    rows = UntilBroken(source.rows())
    chunks = in_chunks(islice(rows, limit), CHUNK_ROWS)
    for done in map_chunks(chunks, RowAuditor(encoder, settings), audit_chunk, processes):
        part: Totals = done.result
        for digest, place in part.digests:
            if digest in seen:
                finding = Finding(DUPLICATES, "the same messages as an earlier row", "note", quote=f"as {seen[digest]}")
                part.groups.add(place, [finding])
            elif len(seen) < DIGESTS_KEPT:
                seen[digest] = place
        totals.merge(part)
        on_rows(done.row_count, _limited_position(done.first_row + done.row_count, done.position, limit))
    if rows.error is not None:
        raise rows.error
    return totals


def limited(source: Source, limit: int | None) -> Iterator[RawRow]:
    """The rows of a data set that can be read, or the first of them."""
    return islice(UntilBroken(source.rows()), limit)


def _limited_position(rows: int, position: float | None, limit: int | None) -> float | None:
    return position if limit is None else max(rows / limit, position or 0.0)
