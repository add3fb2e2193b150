"""Prefix delta: what messages add to the tokens of those before, as verl and many scripts of people's own take it.

Trained of an assistant's message: from the tokens of ``messages[:k]`` with a generation prompt to those of
``messages[:k + 1]``. That is quadratic, and says something only if both begin the tokens of all messages. A check that
those who use it leave out: differences of lengths come out either way, and train on other tokens then.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chatspan.audit.against.peer import PeerRefusal, PeerRow, ids_of
from chatspan.audit.against.texts import text_difference
from chatspan.rows.conversations import Chat

UNSTABLE = "a prefix of the messages is not a prefix of the tokens, so differences of lengths are meaningless"


class PrefixDelta:
    """See :class:`chatspan.audit.against.peer.Peer`."""

    name = "prefix-delta"

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.method = "tokens of messages[:k + 1] minus those of messages[:k] with a generation prompt, for each k"
        self.refused = False
        self.statements: list[str] = []

    def row(self, chat: Chat) -> PeerRow:
        """What it makes of a row."""
        ids = ids_of(self._tokenizer, chat)
        mask = np.zeros(len(ids), dtype=bool)
        for index, message in enumerate(chat.messages):
            if message.get("role") == "assistant":
                start = self._prefix(chat, ids, index, True)
                end = self._prefix(chat, ids, index + 1, False)
                mask[start:end] = True
        return PeerRow(ids, mask)

    def _prefix(self, chat: Chat, ids: list[int], count: int, prompt: bool) -> int:
        """How many tokens the first messages have."""
        if count == 0 and not prompt:
            return 0
        try:
            prefix = ids_of(self._tokenizer, chat, chat.messages[:count], add_generation_prompt=prompt)
        except PeerRefusal as refusal:
            what = "the template raises on a prefix of the messages"
            raise PeerRefusal(what, refusal.reason, count - 1 if count else None) from None
        if ids[: len(prefix)] != prefix:
            whole, part = (str(self._tokenizer.decode(some)) for some in (ids[: len(prefix) + 200], prefix))
            which = f"messages[:{count}]" + (" with a generation prompt" if prompt else "")
            difference = text_difference(part, whole[: len(part) + 200])
            raise PeerRefusal(UNSTABLE, f"{which}: {difference}", min(count, len(chat.messages) - 1))
        return len(prefix)
