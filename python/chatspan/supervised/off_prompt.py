"""Turns that no prompt of inference leads to: what becomes of them, and a word about them, once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence

from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, OffPromptError
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
        index, found = min(off.items())
        raise OffPromptError(
            f"message {index} (assistant): no prompt of inference leads to its turn ({found.cause}): from character "
            f'{found.start_char} on the prompt has {found.prompt!r}, the row {found.row!r}; off_prompt="drop_turn" does '
            'not train such turns, "keep" does',
            message_index=index,
            start_char=found.start_char,
        )
    return [index for index in chosen if index not in off]


class OffPromptSummary:
    """Says once what of the first rows no prompt leads to."""

    def __init__(self) -> None:
        self._is_told = False

    def tell(self, encodings: Sequence[Encoding], policy: OffPromptPolicy) -> None:
        """Looks at the first rows that it is given, with ``"keep"``."""
        if self._is_told or policy != "keep" or not encodings:
            return
        self._is_told = True
        causes: Counter[str] = Counter()
        turns = 0
        for encoding in encodings[:_ROWS]:
            turns += encoding.roles.count("assistant")
            try:
                causes.update(found.cause for found in encoding.off_prompt.values())
            # Who trains the row is told what is wrong with it.
            except ChatspanError:
                continue
        if causes:
            of_causes = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
            logger.warning(
                "%d of %d turns in the first %d rows are written otherwise than inference prompts for them (%s); they are "
                'trained as written. chatspan audit --turns shows them, off_prompt="drop_turn" leaves them out',
                causes.total(),
                turns,
                min(len(encodings), _ROWS),
                of_causes,
            )
