"""Axolotl's way of finding turns, reimplemented; Axolotl itself is not needed.

``ChatTemplateStrategy`` renders the conversation up to each turn to be trained twice, once with that turn's content
replaced by ``[[dummy_message]]``. What differs, from the first differing id to the last, is trained; then the first
end-of-sequence token at most three tokens behind it. With its defaults: ``roles_to_train: [assistant]``,
``train_on_eos: turn``, ``eot_tokens`` the tokenizer's end-of-sequence token.

After https://github.com/axolotl-ai-cloud/axolotl/blob/01f6a5c16dbe3bddff00da5446d90e1a93d85dc2/src/axolotl/prompt_strategies/chat_template.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chatspan.audit.against.peer import PeerRefusal, PeerRow, ids_of
from chatspan.rows.conversations import Chat
from chatspan.rows.messages import Message

_COMMIT = "01f6a5c"
# How far behind the content the end-of-sequence token may stand.
_PADDING = 3


class AxolotlStyle:
    """See :class:`chatspan.audit.against.peer.Peer`."""

    name = "axolotl-style"

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.method = (
            f"Axolotl's method, reimplemented after its commit {_COMMIT}: dummy content, train_on_eos: turn, defaults"
        )
        self.refused = False
        self.statements: list[str] = []
        template, eos = str(tokenizer.chat_template), tokenizer.eos_token
        if eos is None or (eos not in template and "eos_token" not in template):
            self.statements.append(
                f"it warns that the end-of-sequence token {eos!r} is not in the template, and trains no end of turn."
            )

    def row(self, chat: Chat) -> PeerRow:
        """What it makes of a row."""
        chat = replace(chat, messages=[_message(message) for message in chat.messages])
        ids = ids_of(self._tokenizer, chat)
        mask = np.zeros(len(ids), dtype=bool)
        for index, message in enumerate(chat.messages):
            if message.get("role") != "assistant":
                continue
            start, end = self._find_turn(chat, index)
            if start != -1:
                mask[start:end] = True
            # As there: where no turn was found, the search begins at -1, the last token.
            eos = next((i for i in range(end, len(ids)) if ids[i] == self._tokenizer.eos_token_id), -1)
            if eos != -1 and abs(eos - end) <= _PADDING:
                mask[eos] = True
        return PeerRow(ids, mask)

    def _find_turn(self, chat: Chat, index: int) -> tuple[int, int]:
        dummy = {"role": chat.messages[index]["role"], "content": "[[dummy_message]]"}
        real_last = {"real_last_index": last} if (last := len(chat.messages) - 1) else {}
        try:
            dummy_ids = ids_of(self._tokenizer, chat, [*chat.messages[:index], dummy], **real_last)
            full_ids = ids_of(self._tokenizer, chat, chat.messages[: index + 1], **real_last)
        except PeerRefusal as refusal:
            raise PeerRefusal("the template raises on a part of the row", refusal.reason, index) from None
        return differing_range(dummy_ids, full_ids)


def differing_range(dummy: Sequence[int], full: Sequence[int]) -> tuple[int, int]:
    """From the first differing id to the last, of ``full``; ``(-1, -1)`` where there is none.

    Example:
        >>> differing_range([1, 9, 3], [1, 5, 6, 3])
        (1, 3)
    """
    shorter = min(len(dummy), len(full))
    start = next((i for i in range(shorter) if dummy[i] != full[i]), None)
    end = next((len(full) - i for i in range(shorter) if dummy[-1 - i] != full[-1 - i]), None)
    return (-1, -1) if start is None or end is None or end <= start else (start, end)


def _message(message: Message) -> Message:
    """A message as it prepares it: without nulls, arguments of calls as dicts."""
    found: Message = dict(_without_nulls(message))
    calls = found.get("tool_calls")
    return {**found, "tool_calls": [_call(call) for call in calls]} if isinstance(calls, list) else found


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


def _call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
    except ValueError as error:
        raise PeerRefusal("the arguments of a call are not JSON", str(error)) from None
