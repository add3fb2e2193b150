"""Rows, audited: what ``dataset.parallel`` calls a worker and its work."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from chatspan.audit.checks.calls import empty_calls
from chatspan.audit.checks.dropped import dropped_fields
from chatspan.audit.checks.dumps import double_encoded, repr_findings
from chatspan.audit.checks.fields import container_findings, control_token_findings
from chatspan.audit.checks.flags import ignored_flags, ignored_keywords
from chatspan.audit.checks.notes import reader_notes
from chatspan.audit.checks.prompts import border_findings, off_prompt_findings
from chatspan.audit.checks.roles import role_findings
from chatspan.audit.failures import RAISED, failure, unknown_turn
from chatspan.audit.findings import Finding
from chatspan.audit.lengths import cuts_of, kept_tokens
from chatspan.audit.media import media_cut_by, tokens_of
from chatspan.audit.settings import AuditSettings
from chatspan.audit.splits import add_splits
from chatspan.audit.totals import Totals, digest_of
from chatspan.audit.turn_ends import turn_ends
from chatspan.audit.turns import add_turns
from chatspan.encode.chats import encoded_chat
from chatspan.encoder import ChatEncoder
from chatspan.encoding import Encoding
from chatspan.errors import OptionError, TurnBoundaryError
from chatspan.render.renderer import ChatRenderer
from chatspan.rows.conversations import Chat
from chatspan.rows.media_types import one_medium
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow
from chatspan.supervised.options import SupervisedOptions
from chatspan.supervised.selection import trained_messages, trained_tokens

EMPTY = "nothing to train on"
TOO_LONG = "rows over --max-length"
CUT_MEDIA = "media cut by --max-length"


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
                "the chat template has no {% generation %} blocks, so they cannot select the "
                'loss: use "turn" or "content", or another template'
            )
        # Also in a worker process, where it would else load beside the first rows and slow them down.
        encoder.warm_up()
        self._encoder = encoder
        self._renderer = ChatRenderer(encoder.tokenizer, chat_template=encoder.pipeline.chat_template)
        self._settings = settings
        self._reader = RowReader(settings.rows, encoder)
        self._options = settings.supervised()
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
                chat = self._reader.read(raw)
                found += [*reader_notes(chat), *role_findings(chat.messages), *empty_calls(chat.messages)]
                encoding = self._encoded(chat)
                chat = with_selection(chat, encoding, self._options)
                found += self._findings(totals, chat, encoding)
                totals.media.add(encoding, raw.place)
                if self._settings.turns:
                    add_turns(totals.turns, raw.place, chat, encoding, self._settings)
                if self._settings.stability:
                    add_splits(totals.splits, raw.place, chat, self._encoder)
            # What a template meets in a row nobody can foresee; the other rows shall not suffer for it.
            except Exception as error:
                found.append(failure(error))
            else:
                totals.digests.append(
                    (digest_of(chat.messages, chat.template_kwargs, [chat.weights, chat.loss_messages]), raw.place)
                )
            totals.failed += any(finding.category == RAISED for finding in found)
            totals.groups.add(raw.place, found)
        return totals

    def _encoded(self, chat: Chat) -> Encoding:
        with warnings.catch_warnings():
            # One a row about arguments that the template does not read.
            warnings.simplefilter("ignore")
            return encoded_chat(self._encoder, chat)

    def _findings(self, totals: Totals, chat: Chat, encoding: Encoding) -> Iterator[Finding]:
        settings = self._settings
        mask: NDArray[np.bool_] = np.zeros(len(encoding), dtype=bool)
        refused: TurnBoundaryError | None = None
        try:
            mask = mask_of(encoding, chat, self._options)
        except TurnBoundaryError as error:
            refused = error
        template = self._renderer.template(chat.template_kwargs.get("tools"))
        yield from dropped_fields(encoding, chat.messages, chat.template_kwargs, template)
        yield from double_encoded(encoding)
        yield from repr_findings(encoding)
        yield from ignored_keywords(chat.template_kwargs, template)
        yield from ignored_flags(chat.messages, encoding, template)
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
            advice = "a cut loses what is listed below; drop the rows, split them, or raise --max-length"
            yield Finding(TOO_LONG, f"more than {settings.max_length:,} tokens", "problem", advice, quote=quote)
            yield from _cut_media(encoding, settings.max_length)
        totals.add_tokens(encoding, mask)
        if refused is None:
            totals.ends.update(end for _, end in turn_ends(encoding, mask, settings.stop_ids, chat.loss_messages))


def audit_chunk(auditor: RowAuditor, rows: Sequence[RawRow]) -> Totals:
    """The work of a worker process."""
    return auditor.audit(rows)


def with_selection(chat: Chat, encoding: Encoding, options: SupervisedOptions) -> Chat:
    """The conversation, whose ``loss_messages`` are those that flags and options leave."""
    return replace(chat, loss_messages=trained_messages(chat, encoding.roles, options.train_on))


def mask_of(encoding: Encoding, chat: Chat, options: SupervisedOptions) -> NDArray[np.bool_]:
    """What is trained; bool ``[T]``."""
    return trained_tokens(encoding, chat.loss_messages, chat.weights, options)[0]


def _cut_media(encoding: Encoding, max_length: int) -> Iterator[Finding]:
    """The sides on which a cut would go through a medium, or leave one out."""
    for side, kept in kept_tokens(len(encoding), max_length).items():
        cut = media_cut_by(encoding, kept)
        if cut:
            first = cut[0]
            what = f"{one_medium(first.modality)} of {tokens_of(first):,} tokens among {len(encoding):,}"
            yield Finding(
                CUT_MEDIA,
                f"cut off on the {side}",
                "problem",
                "such rows are rejected, because a model needs media whole: drop the rows, leave out messages, "
                "or make the media smaller with the processor",
                first.message_index,
                what,
            )


def _empty(encoding: Encoding) -> Finding:
    if "assistant" not in encoding.roles:
        return Finding(EMPTY, "no assistant message", "problem", "drop the rows; check how roles are named")
    return Finding(EMPTY, "no token is in the loss", "problem", "see what the template writes with chatspan inspect")
