"""Rows of a data set → encodings with labels, for supervised fine-tuning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from chatspan.encode.off_prompt import messages_on_prompt
from chatspan.encode.pipeline import EncodingPipeline, Rendered
from chatspan.encode.truncation import truncated
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, EmptyRowError, RowError, one_line
from chatspan.options import near_role
from chatspan.render.request import request_of
from chatspan.rollout.side_arrays import cut_side_arrays, spliced
from chatspan.rows.conversations import Chat
from chatspan.rows.dialects import sharegpt
from chatspan.rows.messages import name_text
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow
from chatspan.rows.steps.columns import names_conversation
from chatspan.supervised.options import SupervisedOptions
from chatspan.supervised.selection import trained_messages, trained_roles, trained_tokens

IGNORED = -100
PartOf = Callable[[Chat], Chat]
Made = TypeVar("Made")
logger = logging.getLogger("chatspan")


@dataclass(frozen=True)
class SupervisedRow:
    """An encoded row.

    Attributes:
        encoding: cut to ``max_length``.
        labels: int64 ``[T]``, -100 where nothing is trained; the first token's is, since nothing in front predicts it.
        weights: float32 ``[T]``, where the loss is weighted.
        chat: what was read of it.
        place: where a person finds it.
        per_token: the side arrays, ``[T, …]`` each.
    """

    encoding: Encoding
    labels: NDArray[np.int64]
    weights: NDArray[np.float32] | None
    chat: Chat
    place: str
    per_token: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def input_ids(self) -> NDArray[np.int64]:
        """int64 ``[T]``."""
        return self.encoding.input_ids

    @property
    def has_sampled(self) -> bool:
        """Whether any of its tokens was sampled."""
        return bool(self.encoding._given)


def supervised_rows(
    pipeline: EncodingPipeline, rows: Sequence[RawRow], options: SupervisedOptions, *, part: PartOf | None = None
) -> list[SupervisedRow | None]:
    """Reads and encodes rows, in one call of the tokenizer; ``None`` for one with nothing to train on that is to be
    left out.

    Args:
        part: what of a row's conversation is encoded; by default all.

    Raises:
        ChatspanError: one of its kinds, with the row's place.
    """
    found: list[SupervisedRow | None] = []
    for outcome in outcomes_of(pipeline, rows, options, part=part):
        if isinstance(outcome, Exception):
            raise outcome
        found.append(outcome)
    return found


def outcomes_of(
    pipeline: EncodingPipeline, rows: Sequence[RawRow], options: SupervisedOptions, *, part: PartOf | None = None
) -> list[SupervisedRow | Exception | None]:
    """As :func:`supervised_rows`; for a row that fails its error, which costs the other rows nothing."""
    reader = RowReader(options, pipeline, per_token=options.per_token)
    chats = [_read(row, reader, part) for row in rows]
    rendered = _rendered(pipeline, rows, chats, options)
    whole = [each for each in rendered if isinstance(each, Rendered)]
    encodings: Iterator[Any]
    try:
        # A processor's tensors are those of the batch.
        encodings = iter(pipeline.encode_rendered(whole, together=len(whole) > 1))
    # Which of them it is shows one by one.
    except Exception:
        encodings = (
            _tried(row, partial(_encoded, pipeline, each))
            for row, each in zip(rows, rendered, strict=True)
            if isinstance(each, Rendered)
        )
    found: list[SupervisedRow | Exception | None] = []
    for row, chat, each in zip(rows, chats, rendered, strict=True):
        encoding = next(encodings) if isinstance(each, Rendered) else each
        if isinstance(encoding, Exception) or isinstance(chat, Exception):
            found.append(encoding)
        else:
            found.append(_tried(row, partial(_labelled, encoding, chat, options, row)))
    return found


def _rendered(
    pipeline: EncodingPipeline, rows: Sequence[RawRow], chats: Sequence[Any], options: SupervisedOptions
) -> list[Rendered | Exception]:
    """The render of each chat, or why there is none."""
    at = [index for index, chat in enumerate(chats) if not isinstance(chat, Exception)]
    found = list(chats)
    while at:
        requests = [request_of(chats[index].messages, **chats[index].template_kwargs) for index in at]
        renders = pipeline.render(requests, special_tokens=options.special_tokens)
        done = 0
        for index in at:
            found[index] = _tried(rows[index], partial(next, renders))
            done += 1
            # A generator that raised has ended: the others are rendered anew.
            if isinstance(found[index], Exception):
                break
        at = at[done:]
    return found


def _encoded(pipeline: EncodingPipeline, rendered: Rendered) -> Encoding:
    return pipeline.encode_rendered([rendered])[0]


def _tried(row: RawRow, make: Callable[[], Any]) -> Any:
    """What is made of a row, or the error, with the row's place."""
    try:
        with placed(row):
            return make()
    except Exception as error:
        return error


def _read(row: RawRow, reader: RowReader, part: PartOf | None) -> Any:
    """The conversation, or the part of it that is encoded; or the error."""
    chat = _tried(row, partial(_chat_of, row, reader))
    if part is None or isinstance(chat, Exception):
        return chat
    try:
        return part(chat)
    except ChatspanError as error:
        return error.at(row_index=row.index, row_place=row.place)


