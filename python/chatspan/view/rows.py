"""A row of a data set, encoded → what a person looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatspan.attribute.turns import EndOfTurn
from chatspan.distillation.config import HintPlacement
from chatspan.encode.chats import encoded_chat
from chatspan.encoder import ChatEncoder
from chatspan.errors import OptionError
from chatspan.rows.conversations import Chat
from chatspan.supervised.options import TrainOn
from chatspan.supervised.selection import trained_messages
from chatspan.view.view import View, view_of_encoding


@dataclass(frozen=True)
class HintOptions:
    """How a trace's teacher gets hints.

    Attributes:
        text: of a hint; ``{tool}``, ``{error}`` and ``{message}`` stand for the site's.
        placement, role: see :class:`chatspan.CollatorConfig`.
    """

    text: str = "The last call of {tool} failed with: {message}. Do not repeat it unchanged."
    placement: HintPlacement = "before_turn"
    role: str = "system"

    def generate(self, error: Any, meta: Any) -> str:
        """The hint of an error site, as a ``hint_generator`` gives it."""
        known = meta if isinstance(meta, Mapping) else {}
        text = self.text
        values = {"tool": known.get("tool") or "the tool", "error": error, "message": known.get("message") or error}
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", str(value).rstrip("."))
        return text


def views_of_chat(
    chat: Chat,
    encoder: ChatEncoder,
    *,
    title: str,
    end_of_turn: EndOfTurn = "token",
    hints: HintOptions | None = None,
    train_on: TrainOn = "all",
) -> list[View]:
    """One conversation, or the student and the teacher of a trace or a pair.

    Args:
        train_on: which messages of a conversation are trained, as :class:`chatspan.ChatCollator` takes it.

    Raises:
        ChatspanError: as :meth:`chatspan.ChatEncoder.encode` and the collators.
    """
    if chat.form == "messages":
        encoding = encoded_chat(encoder, chat)
        chosen = trained_messages(chat, encoding.roles, train_on)
        view = view_of_encoding(
            encoding,
            encoder.tokenizer,
            title,
            end_of_turn=end_of_turn,
            loss_messages=chosen,
            messages=chat.messages,
            processor=encoder.processor,
        )
        return [view]
    # Only these need torch.
    from chatspan.distillation.config import CollatorConfig, DistillationConfig
    from chatspan.view.pair import view_of_pair

    hints = hints or HintOptions()
    config: DistillationConfig = DistillationConfig(layout="indexed")
    if chat.form == "trace":
        config = CollatorConfig(
            layout="indexed",
            hint_generator=hints.generate,
            hint_placement=hints.placement,
            hint_role=hints.role,
        )
    given = encoder.tokenizer if encoder.processor is None else encoder.processor
    if encoder.chat_template is not None:
        if not isinstance(encoder.chat_template, str):
            raise OptionError("a trace or a pair takes one template, not several by name")
        given.chat_template = encoder.chat_template
    return view_of_pair(chat.as_row(), given, config, title)
