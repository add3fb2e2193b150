"""The DPO replay channel: a trace's preference pairs as conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatspan.distillation.chats.encoded_chat import EncodedChat, TokenRange
from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.examples.reading import name_of, read_chats, require_texts
from chatspan.errors import ContentNotFoundError, RowError, TraceError, quoted
from chatspan.rows.conversations import Chat
from chatspan.rows.reader import RowReader
from chatspan.rows.steps.plain import decoded, plain_data


@dataclass(frozen=True)
class ReplayPair:
    """A prompt with the answer that was preferred, and with the one that was not.

    Attributes:
        row: the index of its trace in the batch.
        chosen, rejected: the prompt and the answer as an assistant's message behind it.
    """

    row: int
    chosen: Conversation
    rejected: Conversation


def read_pairs(traces: Sequence[Any], reader: RowReader) -> list[ReplayPair]:
    """The checked ``dpo_pairs`` of all traces, in order.

    Raises:
        TraceError: a pair of the wrong form; with its trace's id and its own index.
    """
    chats = enumerate(read_chats(traces, reader, "traces"))
    return [pair for row, chat in chats for pair in _pairs_of(chat, row, reader)]


def response_ranges(chat: EncodedChat, conversation: Conversation) -> list[TokenRange]:
    """The tokens of the answer: its content and its end of turn.

    Raises:
        ContentNotFoundError: the template leaves the answer out.
    """
    content = chat.content_tokens[-1]
    if not content:
        raise ContentNotFoundError(
            "the chat template leaves the answer out", **conversation.place(len(conversation.messages) - 1)
        )
    return [*content, chat.end_of_turn]


def _pairs_of(chat: Chat, row: int, reader: RowReader) -> list[ReplayPair]:
    trace_id, pairs = name_of(chat, row), decoded(plain_data(chat.row.get("dpo_pairs")))
    if pairs is None:
        return []
    if not isinstance(pairs, list):
        raise TraceError(f"'dpo_pairs' must be a list, got {type(pairs).__name__}", trace_id=trace_id)
    return [_read_pair(pair, row, f"{trace_id} dpo_pairs[{index}]", chat, reader) for index, pair in enumerate(pairs)]


def _read_pair(pair: Any, row: int, pair_id: str, chat: Chat, reader: RowReader) -> ReplayPair:
    if not isinstance(pair, Mapping):
        raise TraceError(
            f"expected a dict with 'prompt', 'chosen' and 'rejected', got {type(pair).__name__}", trace_id=pair_id
        )
    kwargs = chat.template_kwargs
    try:
        prompt = reader.messages(pair.get("prompt"), "prompt", chat)
    except RowError as error:
        raise TraceError(error.message, trace_id=pair_id, turn_index=error.message_index) from None
    require_texts(prompt, pair_id)

    def conversation(answer: str) -> Conversation:
        text = pair.get(answer)
        if not isinstance(text, str) or not text.strip():
            raise TraceError(f"{answer!r} must be a string that is not blank, got {quoted(text)}", trace_id=pair_id)
        messages = [*prompt, {"role": "assistant", "content": text}]
        return Conversation(f"{pair_id} {answer}", messages, range(len(messages)), kwargs)

    return ReplayPair(row, conversation("chosen"), conversation("rejected"))