def _chat_of(row: RawRow, reader: RowReader) -> Chat:
    """The row's conversation.

    Raises:
        RowError: there is none, as where a trainer took the columns away; with the row's place.
    """
    try:
        return reader.read(row)
    except RowError as error:
        names = set(map(str, row.value)) if isinstance(row.value, Mapping) else None
        if names is None or names_conversation(names, reader.options.column):
            raise
        hint = "A trainer removes columns unless remove_unused_columns=False is set"
        if "input_ids" in names:
            hint += ", and TRL's SFTTrainer tokenizes unless dataset_kwargs={'skip_prepare_dataset': True} is set"
        raise RowError(f"{error.message}. {hint}", row_index=row.index, row_place=row.place) from None


def _labelled(encoding: Encoding, chat: Chat, options: SupervisedOptions, row: RawRow) -> SupervisedRow | None:
    return kept_or_empty(partial(_row_of, encoding, chat, options, row.place), options, row.place)


def kept_or_empty(make: Callable[[], Made], options: SupervisedOptions, place: str) -> Made | None:
    """What is made of a row; ``None``: nothing of it is trained, and it is to be left out.

    Raises:
        EmptyRowError: nothing of it is trained, with ``empty_rows="error"``.
    """
    try:
        return make()
    except EmptyRowError as error:
        if options.empty_rows == "error":
            raise EmptyRowError(f'{error.message}; use empty_rows="drop" to leave such rows out') from None
        logger.warning("%s is left out: %s", place, error.message)
        return None


def _row_of(encoding: Encoding, chat: Chat, options: SupervisedOptions, place: str) -> SupervisedRow:
    selected = trained_messages(chat, encoding.roles, options.train_on)
    chosen = messages_on_prompt(encoding, selected, options.off_prompt)
    arrays = spliced(chat.side_arrays, encoding._given, len(encoding))
    cut = truncated(encoding, options.max_length, options.truncation)
    first = cut.truncated if options.truncation == "left" else 0
    mask, weights = trained_tokens(cut, chosen, chat.weights, options)
    mask[:1] = False
    if not mask.any():
        raise EmptyRowError(_why_empty(cut, chat, selected, options))
    labels = np.where(mask, cut.input_ids, IGNORED)
    weights = None if weights is None else np.where(mask, weights, np.float32(0))
    return SupervisedRow(cut, labels, weights, chat, place, cut_side_arrays(arrays, first, first + len(cut)))


def _why_empty(encoding: Encoding, chat: Chat, selected: Sequence[int] | None, options: SupervisedOptions) -> str:
    if encoding.truncated:
        count = len(encoding) + encoding.truncated
        return (
            f"nothing in the loss is left of its {count} tokens, cut to max_length={options.max_length} "
            f"on the {options.truncation}"
        )
    wanted = trained_roles(options.train_on)
    possible = range(len(encoding.roles)) if chat.loss_messages is None else chat.loss_messages
    if all(encoding.roles[index] not in wanted for index in possible):
        of = "" if chat.loss_messages is None else " among those in the loss"
        whose = "assistant message" if wanted == {"assistant"} else f"message of {', '.join(sorted(wanted))}"
        return f"it has no {whose}{of}, so there is nothing to train on; its roles: {_roles_seen(encoding)}"
    left = None if selected is None else [index for index in selected if encoding.roles[index] in wanted]
    if left == [] and any(weight == 0 for weight in chat.weights.values()):
        return "the flags of its messages (weight, train, loss, …) leave nothing to train on"
    chosen = possible if selected is None else selected
    if options.off_prompt == "drop_turn" and all(
        index in encoding.off_prompt for index in chosen if encoding.roles[index] == "assistant"
    ):
        return 'no inference prompt leads to any of its turns, and off_prompt="drop_turn" does not train such turns'
    return f"nothing of it is in the loss (loss_on={options.loss_on!r})"


def _roles_seen(encoding: Encoding) -> str:
    """The roles of a row, and what a misspelt one may have meant."""
    seen = list(dict.fromkeys(encoding.roles))
    near = next((found for role in seen if (found := near_role(role)) is not None), None)
    told = ", ".join(map(repr, seen))
    if near is not None:
        return f"{told}: did you mean {near!r}?"
    known = [role for role in seen if sharegpt.role_of(role) not in (role, "call")]
    return f'{told}: format="sharegpt" (--row-format sharegpt) reads {known[0]!r}' if known else told


@contextmanager
def placed(row: RawRow) -> Iterator[None]:
    """Errors say which row it is."""
    place: dict[str, Any] = {"row_index": row.index, "row_place": row.place}
    try:
        # Inside, since the row may be of a class of the caller's own.
        name = row.value.get("trace_id") if isinstance(row.value, Mapping) else None
        place["trace_id"] = None if name is None else name_text(name)
        yield
    except ChatspanError as error:
        raise error.at(**place) from error.__cause__
    # What transformers says of tools or a user's own type of message.
    except (TypeError, ValueError, KeyError, AttributeError, StopIteration, ReferenceError) as error:
        raise RowError(f"{type(error).__name__}: {one_line(error)}", **place) from error
