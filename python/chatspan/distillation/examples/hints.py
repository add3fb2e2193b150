"""Traces → examples: the teacher of a trace is the trace with hints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from chatspan.distillation.config import CollatorConfig, HintPlacement
from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.examples.example import Example, Hint
from chatspan.distillation.examples.traces import ErrorSite, Trace
from chatspan.errors import HintError
from chatspan.rows.messages import Message, is_blank, is_medium

_SYSTEM_ROLES = ("system", "developer")


class HintOptions(Protocol):
    """How hints are put into conversations; see :class:`chatspan.CollatorConfig`."""

    @property
    def hint_role(self) -> str:
        """The role of a hint's own message."""

    @property
    def hint_placement(self) -> HintPlacement:
        """Where it stands."""


def trace_examples(traces: Sequence[Trace], config: CollatorConfig) -> list[Example]:
    """One example a trace, or with ``hint_scope="per_site"`` one an error site.

    Raises:
        HintError: ``append_to_previous`` where there is no message before the turn, or it is an assistant's.
    """
    examples = []
    for row, trace in enumerate(traces):
        sites = trace.error_sites
        scopes = [[site] for site in sites] if config.hint_scope == "per_site" else [list(sites)]
        examples += [_example(trace, row, config, scope) for scope in scopes or [[]]]
    return examples


def _example(trace: Trace, row: int, config: CollatorConfig, sites: Sequence[ErrorSite]) -> Example:
    if not sites:
        return Example(row, trace.plain)

    def with_loss_on(loss_messages: Sequence[int]) -> Example:
        kept = [site for site in sites if site.turn_index in loss_messages]
        return replace(_example(trace, row, config, kept), dropped_sites=len(sites) - len(kept))

    teacher, hints = with_hints(trace.plain, sites, config)
    return Example(
        row_index=row,
        student=trace.plain,
        teacher=teacher,
        message_map={turn: index for index, turn in enumerate(teacher.turn_indices) if turn is not None},
        loss_messages=[site.turn_index for site in sites],
        message_weights=trace.weights,
        hints=hints,
        with_loss_on=with_loss_on,
    )


def with_hints(
    plain: Conversation, sites: Sequence[ErrorSite], config: HintOptions
) -> tuple[Conversation, dict[int, Hint]]:
    """The conversation with each site's hint in its place, and where that is, by turn.

    Raises:
        HintError: ``append_to_previous`` where there is no message before the turn, or it is an assistant's.
    """
    hint_of = {site.turn_index: site.hint for site in sites}
    messages: list[Message] = []
    turn_indices: list[int | None] = []
    hints: dict[int, Hint] = {}
    start = 0
    if config.hint_placement == "first_system":
        start = int(plain.messages[0]["role"] in _SYSTEM_ROLES)
        messages = [plain.messages[0] if start else {"role": "system", "content": ""}]
        turn_indices = [0 if start else None]
        for turn_index, text in hint_of.items():
            messages[0], hints[turn_index] = _appended(messages[0], text, partial(Hint, 0, right_before=False))
    for turn_index, message in enumerate(plain.messages[start:], start):
        text = hint_of.get(turn_index, "")
        if text and config.hint_placement == "before_turn":
            hints[turn_index] = Hint(len(messages), ("content",), 0, len(text), right_before=True)
            messages.append({"role": config.hint_role, "content": text})
            turn_indices.append(None)
        elif text and config.hint_placement == "append_to_previous":
            _require_a_message_before(messages, plain, turn_index)
            place = partial(Hint, len(messages) - 1, right_before=True)
            messages[-1], hints[turn_index] = _appended(messages[-1], text, place)
        messages.append(message)
        turn_indices.append(turn_index)
    teacher = Conversation(
        plain.trace_id, messages, turn_indices, plain.template_kwargs, plain, is_checked=plain.is_checked
    )
    return teacher, hints


def _require_a_message_before(messages: Sequence[Message], plain: Conversation, turn_index: int) -> None:
    if not messages or messages[-1]["role"] == "assistant":
        what = "an assistant's" if messages else "none"
        raise HintError(
            f'hint_placement="append_to_previous" needs a message before the turn, but it is {what}; '
            'use hint_placement="before_turn"',
            trace_id=plain.trace_id,
            turn_index=turn_index,
        )


def _appended(message: Message, hint: str, place: Any) -> tuple[Message, Hint]:
    """The message with the hint at its end, after a blank line; and where it is."""
    content = message.get("content")
    if is_blank(content) and not _has_media(content):
        return {**message, "content": hint}, place(path=("content",), start_char=0, end_char=len(hint))
    if isinstance(content, str):
        text = f"{content}\n\n{hint}"
        where = place(path=("content",), start_char=len(text) - len(hint), end_char=len(text))
        return {**message, "content": text}, where
    # In the last part's own text: a part of its own would be trimmed or joined as the template likes.
    assert content is not None
    *parts, last = content
    if is_medium(last):
        parts, last = [*parts, last], {"type": "text", "text": ""}
    text = f"{last['text']}\n\n{hint}"
    path = ("content", len(parts), "text")
    where = place(path=path, start_char=len(text) - len(hint), end_char=len(text))
    return {**message, "content": [*parts, {**last, "text": text}]}, where


def _has_media(content: Any) -> bool:
    return isinstance(content, (list, tuple)) and any(map(is_medium, content))
