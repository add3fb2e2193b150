"""What a row is put together from: the prompt, then turns and what stands between them, each with its ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.rollout.growing import GrowingIds
from chatspan.rollout.rewrites import Rewrite
from chatspan.rollout.sampled_row import SampledRow
from chatspan.rollout.side_arrays import laid_out, require_one_shape, side_array
from chatspan.rows.conversations import Chat


@dataclass(frozen=True, eq=False)
class Part:
    """Tokens of a row that were shown, or sampled, in one go.

    Attributes:
        ids: int64 ``[N]``.
        message_index: int32 ``[N]``.
        kind: uint8 ``[N]``, values of :class:`chatspan.Kind`, of what was shown.
        turn: the message whose turn was sampled; ``None``: it was shown.
        arrays: side arrays, ``[N, …]``; or of all tokens up to here.
    """

    ids: NDArray[np.int64]
    message_index: NDArray[np.int32]
    kind: NDArray[np.uint8] | None = None
    turn: int | None = None
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RowInParts:
    """A row as far as it is known: first what was shown, then turns, and what stands between them.

    Attributes:
        ids: of all parts, one behind the other.
        cause: why it could not go on from the row before.
    """

    parts: tuple[Part, ...]
    ids: GrowingIds
    cause: Rewrite | None = None

    @classmethod
    def begun(cls, part: Part, cause: Rewrite | None = None) -> RowInParts:
        """A row of one part."""
        return cls((part,), GrowingIds().extended(part.ids), cause)

    def __add__(self, part: Part) -> RowInParts:
        return RowInParts((*self.parts, part), self.ids.extended(part.ids), self.cause)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_turns(self) -> bool:
        """Whether anything of it was sampled."""
        return any(part.turn is not None for part in self.parts)

    @property
    def without_last(self) -> RowInParts:
        """The row without its last part."""
        return RowInParts(self.parts[:-1], self.ids.first(len(self) - len(self.parts[-1].ids)), self.cause)

    @property
    def prompt_ids(self) -> NDArray[np.int64]:
        """int64 ``[P]``: all up to the end of what was shown last."""
        return self._shown.copy()

    @property
    def last_shown_id(self) -> NDArray[np.int64]:
        """int64 ``[1]``: the last of them; ``[0]`` where nothing was shown."""
        return self._shown.copy(max(len(self._shown) - 1, 0))

    @property
    def _shown(self) -> GrowingIds:
        return self.without_last.ids if self.parts[-1].turn is not None else self.ids

    @property
    def last_turn(self) -> int:
        """The message of the last turn."""
        return max(part.turn for part in self.parts if part.turn is not None)

    def row(self, chat: Chat | None = None) -> SampledRow:
        """The row up to its last turn.

        Args:
            chat: what it was made of.
        """
        last = max(at for at, part in enumerate(self.parts) if part.turn is not None)
        parts = self.parts[: last + 1]
        ends = np.cumsum([len(part.ids) for part in parts]).tolist()
        turns = {
            part.turn: ((end - len(part.ids), end),)
            for part, end in zip(parts, ends, strict=True)
            if part.turn is not None
        }
        mask = [np.full(len(part.ids), part.turn is not None, dtype=np.int64) for part in parts[1:]]
        return SampledRow(
            prompt_ids=parts[0].ids,
            completion_ids=self.ids.copy(len(parts[0].ids), ends[-1]),
            env_mask=np.concatenate(mask),
            message_index=np.concatenate([part.message_index for part in parts]),
            turns=turns,
            per_token=_side_arrays(parts, ends),
            cause=self.cause,
            chat=chat,
        )


def _side_arrays(parts: Sequence[Part], ends: Sequence[int]) -> dict[str, NDArray[Any]]:
    names = dict.fromkeys(name for part in parts for name in part.arrays)
    given = {
        name: [
            (end - len(part.arrays[name]), end, part.arrays[name])
            for part, end in zip(parts, ends, strict=True)
            if name in part.arrays
        ]
        for name in names
    }
    return {name: laid_out(name, each, ends[-1]) for name, each in given.items()}


def turn_arrays(given: Mapping[str, Any], length: int, before: int, index: int) -> dict[str, NDArray[Any]]:
    """The side arrays of a turn that are given.

    Args:
        length: of the turn, in tokens.
        before: how many tokens stand before it.
        index: its message, as the error calls it.

    Raises:
        OptionError: they are not as many as the turn's tokens, or as all up to its end.
    """
    what = f"the {length} token_ids of message {index}, or all {before + length} tokens up to there"
    return {
        name: side_array(name, values, (length, before + length), what)
        for name, values in given.items()
        if values is not None
    }


def joined(begun: Part, length: int, arrays: Mapping[str, NDArray[Any]], index: int) -> dict[str, NDArray[Any]]:
    """Side arrays of a turn that goes on: of both of its completions.

    Args:
        length: of the second one, in tokens.

    Raises:
        OptionError: they have values of other shapes.
    """
    found = dict(arrays)
    for name in {*begun.arrays, *arrays}:
        first, second = begun.arrays.get(name), arrays.get(name)
        if second is None:
            assert first is not None
            second = np.zeros((length, *first.shape[1:]), dtype=first.dtype)
        if first is None:
            first = np.zeros((len(begun.ids), *second.shape[1:]), dtype=second.dtype)
        if len(second) == length:
            require_one_shape(name, [first, second], f"the completion of message {index} that it continues")
            found[name] = np.concatenate([first, second])
    return found
