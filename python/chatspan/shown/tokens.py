"""Tokens one by one: what :class:`chatspan.Encoding` is to a person who looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from operator import index as as_index
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from chatspan.errors import ChatspanError, OptionError, quoted
from chatspan.kinds import Kind
from chatspan.shown.html import MOST, TokenBox, tokens_html


class Token(NamedTuple):
    """A token of a conversation.

    Attributes:
        token_index: which one.
        text: its characters of the render; where several tokens share one, each has it.
        start_char, end_char: half-open, in the text.
        message_index: -1: of no message.
        role: of that message; ``""`` of none.
        kind: what it is.
    """

    token_index: int
    token_id: int
    text: str
    start_char: int
    end_char: int
    message_index: int
    role: str
    kind: Kind


class ShownTokens:
    """What can be looked at of ``T`` tokens: one by one, as a table, as HTML."""

    input_ids: NDArray[np.int64]
    message_index: NDArray[np.int32]
    kind: NDArray[np.uint8]
    roles: tuple[str, ...]
    truncated: int

    @property
    def text(self) -> str:
        """The text."""
        raise NotImplementedError

    @property
    def offsets(self) -> NDArray[np.int32]:
        """int32 ``[T, 2]``."""
        raise NotImplementedError

    def mask(self) -> NDArray[np.bool_]:
        """bool ``[T]``: what assistants have to produce."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.input_ids)

    def __repr__(self) -> str:
        in_turns = self._in_turns()
        parts = [f"{len(self)} tokens"]
        if in_turns is not None:
            parts.append(f"{int(in_turns.sum())} in turns")
        parts.append(f"{len(self.roles)} message{'' if len(self.roles) == 1 else 's'}")
        if self.truncated:
            parts.append(f"{self.truncated} cut off")
        return f"{type(self).__name__}({', '.join(parts)})"

    @overload
    def __getitem__(self, at: int) -> Token: ...

    @overload
    def __getitem__(self, at: slice) -> list[Token]: ...

    def __getitem__(self, at: Any) -> Token | list[Token]:
        if isinstance(at, slice):
            return [self._token(index) for index in range(*at.indices(len(self)))]
        try:
            found = as_index(at)
        except TypeError:
            raise OptionError(f"a token's index is {quoted(at)}: expected a number or a slice") from None
        if not -len(self) <= found < len(self):
            raise IndexError(f"there are {len(self)} tokens, and none at {found}")
        return self._token(found % len(self))

    def __iter__(self) -> Iterator[Token]:
        return map(self._token, range(len(self)))

    def to_dict(self) -> dict[str, Any]:
        """All that is known of the tokens, as lists that JSON takes: ``input_ids``, ``offset_mapping``,
        ``message_index``, ``role``, ``kind``, ``text``, each of ``T``; with ``in_turn`` where turns can be told.

        Example:
            >>> from transformers import AutoTokenizer
            >>> import chatspan
            >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
            >>> encoding = encoder.encode([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}])
            >>> encoding
            Encoding(13 tokens, 2 in turns, 2 messages)
            >>> encoding[-3].text, encoding[-3].kind.name, encoding.to_dict()["in_turn"][-3]
            ('Yes', 'CONTENT', True)
        """
        tokens = list(self)
        found: dict[str, Any] = {
            "input_ids": self.input_ids.tolist(),
            "offset_mapping": self.offsets.tolist(),
            "message_index": self.message_index.tolist(),
            "role": [token.role for token in tokens],
            "kind": [token.kind.name for token in tokens],
            "text": [token.text for token in tokens],
        }
        in_turns = self._in_turns()
        return found if in_turns is None else {**found, "in_turn": in_turns.tolist()}

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each token and the columns of :meth:`to_dict`; offsets as
        ``start_char`` and ``end_char``.

        Raises:
            OptionError: pandas is not installed.
        """
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError:
            raise OptionError("to_pandas needs pandas: pip install pandas; to_dict has the same as lists") from None
        found = self.to_dict()
        start_char, end_char = self.offsets.T if len(self) else (np.zeros(0, dtype=int), np.zeros(0, dtype=int))
        del found["offset_mapping"]
        return pandas.DataFrame(
            {"token_id": found.pop("input_ids"), **found, "start_char": start_char, "end_char": end_char}
        )

    def to_html(self, mask: NDArray[np.bool_] | None = None) -> str:
        """The tokens by message, coloured by kind, as an HTML fragment: self-contained, for light and dark, no script.

        Args:
            mask: bool ``[T]``, which tokens are marked as in the loss; by default the assistants' turns.

        Raises:
            OptionError: a mask of another length.
        """
        marked = self._in_turns() if mask is None else np.asarray(mask)
        if marked is not None and (marked.shape != self.input_ids.shape or marked.dtype != bool):
            raise OptionError(
                f"mask is {marked.dtype} {list(marked.shape)}: expected booleans [{len(self)}], as mask() returns"
            )
        shown = [
            TokenBox(
                token.text,
                token.kind,
                token.message_index,
                marked is not None and bool(marked[token.token_index]),
                f"token {token.token_index}: id {token.token_id}, {token.kind.name}",
            )
            for token in self[:MOST]
        ]
        name = ("in the loss" if mask is not None else "in turns") if marked is not None else ""
        groups = [f"{role}, message {index}" for index, role in enumerate(self.roles)]
        return tokens_html(repr(self), shown, groups, marked=name, left=max(0, len(self) - MOST))

    def _repr_html_(self) -> str:
        return self.to_html()

    def _token(self, index: int) -> Token:
        start, end = self.offsets[index].tolist()
        message = int(self.message_index[index])
        role = self.roles[message] if message >= 0 else ""
        return Token(
            index,
            int(self.input_ids[index]),
            self.text[start:end],
            start,
            end,
            message,
            role,
            Kind(int(self.kind[index])),
        )

    def _in_turns(self) -> NDArray[np.bool_] | None:
        """The assistants' turns; ``None``: they cannot be told."""
        try:
            return self.mask()
        except ChatspanError:
            return None
