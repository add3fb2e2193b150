"""An encoding, or a student's and a teacher's, as what a person looks at: for each token its text, field and masks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.attribute.turns import EndOfTurn
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError
from chatspan.render.origins import Path
from chatspan.view.media import MediumView, media_views

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SideView:
    """One conversation's tokens.

    Attributes:
        name: ``"conversation"``, ``"student"``, ``"teacher"``.
        encoding: all that is known of each of its ``T`` tokens.
        texts: of each token: its characters of the render, or between ⟨…⟩ the vocabulary's name of one that is only a
            part of a character.
        paths: of each token the field of its first character, ``None`` for what the template writes.
        masks: bool ``[T]`` by name: ``"turn"``, ``"content"``, ``"generation"`` where the template has such tags;
            ``"loss"`` of a student and a teacher.
        refused: the masks that cannot be told, and why.
        hint_messages: the messages of a teacher that hold a hint.
        media: images, videos and audio, in the order of their tokens.
    """

    name: str
    encoding: Encoding
    texts: Sequence[str]
    paths: Sequence[str | None]
    masks: Mapping[str, Mask]
    refused: Mapping[str, str] = field(default_factory=dict)
    hint_messages: Sequence[int] = ()
    media: Sequence[MediumView] = ()


@dataclass(frozen=True)
class View:
    """What is looked at.

    Attributes:
        title: whose row it is.
        sides: one conversation, or a student and a teacher.
        message_map: for messages of the student the teacher's that they are.
        pairs: int64 ``[R, 2]``, the tokens of the student and of the teacher that the loss compares.
        dropped: int64, the student's tokens that would be in the loss and have no counterpart.
    """

    title: str
    sides: Sequence[SideView]
    message_map: Mapping[int, int] = field(default_factory=dict)
    pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    dropped: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def view_of_encoding(
    encoding: Encoding,
    tokenizer: Any,
    title: str,
    *,
    end_of_turn: EndOfTurn = "token",
    loss_messages: Collection[int] | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    processor: Any = None,
) -> View:
    """One conversation.

    Args:
        loss_messages: the messages that may be in the loss; ``None`` for all.
        messages, processor: what was encoded, and by what, for pictures of its media.
    """
    side = side_view(encoding, tokenizer, "conversation", end_of_turn=end_of_turn, loss_messages=loss_messages)
    return View(title, [replace(side, media=media_views(encoding, messages, processor))])


def side_view(
    encoding: Encoding,
    tokenizer: Any,
    name: str,
    *,
    end_of_turn: EndOfTurn = "token",
    loss: Sequence[int] | None = None,
    loss_messages: Collection[int] | None = None,
    hint_messages: Sequence[int] = (),
) -> SideView:
    """One side.

    Args:
        loss: its in-loss tokens, of a student and a teacher.
        loss_messages: of one conversation: the messages that may be in the loss; ``None`` for all.
    """
    masks: dict[str, Mask] = {}
    refused: dict[str, str] = {}
    if loss is not None:
        masks["loss"] = np.isin(np.arange(len(encoding)), np.asarray(loss, dtype=np.int64))
    try:
        masks["turn"] = encoding.mask(messages=loss_messages, end_of_turn=end_of_turn)
    except ChatspanError as error:
        refused["turn"] = str(error)
    masks["content"] = encoding.mask(what="content", messages=loss_messages)
    if encoding.has_generation_tags:
        masks["generation"] = encoding.mask(what="generation")
    return SideView(
        name, encoding, token_texts(encoding, tokenizer), token_paths(encoding), masks, refused, tuple(hint_messages)
    )


def token_texts(encoding: Encoding, tokenizer: Any) -> list[str]:
    """The text of each token, as :class:`SideView` has it.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from chatspan import ChatEncoder
        >>> encoder = ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> token_texts(encoder.encode([{"role": "user", "content": "Hi"}]), encoder.tokenizer)[-4:]
        ['H', 'i', '<|im_end|>', '\\n']
    """
    text, offsets = encoding.text, encoding.offsets.tolist()
    texts = [text[start:end] for start, end in offsets]
    # Tokens that share a character, and those without one.
    parts = [
        i
        for i, (start, end) in enumerate(offsets)
        if start == end or (i and offsets[i - 1][1] > start) or (i + 1 < len(offsets) and offsets[i + 1][0] < end)
    ]
    names = tokenizer.convert_ids_to_tokens([int(encoding.input_ids[i]) for i in parts])
    for i, name in zip(parts, names, strict=True):
        texts[i] = f"⟨{name}⟩"
    return texts


def token_paths(encoding: Encoding) -> list[str | None]:
    """The field of each token's first character, ``None`` for what the template writes."""
    paths: list[str | None] = [None] * len(encoding)
    starts = encoding.offsets[:, 0]
    for span in encoding.spans:
        path = path_text(span.path)
        for token in range(span.start_token, span.end_token):
            if span.start_char <= starts[token] < span.end_char:
                paths[token] = path
    return paths


def path_text(path: Path) -> str:
    """A field's path as one would write it.

    Example:
        >>> path_text(("tool_calls", 0, "function", "name"))
        'tool_calls[0].function.name'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def path_pattern(path: Path) -> str:
    """A field's path without what differs from message to message.

    Example:
        >>> path_pattern(("tool_calls", 1, "function", "arguments", "train"))
        'tool_calls[*].function.arguments'
    """
    text = ""
    for part in path:
        text += "[*]" if isinstance(part, int) else f".{part}" if text else str(part)
        if part == "arguments":
            break
    return text


def left_out(encoding: Encoding) -> dict[str, list[int]]:
    """The fields that the template leaves out, by pattern, and the messages that have them."""
    found: dict[str, list[int]] = {}
    for index, path in encoding.unrendered:
        messages = found.setdefault(path_pattern(path), [])
        if index not in messages:
            messages.append(index)
    return found
