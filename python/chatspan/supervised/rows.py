"""Rows of a data set → encodings with labels, for supervised fine-tuning."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.encode.off_prompt import messages_on_prompt
from chatspan.encode.pipeline import EncodingPipeline, Rendered
from chatspan.encode.truncation import truncated
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, EmptyRowError, RowError
from chatspan.render.request import request_of
from chatspan.rows.conversations import Chat, chat_of
from chatspan.rows.row import RawRow
from chatspan.supervised.options import SupervisedOptions

IGNORED = -100
logger = logging.getLogger("chatspan")


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
    pipeline: EncodingPipeline, rows: Sequence[RawRow], options: SupervisedOptions
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
    requests = [request_of(chat.messages, **chat.template_kwargs) for chat in chats]
    renders = pipeline.render(requests, special_tokens=options.special_tokens)
    rendered: list[Rendered] = []
    for row in rows:
        with _placed(row):
            rendered.append(next(renders))
    found: list[SupervisedRow | None] = []
    for row, chat, encoding in zip(rows, chats, pipeline.encode_rendered(rendered), strict=True):
        with _placed(row):
            try:
                chosen = messages_on_prompt(encoding, chat.loss_messages, options.off_prompt)
                cut = truncated(encoding, options.max_length, options.truncation)
                found.append(_labelled(cut, chat, chosen, options))
            except EmptyRowError as error:
                if options.empty_rows == "error":
                    raise EmptyRowError(f'{error.message}; empty_rows="drop" leaves such rows out') from None
                logger.warning("%s is left out: %s", row.place, error.message)
                found.append(None)
    return found


def _labelled(
    encoding: Encoding, chat: Chat, messages: Collection[int] | None, options: SupervisedOptions
) -> SupervisedRow:
    mask, weights = _trained(encoding, messages, options)
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
    if options.off_prompt == "drop_turn" and all(
        index in encoding.off_prompt for index in chosen if encoding.roles[index] == "assistant"
    ):
        return 'no prompt of inference leads to any of its turns, and off_prompt="drop_turn" does not train such turns'
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
