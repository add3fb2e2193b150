"""Control tokens in the text of fields, as pieces of the render that are tokenized as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from chatspan.attribute.attributed import AttributedRender
from chatspan.errors import ControlTokenError
from chatspan.tokenize.pieces import Piece

SpecialTokens = Literal["as_rendered", "escape", "error"]


def escaped_pieces(attributed: AttributedRender, others: Sequence[Piece], *, error: bool) -> list[Piece]:
    """The control tokens in the text of fields, as pieces of plain text.

    Args:
        others: pieces whose control tokens do not count.
        error: whether the first one is an error.

    Raises:
        ControlTokenError: with ``message_index``.
    """
    taken = [(piece.start_char, piece.end_char) for piece in others]
    pieces = []
    for start, end, message_index in attributed.field_control_tokens:
        if any(first < end and start < last for first, last in taken):
            continue
        if error:
            raise ControlTokenError(
                f"message {message_index}: its text holds the control token {attributed.render.text[start:end]!r} "
                f'(character {start} of the render); special_tokens="escape" encodes it as plain text',
                message_index=message_index,
                start_char=start,
            )
        pieces.append(Piece(start, end))
    return pieces
