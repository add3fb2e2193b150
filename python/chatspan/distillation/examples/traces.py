"""Traces as callers have them → conversations and their error sites.

A *trace* has turns; a *conversation* is what is rendered: a turn each, hints among them, with the keyword arguments
of its template. Everything that can be wrong with a trace is found here, before anything is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatspan.distillation.config import CollatorConfig
from chatspan.distillation.examples.conversation import Conversation
from chatspan.errors import HintError, TraceError
from chatspan.rows.messages import is_blank, lone_surrogate, read_messages, shown, template_kwargs_of, trace_id_of


@dataclass(frozen=True)
class ErrorSite:
    """An assistant turn that follows a tool error, and the hint that its teacher sees."""

    turn_index: int
    hint: str


@dataclass(frozen=True)
class Trace:
    """A checked trace: the student's plain conversation, and where hints go."""

    plain: Conversation
    error_sites: Sequence[ErrorSite]


def read_traces(traces: Sequence[Mapping[str, Any]], config: CollatorConfig) -> list[Trace]:
    """Checks traces and asks the hint generator at each assistant turn with a ``tool_error`` and a content.

    Raises:
        TraceError: the first thing that is wrong with a trace, with its ``trace_id`` and ``turn_index``.
        HintError: the hint generator raised, or returned no string.
    """
    if not isinstance(traces, Sequence) or isinstance(traces, (str, bytes)):
        raise TraceError(f"expected a list of traces, got {type(traces).__name__}")
    if not traces:
        raise TraceError("an empty list of traces makes no batch")
    return [_read_trace(trace, row, config) for row, trace in enumerate(traces)]


def _read_trace(trace: Any, row: int, config: CollatorConfig) -> Trace:
    if not isinstance(trace, Mapping):
        raise TraceError(f"expected a dict, got {shown(trace)}", trace_id=f"row {row}")
    trace_id = trace_id_of(trace, row)
    if "turns" not in trace:
        raise TraceError(f"it has no 'turns'; its keys are {sorted(map(str, trace))}", trace_id=trace_id)
    messages = read_messages(trace["turns"], trace_id, "'turns'")
    plain = Conversation(trace_id, messages, range(len(messages)), template_kwargs_of(trace, trace_id))
    hints = ((i, _hint(turn, i, trace_id, config)) for i, turn in enumerate(trace["turns"]))
    return Trace(plain, [ErrorSite(turn_index, hint) for turn_index, hint in hints if hint])


def _hint(turn: Mapping[str, Any], turn_index: int, trace_id: str, config: CollatorConfig) -> str | None:
    """The hint of an error site; ``None`` where the turn is none."""
    if turn["role"] != "assistant" or not turn.get("tool_error") or is_blank(turn.get("content")):
        return None

    def wrong(message: str) -> HintError:
        return HintError(f"hint_generator {message}", trace_id=trace_id, turn_index=turn_index)

    meta = turn.get("error_meta")
    try:
        hint = config.hint_generator(turn["tool_error"], {} if meta is None else meta)
    except Exception as error:
        raise wrong(f"raised {type(error).__name__}: {error}") from error
    if not isinstance(hint, str):
        raise wrong(f'returned {shown(hint)}, not a string; return "" for no hint')
    if (at := lone_surrogate(hint)) is not None:
        raise wrong(f"returned text with a lone surrogate at character {at}")
    return hint if hint.strip() else None
