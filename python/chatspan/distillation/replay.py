"""The DPO replay channel: a trace's preference pairs as conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatspan.distillation.chats.encoded_chat import EncodedChat, TokenRange
from chatspan.distillation.examples.conversation import Conversation
from chatspan.errors import ContentNotFoundError, TraceError
from chatspan.rows.messages import read_messages, template_kwargs_of, trace_id_of


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


def read_pairs(traces: Sequence[Mapping[str, Any]]) -> list[ReplayPair]:
    """The checked ``dpo_pairs`` of all traces, in order.

    Raises:
        TraceError: a pair of the wrong form; with its trace's id and its own index.
    """
    return [pair for row, trace in enumerate(traces) for pair in _pairs_of(trace, row)]


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


def _pairs_of(trace: Mapping[str, Any], row: int) -> list[ReplayPair]:
    trace_id, pairs = trace_id_of(trace, row), trace.get("dpo_pairs")
    if pairs is None:
        return []
    if not isinstance(pairs, Sequence) or isinstance(pairs, (str, bytes)):
        raise TraceError(f"'dpo_pairs' must be a list, got {type(pairs).__name__}", trace_id=trace_id)
    kwargs = template_kwargs_of(trace, trace_id)
    return [_read_pair(pair, row, f"{trace_id} dpo_pairs[{index}]", kwargs) for index, pair in enumerate(pairs)]


def _read_pair(pair: Any, row: int, pair_id: str, kwargs: Mapping[str, Any]) -> ReplayPair:
    if not isinstance(pair, Mapping):
        raise TraceError(
            f"expected a dict with 'prompt', 'chosen' and 'rejected', got {type(pair).__name__}", trace_id=pair_id
        )
    prompt = read_messages(pair.get("prompt"), pair_id, "'prompt'")

    def conversation(answer: str) -> Conversation:
        text = pair.get(answer)
        if not isinstance(text, str) or not text.strip():
            raise TraceError(f"{answer!r} must be a string that is not blank, got {text!r:.60}", trace_id=pair_id)
        messages = [*prompt, {"role": "assistant", "content": text}]
        return Conversation(f"{pair_id} {answer}", messages, range(len(messages)), kwargs)

    return ReplayPair(row, conversation("chosen"), conversation("rejected"))
