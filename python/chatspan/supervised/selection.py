"""Which messages of a row are trained, and with what weights: its own words, the options', and its flags."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from chatspan.encode.first_rows import weights_of_row
from chatspan.encode.message_weights import weights_by_token
from chatspan.encoding import Encoding
from chatspan.errors import RowError
from chatspan.kinds import Kind
from chatspan.rows.conversations import Chat
from chatspan.supervised.options import SupervisedOptions, TrainOn

# What of a message that is no assistant's is trained where its role is selected: all but scaffold.
_OF_OTHERS = (Kind.CONTENT, Kind.REASONING, Kind.TOOL_CALL, Kind.TOOL_RESULT, Kind.END_OF_TURN)


def trained_messages(chat: Chat, roles: Sequence[str], train_on: TrainOn) -> list[int] | None:
    """The messages that may be trained; ``None``: nothing restricts them.

    Raises:
        RowError: the row names a message in ``loss_messages`` that its own flag takes out.
    """
    zero = {index for index, weight in chat.weights.items() if weight == 0}
    if chat.loss_messages is not None and not isinstance(chat.loss_messages, range):
        both = sorted(zero.intersection(chat.loss_messages))
        if both:
            raise RowError(
                f"message {both[0]} is in 'loss_messages', but its own flag excludes it from training: keep one "
                "of the two",
                message_index=both[0],
            )
    if chat.loss_messages is None and not zero and train_on == "all":
        return None
    chosen = [
        index
        for index in (range(len(roles)) if chat.loss_messages is None else chat.loss_messages)
        if train_on in ("all", "last") or roles[index] in train_on
    ]
    if train_on == "last":
        chosen = [index for index in chosen if roles[index] == "assistant"][-1:]
    return [index for index in chosen if index not in zero]


def trained_roles(train_on: TrainOn) -> frozenset[str]:
    """The roles whose messages are trained."""
    return frozenset(("assistant",)) if isinstance(train_on, str) else frozenset(train_on)


def selected_roles(train_on: TrainOn) -> tuple[str, ...]:
    """The roles that the options name, which a run's rows should have."""
    return () if isinstance(train_on, str) else tuple(train_on)


def trained_tokens(
    encoding: Encoding, messages: Collection[int] | None, weights: Mapping[int, float], options: SupervisedOptions
) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
    """Which tokens the loss is on, and with what weights, where there are any.

    Args:
        messages: see :func:`trained_messages`.
        weights: of messages, see :class:`chatspan.rows.conversations.Chat`.

    Raises:
        RowError: a weight that labels cannot carry; with ``message_index``.
    """
    loss_on = options.loss_on
    if isinstance(loss_on, Mapping):
        found = encoding.weights(weights_of_row(loss_on, encoding.roles)) * weights_by_token(encoding, weights)
        return (found > 0) & _of_messages(encoding, messages), found
    mask = _mask(encoding, messages, options)
    if options.loss_weight:
        return mask, np.where(mask, weights_by_token(encoding, weights), np.float32(0))
    part = next((index for index, weight in weights.items() if weight not in (0, 1)), None)
    if part is not None and (messages is None or part in messages):
        raise RowError(
            f"message {part} has the weight {weights[part]:g}, but labels carry only 0 and 1: use "
            "loss_weight=True for weights beside the labels (chatspan encode --loss-weight)",
            message_index=part,
        )
    return mask, None


def _mask(encoding: Encoding, messages: Collection[int] | None, options: SupervisedOptions) -> NDArray[np.bool_]:
    loss_on = options.loss_on
    if loss_on == "generation":
        return encoding.mask(what=loss_on) & _of_messages(encoding, messages)
    assert not isinstance(loss_on, Mapping)
    mask = encoding.mask(what=loss_on, messages=messages, end_of_turn=options.end_of_turn)
    roles = trained_roles(options.train_on)
    if "assistant" not in roles:
        mask[:] = False
    others = [role for role in dict.fromkeys(encoding.roles) if role in roles and role != "assistant"]
    if others:
        mask |= encoding.mask(others, set(_OF_OTHERS) if loss_on == "turn" else loss_on, messages=messages)
    return mask


def _of_messages(encoding: Encoding, messages: Collection[int] | None) -> NDArray[np.bool_]:
    if messages is None:
        return np.ones(len(encoding), dtype=bool)
    return np.isin(encoding.message_index, list(messages))
