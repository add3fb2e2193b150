"""Traces as callers have them → conversations and their error sites.

A *trace* has turns; a *conversation* is what is rendered: a turn each, hints among them, with the keyword arguments
of its template. Everything that can be wrong with a trace is found here, before anything is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatspan.distillation.config import CollatorConfig
from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.examples.reading import name_of, read_chats
from chatspan.distillation.examples.sampled import student_of
from chatspan.errors import HintError, TraceError
from chatspan.options import near_role
from chatspan.rows.conversations import Chat
from chatspan.rows.messages import is_blank, lone_surrogate, shown
from chatspan.rows.notes import Note
from chatspan.rows.reader import RowReader


@dataclass(frozen=True)
class ErrorSite:
    """An assistant turn that follows a tool error, and the hint that its teacher sees."""

    turn_index: int
    hint: str


@dataclass(frozen=True)
class Trace:
    """A checked trace.

    Attributes:
        plain: the student's conversation.
        error_sites: where hints go.
        weights: of messages, see :class:`chatspan.rows.conversations.Chat`.
        notes: what the reader changed.
    """

    plain: Conversation
    error_sites: Sequence[ErrorSite]
    weights: Mapping[int, float] = field(default_factory=dict)
    notes: Sequence[Note] = ()


def read_traces(traces: Any, config: CollatorConfig, reader: RowReader | None = None) -> list[Trace]:
    """Reads traces, and asks the hint generator at each assistant turn with a ``tool_error`` and a content.

    Args:
        reader: of the rows; by default one that knows no chat template.

    Raises:
        TraceError: the first thing that is wrong with a trace, with its ``trace_id`` and ``turn_index``.
        HintError: the hint generator raised, or returned no string.
    """
    chats = read_chats(traces, RowReader(config) if reader is None else reader, "traces")
    return [_trace(chat, name_of(chat, row), config) for row, chat in enumerate(chats)]


def _trace(chat: Chat, trace_id: str, config: CollatorConfig) -> Trace:
    plain = student_of(chat, trace_id)
    sites = []
    for index, (tool_error, meta) in chat.tool_errors.items():
        if chat.weights.get(index, 1) == 0 or (chat.loss_messages is not None and index not in chat.loss_messages):
            continue
        if plain.sampled is not None and index not in plain.sampled.turns:
            continue
        role = chat.messages[index]["role"]
        if near_role(role) == "assistant":
            what = f"it has a tool_error, but its role {role!r} is unknown: did you mean 'assistant'?"
            raise TraceError(what, trace_id=trace_id, turn_index=index)
        if plain.sampled is not None:
            _require_loss(chat.messages[index], index, trace_id, config)
        hint = _hint(chat.messages[index], (tool_error, meta), plain, index, config)
        if hint is not None:
            sites.append(ErrorSite(index, hint))
    return Trace(plain, sites, chat.weights, chat.notes)


def _require_loss(turn: Mapping[str, Any], index: int, trace_id: str, config: CollatorConfig) -> None:
    """A sampled turn with an error is an error site, also one of nothing but calls.

    Raises:
        TraceError: nothing of it could be in the loss.
    """
    if config.loss_on == "content" and is_blank(turn.get("content")):
        raise TraceError(
            'it has a tool_error and no content, but loss_on="content": use loss_on="turn" to train all that was '
            "sampled",
            trace_id=trace_id,
            turn_index=index,
        )


def _hint(
    turn: Mapping[str, Any],
    error_and_meta: tuple[Any, Any],
    plain: Conversation,
    turn_index: int,
    config: CollatorConfig,
) -> str | None:
    """The hint of an error site; ``None`` where the turn is none."""
    tool_error, meta = error_and_meta
    is_empty = plain.sampled is None and is_blank(turn.get("content"))
    if turn["role"] != "assistant" or not tool_error or is_empty:
        return None

    def wrong(message: str) -> HintError:
        return HintError(f"hint_generator {message}", trace_id=plain.trace_id, turn_index=turn_index)

    try:
        hint = config.hint_generator(tool_error, {} if meta is None else meta)
    except Exception as error:
        raise wrong(f"raised {type(error).__name__}: {error}") from error
    if not isinstance(hint, str):
        raise wrong(f'returned {shown(hint)}, not a string; return "" for no hint')
    if (at := lone_surrogate(hint)) is not None:
        raise wrong(f"returned text with a lone surrogate at character {at}")
    return hint if hint.strip() else None
