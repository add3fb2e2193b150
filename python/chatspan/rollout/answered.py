"""A turn that is given as ids alone, and what follows it: for loops whose messages are not at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.render.request import has_role
from chatspan.rollout.rollout import Rollout

Message = Mapping[str, Any]


def add_turn(
    rollout: Rollout,
    token_ids: Any,
    new_messages: Sequence[Message],
    *,
    call_ids: Sequence[Any] = (),
) -> NDArray[np.int64]:
    """Adds a completion, whose message is read of its ids, and what follows it.

    Args:
        token_ids: with the stop token, where one was sampled; a turn that was cut off is ended by the template.
        call_ids: what the loop calls the turn's calls, in their order, where it is known.

    Returns:
        int64 ``[P]``, the next prompt.

    Raises:
        ChatspanError: as :meth:`chatspan.Rollout.add_completion` and :meth:`chatspan.Rollout.add_messages`.
    """
    message = with_call_ids(rollout.parse(token_ids).message, call_ids or ids_of_results(new_messages))
    rollout.add_completion(token_ids, message=message, finish_reason="length")
    return rollout.add_messages(new_messages)


def ids_of_results(messages: Sequence[Message]) -> list[Any]:
    """The ids of the calls that the first messages are results of."""
    found = []
    for message in messages:
        if not has_role(message, "tool") or message.get("tool_call_id") is None:
            break
        found.append(message["tool_call_id"])
    return found


def with_call_ids(message: dict[str, Any], call_ids: Sequence[Any]) -> dict[str, Any]:
    """The message with ids for its calls, which it lacks where the template does not write them.

    A template that looks up which call a result is of finds it by the ids that the loop gave. They are in the order of
    the calls, one for each; others are none of these.

    Example:
        >>> from chatspan.rollout.answered import with_call_ids
        >>> message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
        >>> with_call_ids(message, ["call_0"])["tool_calls"]
        [{'function': {'name': 'f', 'arguments': {}}, 'id': 'call_0'}]
    """
    calls = message.get("tool_calls") or []
    if not calls or len(calls) != len(call_ids) or any(call.get("id") is not None for call in calls):
        return message
    return {**message, "tool_calls": [{**call, "id": each} for call, each in zip(calls, call_ids, strict=True)]}
