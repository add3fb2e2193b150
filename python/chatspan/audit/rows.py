"""Rows, audited: what ``dataset.parallel`` calls a worker and its work."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from chatspan.audit.failures import RAISED, failure, unknown_turn
from chatspan.audit.fields import container_findings, control_token_findings, dropped_fields
from chatspan.audit.findings import Finding
from chatspan.audit.lengths import cuts_of
from chatspan.audit.prompts import border_findings, off_prompt_findings
from chatspan.audit.roles import role_findings
from chatspan.audit.settings import AuditSettings
from chatspan.audit.totals import Totals, digest_of
from chatspan.audit.turn_ends import turn_ends
from chatspan.audit.turns import add_turns
from chatspan.encoder import ChatEncoder
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, OptionError, TurnBoundaryError
from chatspan.rows.conversations import Chat, chat_of
from chatspan.rows.row import RawRow

EMPTY = "nothing to train on"
TOO_LONG = "rows over --max-length"


class RowAuditor:
    """Audits rows.

    Args:
        encoder: of the rows.
        settings: what is asked for.

    Raises:
        OptionError: ``loss="generation"`` with a template without such blocks.
    """

    def __init__(self, encoder: ChatEncoder, settings: AuditSettings) -> None:
        if settings.loss == "generation" and not encoder.has_generation_tags:
            raise OptionError(
                "the chat template has no {% generation %} blocks, so what they hold cannot be the loss: "
                'take "turn" or "content", or another template'
            )
        # Also in a worker process, where it would else load beside the first rows and slow them down.
        encoder.warm_up()
        self._encoder = encoder
        self._settings = settings
        self._special = frozenset(
            token.content for token in encoder.tokenizer.added_tokens_decoder.values() if token.special
        )

    def audit(self, rows: Sequence[RawRow]) -> Totals:
        """What is in these rows. A row that raises is counted, and spoils no other."""
        totals = Totals()
        for raw in rows:
            totals.rows += 1
            found: list[Finding] = []
            try:
                chat = chat_of(raw, self._settings.column)
                found += role_findings(chat.messages)
                encoding = self._encoded(chat)
                found += self._findings(totals, chat, encoding)
                if self._settings.turns:
                    add_turns(totals.turns, raw.place, chat, encoding, self._settings)
            except ChatspanError as error:
                found.append(failure(error))
            # What a template meets in a row nobody can foresee; the other rows shall not suffer for it.
            except (TypeError, ValueError, KeyError, AttributeError, RecursionError, OverflowError) as error:
                found.append(failure(error))
            else:
                totals.digests.append((digest_of(chat.messages, chat.template_kwargs), raw.place))
            totals.failed += any(finding.category == RAISED for finding in found)
            totals.groups.add(raw.place, found)
        return totals

    def _encoded(self, chat: Chat) -> Encoding:
        with warnings.catch_warnings():
            # One a row about arguments that the template does not read.
            warnings.simplefilter("ignore")
            return self._encoder.encode(chat.messages, **chat.template_kwargs)

    def _findings(self, totals: Totals, chat: Chat, encoding: Encoding) -> Iterator[Finding]:
        settings = self._settings
        mask: NDArray[np.bool_] = np.zeros(len(encoding), dtype=bool)
        refused: TurnBoundaryError | None = None
        try:
            mask = mask_of(encoding, chat, settings)
        except TurnBoundaryError as error:
            refused = error
        yield from dropped_fields(encoding)
        yield from container_findings(encoding, chat.messages)
        yield from control_token_findings(encoding, self._special)
        yield from off_prompt_findings(encoding, chat.loss_messages, settings.off_prompt)
        yield from border_findings(encoding, chat.loss_messages)
        if refused is not None:
            yield unknown_turn(refused)
        elif not mask.any():
            yield _empty(encoding)
        if settings.max_length is not None and len(encoding) > settings.max_length:
            for side, cuts in cuts_of(encoding, mask, settings.max_length).items():
                totals.cuts[side].add(cuts)
            quote = f"{len(encoding):,} tokens"
            advice = "a cut loses what is told below; drop the rows, split them, or train on more"
            yield Finding(TOO_LONG, f"more than {settings.max_length:,} tokens", "problem", advice, quote=quote)
        totals.add_tokens(encoding, mask)
        if refused is None:
            totals.ends.update(end for _, end in turn_ends(encoding, mask, settings.stop_ids, chat.loss_messages))


def audit_chunk(auditor: RowAuditor, rows: Sequence[RawRow]) -> Totals:
    """The work of a worker process."""
    return auditor.audit(rows)


def mask_of(encoding: Encoding, chat: Chat, settings: AuditSettings) -> NDArray[np.bool_]:
    """What is trained; bool ``[T]``."""
    roles = None if settings.loss == "generation" else ("assistant",)
    return encoding.mask(roles, settings.loss, messages=chat.loss_messages, end_of_turn=settings.end_of_turn)


def _empty(encoding: Encoding) -> Finding:
    if "assistant" not in encoding.roles:
        return Finding(EMPTY, "no assistant message", "problem", "drop the rows; check how roles are named")
    return Finding(EMPTY, "no token is in the loss", "problem", "see what the template writes with chatspan inspect")
