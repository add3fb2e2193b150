"""verl's way of masks in multi-turn SFT, reimplemented; verl itself is not needed.

``MultiTurnSFTDataset`` renders each message alone and joins the ids. A message that is not the first and no system
message loses as many ids at its front as the template's default system text has. Of an assistant's message all is
trained but as many ids at its front as a generation prompt has. Joined ids that are not those of the whole conversation
are an ``AssertionError``, if ``ignore_input_ids_mismatch`` is not set.

After https://github.com/verl-project/verl/blob/1dda039b9/verl/utils/dataset/multiturn_sft_dataset.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chatspan.audit.against.peer import PeerRefusal, PeerRow, ids_of
from chatspan.audit.against.texts import text_difference
from chatspan.rows.conversations import Chat
from chatspan.rows.messages import Message

MISMATCH = "messages rendered alone are not the conversation, which is an AssertionError"
_COMMIT = "1dda039"
_EMPTY: Message = {"role": "user", "content": ""}
_DUMMY: Message = {"role": "user", "content": [{"type": "text", "text": ""}]}


class VerlStyle:
    """See :class:`chatspan.audit.against.peer.Peer`."""

    name = "verl-style"

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.method = (
            f"verl's MultiTurnSFTDataset, reimplemented after its commit {_COMMIT}: each message alone, defaults"
        )
        self.refused = False
        self.statements: list[str] = []
        try:
            one = self._ids([_EMPTY], {}, add_generation_prompt=False)
            two = self._ids([_EMPTY] * 2, {}, add_generation_prompt=False)
            prompt = self._ids([_EMPTY], {}, add_generation_prompt=True)
        except PeerRefusal as refusal:
            self.refused = True
            self.statements.append(f"it refuses the template: {refusal.reason}")
            return
        # As there: the length of a user's message is what a second one adds.
        self._system = one[: -(len(two) - len(one))]
        self._prompt = prompt[len(one) :]

    def row(self, chat: Chat) -> PeerRow:
        """What it makes of a row."""
        whole = ids_of(self._tokenizer, chat)
        later = {name: value for name, value in chat.template_kwargs.items() if name != "tools"}
        ids: list[int] = []
        trained: list[bool] = []
        for index, message in enumerate(chat.messages):
            part = self._alone(message, later if index else chat.template_kwargs, index)
            if index and message.get("role") != "system":
                part = part[len(self._system) :]
            is_trained = message.get("role") == "assistant"
            ids += part
            trained += [is_trained and place >= len(self._prompt) for place in range(len(part))]
        if ids != whole:
            difference = text_difference(*(str(self._tokenizer.decode(some)) for some in (ids, whole)))
            raise PeerRefusal(MISMATCH, difference)
        return PeerRow(ids, np.array(trained, dtype=bool))

    def _alone(self, message: Message, keywords: Mapping[str, Any], index: int) -> list[int]:
        """A message alone; behind a user's empty one where the template refuses that, and without its ids."""
        try:
            return self._ids([message], keywords)
        except PeerRefusal:
            pass
        try:
            before = self._ids([_DUMMY], keywords)
            return self._ids([_DUMMY, message], keywords)[len(before) :]
        except PeerRefusal as refusal:
            raise PeerRefusal("the template raises on a message alone", refusal.reason, index) from None

    def _ids(self, messages: list[Message], keywords: Mapping[str, Any], **options: Any) -> list[int]:
        return ids_of(self._tokenizer, Chat(messages, keywords=dict(keywords)), **options)
