"""Rows of a data set → encodings with labels, for supervised fine-tuning."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chatspan.config import LossOn, require_choices, require_counts, require_loss_on
from chatspan.dataset.conversations import Chat, chat_of
from chatspan.dataset.rows import RawRow
from chatspan.draft import Draft
from chatspan.drafter import SpecialTokens
from chatspan.drafts import Asked, drafts_of
from chatspan.encoder import ChatEncoder, Truncation, truncated
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, EmptyRowError, RowError
from chatspan.turns import EndOfTurn

SupervisedLossOn = Literal["generation"] | LossOn
EmptyRows = Literal["error", "drop"]
IGNORED = -100
logger = logging.getLogger("chatspan")


@dataclass(frozen=True, kw_only=True)
class SupervisedOptions:
    """How rows are encoded and what is trained; see :class:`chatspan.ChatCollator`."""

    loss_on: SupervisedLossOn = "turn"
    end_of_turn: EndOfTurn = "token"
    max_length: int | None = None
    truncation: Truncation = "error"
    empty_rows: EmptyRows = "error"
    special_tokens: SpecialTokens = "as_rendered"
    column: str | None = None

    def __post_init__(self) -> None:
        require_loss_on(self.loss_on, ("turn", "content", "generation"))
        require_choices(self, end_of_turn=EndOfTurn, truncation=Truncation, empty_rows=EmptyRows)
        require_choices(self, special_tokens=SpecialTokens)
        require_counts(self, "max_length")


@dataclass(frozen=True)
class SupervisedRow:
    """An encoded row.

    Attributes:
        encoding: cut to ``max_length``.
        labels: int64 ``[T]``, -100 where nothing is trained; the first token's is, since nothing in front predicts it.
        weights: float32 ``[T]``, where the loss is weighted.
    """

    encoding: Encoding
    labels: NDArray[np.int64]
    weights: NDArray[np.float32] | None


def supervised_rows(
    encoder: ChatEncoder, rows: Sequence[RawRow], options: SupervisedOptions
) -> list[SupervisedRow | None]:
    """Encodes rows in one call of the tokenizer; ``None`` for one with nothing to train on that is to be left out.

    Raises:
        ChatspanError: one of its kinds, with the row's place.
    """
    chats: list[Chat] = []
    for row in rows:
        with _placed(row):
            require_columns(row, options.column)
            chats.append(chat_of(row, options.column))
    asked = [Asked(encoder._drafter, chat.messages, chat.template_kwargs) for chat in chats]
    ahead = drafts_of(asked, now=datetime.now(), special_tokens=options.special_tokens)
    drafts: list[Draft] = []
    for row in rows:
        with _placed(row):
            drafts.append(next(ahead))
    found: list[SupervisedRow | None] = []
    for row, chat, encoding in zip(rows, chats, encoder._encode_drafts(drafts), strict=True):
        with _placed(row):
            try:
                found.append(_labelled(truncated(encoding, options.max_length, options.truncation), chat, options))
            except EmptyRowError as error:
                if options.empty_rows == "error":
                    raise EmptyRowError(f'{error.message}; empty_rows="drop" leaves such rows out') from None
                logger.warning("%s is left out: %s", row.place, error.message)
                found.append(None)
    return found


def _labelled(encoding: Encoding, chat: Chat, options: SupervisedOptions) -> SupervisedRow:
    mask, weights = _trained(encoding, chat.loss_messages, options)
    mask[:1] = False
    if not mask.any():
        raise EmptyRowError(_why_empty(encoding, chat, options))
    labels = np.where(mask, encoding.input_ids, IGNORED)
    return SupervisedRow(encoding, labels, None if weights is None else np.where(mask, weights, np.float32(0)))


def _trained(
    encoding: Encoding, messages: Collection[int] | None, options: SupervisedOptions
) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
    """Which tokens the loss is on, and with what weights."""
    loss_on = options.loss_on
    if isinstance(loss_on, Mapping):
        weights = encoding.weights(loss_on)
        return (weights > 0) & _of_messages(encoding, messages), weights
    if loss_on == "generation":
        return encoding.mask(what=loss_on) & _of_messages(encoding, messages), None
    return encoding.mask(what=loss_on, messages=messages, end_of_turn=options.end_of_turn), None


def _of_messages(encoding: Encoding, messages: Collection[int] | None) -> NDArray[np.bool_]:
    if messages is None:
        return np.ones(len(encoding), dtype=bool)
    return np.isin(encoding.message_index, list(messages))


def _why_empty(encoding: Encoding, chat: Chat, options: SupervisedOptions) -> str:
    if encoding.truncated:
        count = len(encoding) + encoding.truncated
        return (
            f"nothing that the loss is on is left of its {count} tokens, cut to max_length={options.max_length} "
            f"on the {options.truncation}"
        )
    chosen = range(len(encoding.roles)) if chat.loss_messages is None else chat.loss_messages
    if all(encoding.roles[index] != "assistant" for index in chosen):
        of = "" if chat.loss_messages is None else " among those that the loss is on"
        return f"it has no assistant's message{of}, so there is nothing to train on"
    return f"the loss is nowhere on it (loss_on={options.loss_on!r})"


@contextmanager
def _placed(row: RawRow) -> Iterator[None]:
    """Errors say which row it is."""
    name = row.value.get("trace_id") if isinstance(row.value, Mapping) else None
    place: dict[str, Any] = {
        "row_index": row.index,
        "row_place": row.place,
        "trace_id": None if name is None else str(name),
    }
    try:
        yield
    except ChatspanError as error:
        raise error.at(**place) from error.__cause__
    # What transformers says of tools or a user's own type of message.
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise RowError(f"{type(error).__name__}: {error}", **place) from error


def require_columns(row: RawRow, column: str | None) -> None:
    """The columns are there that a trainer takes away that was not told to leave them."""
    if not isinstance(row.value, Mapping) or column in row.value:
        return
    names = set(map(str, row.value))
    if column is None and (names & {"messages", "conversations", "turns"} or {"prompt", "completion"} <= names):
        return
    wanted = "'messages', 'conversations', 'turns', or 'prompt' and 'completion'" if column is None else repr(column)
    has = ", ".join(map(repr, sorted(names))) or "none"
    hint = "a trainer takes columns away unless it is given remove_unused_columns=False"
    if "input_ids" in names:
        hint += ", and TRL's SFTTrainer tokenizes unless given dataset_kwargs={'skip_prepare_dataset': True}"
    raise row.error(f"it has no column {wanted}; its columns: {has}. {hint[0].upper()}{hint[1:]}")
