"""The side arrays of a pair's student: what each of its tokens has beside its id."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from chatspan.distillation.pairs.pair import Pair
from chatspan.errors import RolloutError
from chatspan.rollout.side_arrays import spliced


def student_arrays(pair: Pair, *, mirrored: bool) -> dict[str, NDArray[Any]]:
    """Arrays ``[S, …]`` of the student's tokens that are in the row, zero where nothing was sampled.

    Args:
        mirrored: whether the student has a message for each of the teacher's.

    Raises:
        RolloutError: not one value for each of a message's ``token_ids``; with the place.
    """
    chat, conversation = pair.student, pair.example.student
    if chat.row is not None:
        return {name: array[pair.student_tokens] for name, array in chat.row.per_token.items()}
    given = conversation.side_arrays
    message_map = pair.example.message_map if mirrored and pair.teacher is not None else {}
    tokens = {index: chat.sampled.get(message_map.get(index, index)) for index in given}
    try:
        arrays = spliced(given, {index: at for index, at in tokens.items() if at is not None}, len(chat.input_ids))
    except RolloutError as error:
        raise error.at(**conversation.place(error.message_index)) from None
    return {name: array[pair.student_tokens] for name, array in arrays.items()}
