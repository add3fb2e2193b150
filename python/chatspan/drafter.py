"""Conversations → drafts: rendered, with all that is known of them before they are tokenized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from chatspan.chat_template import Render
from chatspan.draft import Conventions, Draft
from chatspan.errors import ChatspanError, ControlTokenError, OptionError, TextError
from chatspan.native_template import Job
from chatspan.origins import field_runs
from chatspan.pieces import Piece, control_tokens, control_tokens_of_fields
from chatspan.probing import habits_of
from chatspan.renderer import ChatRenderer, Messages
from chatspan.rollouts import rollout_offsets
from chatspan.template_limits import TemplateLimits
from chatspan.template_program import Unsupported
from chatspan.tokens import tokens_of
from chatspan.turns import turn_range

SpecialTokens = Literal["as_rendered", "escape", "error"]


class Drafter:
    """Renders conversations for a tokenizer.

    Args:
        tokenizer: an HF fast tokenizer.
        chat_template, template_limits: as :class:`chatspan.ChatEncoder` takes them.
    """

    def __init__(
        self,
        tokenizer: Any,
        chat_template: str | Mapping[str, str] | None = None,
        template_limits: TemplateLimits | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self.renderer = ChatRenderer(tokenizer, chat_template, template_limits)
        self._known: dict[str, Conventions] = {}

    def __getstate__(self) -> dict[str, Any]:
        # What was found out about templates is found out anew.
        return {**self.__dict__, "_known": {}}

    def draft(
        self,
        messages: Messages,
        *,
        tools: Sequence[Any] | None = None,
        special_tokens: SpecialTokens = "as_rendered",
        token_ids_check: bool = True,
        token_ids: Mapping[int, Sequence[int]] | None = None,
        **render_kwargs: Any,
    ) -> Draft:
        """Renders a conversation; for the arguments see :meth:`chatspan.ChatEncoder.encode`.

        Args:
            token_ids: those of the messages, where they were taken out of these already.
        """
        if token_ids is None:
            messages, token_ids = without_token_ids(messages)
        render = self.renderer.render(messages, tools=tools, **render_kwargs)
        _require_unicode(render)
        template = self.renderer.template(tools)
        draft = Draft(render, lambda: self._conventions(tools), template.has_generation_tags)
        if token_ids:
            draft.pieces += self._rollouts(draft, token_ids, token_ids_check)
        if special_tokens != "as_rendered":
            draft.pieces += _escapes(draft, error=special_tokens == "error")
        return draft

    def job(self, messages: Messages, *, cut: bool, **render_kwargs: Any) -> Job | Unsupported:
        """What the core is to render for a draft of these arguments.

        Args:
            messages: without ``token_ids``.
            cut: whether the render is to be cut by message and kind, too.
        """
        known = self._known.get(self.renderer.source(render_kwargs.get("tools"))) if cut else None
        return self.renderer.job(messages, None if known is None else known.habits, **render_kwargs)

    def _conventions(self, tools: Sequence[Any] | None) -> Conventions:
        template = self.renderer.template(tools)
        known = self._known.get(template.source)
        if known is None:
            controls = control_tokens(self._tokenizer, template.source)
            habits = habits_of(template, self._tokenizer.special_tokens_map, controls)
            known = Conventions(controls, habits.with_controls(controls))
            self._known[template.source] = known
        return known

    def _rollouts(self, draft: Draft, token_ids: Mapping[int, Sequence[int]], check: bool) -> list[Piece]:
        pieces = []
        shell = draft.encoding(tokens_of([], [], len(draft.render.text), "hf"))
        for index, ids in token_ids.items():
            try:
                if index not in shell._regions:
                    raise OptionError(f"message {index} has token_ids, but the template does not render it")
                start, end = turn_range(shell, index, "token")
                found = rollout_offsets(
                    self._tokenizer,
                    ids,
                    draft.render.text[start:end],
                    _untrimmed(draft.render, start, end),
                    check=check,
                )
            except ChatspanError as error:
                raise error.at(message_index=index) from None
            offsets = [(first + start, last + start) for first, last in found]
            pieces.append(Piece(start, end, ([int(i) for i in ids], offsets)))
        return pieces


def _escapes(draft: Draft, *, error: bool) -> list[Piece]:
    """The control tokens in the text of fields, as pieces of plain text."""
    taken = [(piece.start_char, piece.end_char) for piece in draft.pieces]
    pieces = []
    for start, end, message_index in control_tokens_of_fields(
        draft.render.runs, draft.render.text, draft.conventions.control_tokens
    ):
        if any(first < end and start < last for first, last in taken):
            continue
        if error:
            raise ControlTokenError(
                f"message {message_index}: its text holds the control token {draft.render.text[start:end]!r} "
                f'(character {start} of the render); special_tokens="escape" encodes it as plain text',
                message_index=message_index,
                start_char=start,
            )
        pieces.append(Piece(start, end))
    return pieces


def _require_unicode(render: Render) -> None:
    if render.native is not None or render.text.isascii():
        return
    try:
        render.text.encode()
    except UnicodeEncodeError as error:
        owner = next((owner for start, owner in reversed(render.owners) if start <= error.start), -1)
        which = f"message {owner}" if owner >= 0 else "the render"
        raise TextError(
            f"{which} has a lone surrogate (character {error.start} of the render): it is no valid Unicode text; "
            "repair or drop it",
            message_index=owner if owner >= 0 else None,
            start_char=error.start,
        ) from None


def without_token_ids(messages: Messages) -> tuple[Messages, dict[int, Sequence[int]]]:
    """The messages as the template gets them, and the sampled ids of those that have some."""
    if not isinstance(messages, Sequence):
        return messages, {}
    for message in messages:
        if type(message) is not dict or "token_ids" in message:
            break
    else:
        return messages, {}
    token_ids = {
        index: message["token_ids"]
        for index, message in enumerate(messages)
        if isinstance(message, Mapping) and message.get("token_ids") is not None
    }
    if token_ids:
        messages = [
            {key: value for key, value in message.items() if key != "token_ids"} if index in token_ids else message
            for index, message in enumerate(messages)
        ]
    return messages, token_ids


def _untrimmed(render: Render, start: int, end: int) -> list[tuple[str, int, int]]:
    """A turn before the template trimmed its fields: pieces, and where they are in the turn."""
    pieces: list[tuple[str, int, int]] = []
    position = start
    for run_start, run_end, origin, at in field_runs(render.runs):
        if run_start < start or run_end > end or at < 0:
            continue
        pieces.append((render.text[position:run_start], position - start, run_start - start))
        whole, last = str.__str__(origin), at + run_end - run_start
        lead, trail = whole[:at], whole[last:]
        if not lead.strip():
            pieces.append((lead, run_start - start, run_start - start))
        pieces.append((render.text[run_start:run_end], run_start - start, run_end - start))
        if not trail.strip():
            pieces.append((trail, run_end - start, run_end - start))
        position = run_end
    pieces.append((render.text[position:end], position - start, end - start))
    return pieces
