"""Turns that no inference prompt leads to: what becomes of them, and a word about them, once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any

from chatspan.attribute.prompts import OffPrompt
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, OffPromptError
from chatspan.kinds import Kind
from chatspan.options import OffPromptPolicy

# Rows that are looked at for the word about them; each turn's prompt is rendered.
_ROWS = 8
logger = logging.getLogger("chatspan")


def messages_on_prompt(
    encoding: Encoding, messages: Collection[int] | None, policy: OffPromptPolicy
) -> Collection[int] | None:
    """The messages that may be trained.

    Args:
        messages: those that the row names; ``None`` for all.

    Raises:
        OffPromptError: with ``"error"``; with ``message_index``.
    """
    if policy == "keep":
        return messages
    chosen = range(len(encoding.roles)) if messages is None else messages
    off = {index: found for index, found in encoding.off_prompt.items() if index in chosen}
    if off and policy == "error":
        raise off_prompt_error(*min(off.items()))
    return [index for index in chosen if index not in off]


def off_prompt_error(index: int, found: OffPrompt) -> OffPromptError:
    """The error of a message that no prompt leads to."""
    return OffPromptError(
        f"message {index} (assistant): no inference prompt leads to its turn ({found.cause}): from character "
        f"{found.start_char} on the prompt has {found.prompt!r}, the row {found.row!r}; "
        'use off_prompt="drop_turn" to leave such turns out, or "keep" to train them',
        message_index=index,
        start_char=found.start_char,
    )


def _own_marker(encoding: Encoding) -> str:
    """What a template without a generation prompt writes in front of an answer, if it is more than blanks."""
    attributed = encoding._attributed
    if not attributed.writes_no_prompt:
        return ""
    starts = {region.header_end_char for region in attributed.regions.values() if region.found == "exact"}
    said = (
        encoding.text[segment.start_char : segment.end_char].strip()
        for segment in encoding.segments
        if segment.start_char in starts and segment.kind is Kind.SCAFFOLD
    )
    return next((text for text in said if text), "")


class OffPromptSummary:
    """Says once what of the first rows no prompt leads to."""

    def __init__(self) -> None:
        self._is_told = False

    def is_told(self, policy: OffPromptPolicy) -> bool:
        """Whether no further rows are looked at."""
        return self._is_told or policy != "keep"

    def tell_of(self, encodings: Iterable[Encoding], policy: OffPromptPolicy, loss_on: Any) -> None:
        """Looks at the first rows that it is given, with ``"keep"``."""
        if self.is_told(policy):
            return
        causes: Counter[str] = Counter()
        turns = rows = 0
        marker = ""
        for encoding in islice(encodings, _ROWS):
            self._is_told = True
            rows += 1
            turns += encoding.roles.count("assistant")
            try:
                causes.update(found.cause for found in encoding.off_prompt.values())
            # Who trains the row is told what is wrong with it.
            except ChatspanError:
                continue
            if loss_on == "turn":
                marker = marker or _own_marker(encoding)
        if marker:
            logger.warning(
                "the chat template writes no generation prompt, so turns begin with what it writes before them, %r, "
                "which the model then has to write itself: add an {%% if add_generation_prompt "
                "%%} block that writes it",
                marker,
            )
        if causes:
            of_causes = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
            logger.warning(
                "%d of %d turns in the first %d rows are written differently than inference prompts for them (%s), and "
                'trained as written: chatspan audit --turns shows them, off_prompt="drop_turn" leaves them out',
                causes.total(),
                turns,
                rows,
                of_causes,
            )
