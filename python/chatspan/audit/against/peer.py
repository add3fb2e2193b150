"""What a library has to tell to be compared with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chatspan.errors import ChatspanError
from chatspan.rows.conversations import Chat
from chatspan.rows.messages import Message


class PeerError(ChatspanError):
    """A library that is not installed, or too old."""


class PeerRefusal(Exception):
    """A row that a library does not train on, and why.

    Attributes:
        outcome: in words that are the same for all such rows: ``"the template raises"``.
        reason: of this row.
        message_index: in the row's messages.
    """

    def __init__(self, outcome: str, reason: str, message_index: int | None = None) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason
        self.message_index = message_index


@dataclass(frozen=True)
class PeerRow:
    """What a library makes of a row.

    Attributes:
        input_ids: of ``T`` tokens.
        mask: bool ``[T]``, what it trains.
        remark: what else is to be said of the row, in words that are the same for all such rows; and its own.
    """

    input_ids: Sequence[int]
    mask: NDArray[np.bool_]
    remark: tuple[str, str] | None = None


class Peer(Protocol):
    """A library, with a tokenizer and a template.

    Attributes:
        name: as ``--against`` takes it.
        method: what it is and does, in a line.
        statements: what is true of the template as a whole, whatever the rows.
        refused: whether it trains on nothing with this template.
    """

    @property
    def name(self) -> str: ...

    @property
    def method(self) -> str: ...

    @property
    def statements(self) -> Sequence[str]: ...

    @property
    def refused(self) -> bool: ...

    def row(self, chat: Chat) -> PeerRow:
        """What it makes of a row.

        Raises:
            PeerRefusal: nothing.
        """


def apply_template(tokenizer: Any, chat: Chat, messages: Sequence[Message] | None = None, **options: Any) -> Any:
    """``apply_chat_template`` on a row, with its tools and arguments.

    Args:
        messages: in place of all of the row's.

    Raises:
        PeerRefusal: the template raises.
    """
    messages = list(chat.messages if messages is None else messages)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tokenizer.apply_chat_template(messages, tokenize=True, **chat.template_kwargs, **options)
    # Templates raise whatever they like.
    except Exception as error:
        raise PeerRefusal("the template raises", f"{type(error).__name__}: {' '.join(str(error).split())}") from None


def ids_of(tokenizer: Any, chat: Chat, messages: Sequence[Message] | None = None, **options: Any) -> list[int]:
    """The ids of a row."""
    return list(apply_template(tokenizer, chat, messages, return_dict=False, **options))
