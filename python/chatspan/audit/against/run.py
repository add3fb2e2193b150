"""Rows, compared with libraries: a worker and its work, and a data set's first rows."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from chatspan.audit.against.axolotl_style import AxolotlStyle
from chatspan.audit.against.compare import differences
from chatspan.audit.against.hf import Transformers
from chatspan.audit.against.peer import Peer, PeerRefusal
from chatspan.audit.against.prefix_delta import PrefixDelta
from chatspan.audit.against.renderers import Renderers
from chatspan.audit.against.result import NOTHING, OTHER, OUTCOME, REMARK, SAME, PeerReport
from chatspan.audit.against.trl import Trl
from chatspan.audit.against.verl_style import VerlStyle
from chatspan.audit.failures import shape
from chatspan.audit.findings import Finding
from chatspan.audit.rows import mask_of, with_selection
from chatspan.audit.run import limited
from chatspan.audit.settings import AuditSettings
from chatspan.encode.chats import encoded_chat
from chatspan.encoder import ChatEncoder
from chatspan.errors import ChatspanError
from chatspan.rows.parallel import in_chunks, map_chunks
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow, Source

PEERS: dict[str, Callable[[Any], Peer]] = {
    "hf": Transformers,
    "trl": Trl,
    "renderers": Renderers,
    "axolotl-style": AxolotlStyle,
    "verl-style": VerlStyle,
    "prefix-delta": PrefixDelta,
}
# These rows take long: a prefix-delta row is a tokenizer's call a message.
CHUNK_ROWS = 8


class PeerAuditor:
    """Compares rows with libraries.

    Args:
        names: of :data:`PEERS`.

    Raises:
        PeerError: one of them is not installed, or too old.
    """

    def __init__(self, encoder: ChatEncoder, settings: AuditSettings, names: Sequence[str]) -> None:
        self._encoder = encoder
        self._reader = RowReader(settings.rows, encoder)
        self._options = settings.supervised()
        # Its template is that of the encoder, without changing the one that was given.
        tokenizer = copy.copy(encoder.tokenizer)
        if encoder.chat_template is not None:
            tokenizer.chat_template = encoder.chat_template
        self._controls = frozenset(tokenizer.added_tokens_decoder)
        self.peers = [PEERS[name](tokenizer) for name in dict.fromkeys(names)]

    def reports(self) -> list[PeerReport]:
        """Of no rows yet."""
        return [PeerReport(peer.name, peer.method, peer.statements, peer.refused) for peer in self.peers]

    def compare(self, rows: Sequence[RawRow]) -> list[PeerReport]:
        """What becomes of these rows. Rows that are no conversations are left out: the audit tells of them."""
        reports = self.reports()
        for raw in rows:
            try:
                chat = self._reader.read(raw)
            except ChatspanError:
                continue
            encoding: Any = None
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    encoding = encoded_chat(self._encoder, chat)
                chat = with_selection(chat, encoding, self._options)
                ours: Any = mask_of(encoding, chat, self._options)
            except ChatspanError as error:
                ours = error
            for peer, report in zip(self.peers, reports, strict=True):
                if peer.refused:
                    continue
                report.rows += 1
                report.groups.add(raw.place, self._found(peer, report, chat, encoding, ours))
        return reports

    def _found(self, peer: Peer, report: PeerReport, chat: Any, encoding: Any, ours: Any) -> list[Finding]:
        try:
            row = peer.row(chat)
        except PeerRefusal as refusal:
            what = refusal.outcome
            if isinstance(ours, ChatspanError):
                what += ", as chatspan does"
            return [Finding(OUTCOME, what, "note", "", refusal.message_index, refusal.reason)]
        found = [] if row.remark is None else [Finding(REMARK, row.remark[0], "note", quote=row.remark[1])]
        if isinstance(ours, ChatspanError):
            what = "trains, where chatspan raises" if row.mask.any() else NOTHING
            return [*found, Finding(OUTCOME, what, "note", "", ours.message_index, shape(ours.message))]
        report.trained += int(row.mask.sum())
        report.trained_by_chatspan += int(ours.sum())
        if not row.mask.any() and ours.any():
            return [*found, Finding(OUTCOME, NOTHING, "note")]
        differ = list(differences(encoding, ours, row, self._controls, self._encoder.tokenizer))
        return [*found, Finding(OUTCOME, OTHER if differ else SAME, "note"), *differ]


def compare_chunk(auditor: PeerAuditor, rows: Sequence[RawRow]) -> list[PeerReport]:
    """The work of a worker process."""
    return auditor.compare(rows)


def compare_with_peers(
    source: Source,
    encoder: ChatEncoder,
    settings: AuditSettings,
    names: Sequence[str],
    *,
    limit: int | None = None,
    processes: int = 1,
    auditor: PeerAuditor | None = None,
    reports: list[PeerReport] | None = None,
    on_rows: Callable[[int, float | None], None] = lambda rows, position: None,
) -> list[PeerReport]:
    """Compares the first rows of a data set with libraries; arguments as of :func:`chatspan.audit.run.audit`.

    Args:
        auditor: if it has been made already.
        reports: what is added to.
    """
    made = auditor or PeerAuditor(encoder, settings, names)
    reports = [] if reports is None else reports
    reports[:] = made.reports()
    if all(peer.refused for peer in made.peers):
        return reports
    for done in map_chunks(in_chunks(limited(source, limit), CHUNK_ROWS), made, compare_chunk, processes):
        for report, part in zip(reports, done.result, strict=True):
            report.merge(part)
        rows = done.first_row + done.row_count
        on_rows(done.row_count, done.position if limit is None else max(rows / limit, done.position or 0.0))
    return reports
