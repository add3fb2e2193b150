"""Rows → labels in the core, without an encoding of each: the quick way of ``rows.py``, which is its slow twin.

It knows the labels that most runs ask for. All else, and every row that fails, is left to the twin, which says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chatspan.encode.pipeline import EncodingPipeline, Rendered
from chatspan.render.request import request_of
from chatspan.rows.conversations import Chat
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow
from chatspan.supervised.options import SupervisedOptions
from chatspan.supervised.selection import trained_messages, trained_roles
from chatspan.tokenize.tokens import LabelledTokens


class LabelledBatch(NamedTuple):
    """Rows with their labels, in the core.

    Attributes:
        tokens: their tokens and labels.
        chats: what was read of each.
        roles: the role of each message.
    """

    tokens: LabelledTokens
    chats: Sequence[Chat]
    roles: Sequence[tuple[str, ...]]

    @property
    def trained(self) -> list[int]:
        """The rows of which anything is trained."""
        return [index for index, (_, trained, _) in enumerate(self.tokens.counts) if trained]

    def left(self, rows: Sequence[RawRow]) -> list[RawRow]:
        """The others, of the rows that were given: the twin raises, or says why they are left out."""
        return [row for row, (_, trained, _) in zip(rows, self.tokens.counts, strict=True) if not trained]


def labelled_batch(
    pipeline: EncodingPipeline, rows: Sequence[RawRow], options: SupervisedOptions, *, with_whose: bool = False
) -> LabelledBatch | None:
    """Reads, encodes and labels rows; ``None`` where it takes :func:`chatspan.supervised.rows.outcomes_of`.

    A row of which nothing is trained is in the batch; why nothing is only that one tells.

    Args:
        with_whose: whether it is found of each token whose it is.
    """
    # What reads a row of another kind may run code of the caller's own, which is run once.
    if not (_are_usual(options) and pipeline.is_plain and all(type(row.value) in (dict, bytes) for row in rows)):
        return None
    try:
        return _labelled(pipeline, rows, options, with_whose)
    # The twin raises it again, with the row's place.
    except Exception:
        return None


def _are_usual(options: SupervisedOptions) -> bool:
    """Whether labels are on turns of assistants alone, and are all that is asked for."""
    asked = (options.loss_on, options.special_tokens, options.off_prompt)
    others = options.loss_weight or options.per_token
    return asked == ("turn", "as_rendered", "keep") and not others and trained_roles(options.train_on) == {"assistant"}


def _labelled(
    pipeline: EncodingPipeline, rows: Sequence[RawRow], options: SupervisedOptions, with_whose: bool
) -> LabelledBatch | None:
    reader = RowReader(options, pipeline)
    chats = [reader.read(row) for row in rows]
    rendered = list(pipeline.render([request_of(chat.messages, **chat.template_kwargs) for chat in chats]))
    if not all(map(_is_labelled, chats, rendered)):
        return None
    messages = [_messages(chat, each, options) for chat, each in zip(chats, rendered, strict=True)]
    cut = None if options.truncation == "error" else options.truncation
    found = pipeline.label_batch(
        *(rendered, messages), end_of_turn=options.end_of_turn, max_length=options.max_length, cut=cut, whose=with_whose
    )
    return None if found is None else LabelledBatch(found, chats, [each.attributed.roles for each in rendered])


def _is_labelled(chat: Chat, rendered: Rendered) -> bool:
    """Whether the core knows the labels of a row: it has no weights that only some labels can carry, and is a text of
    the template's alone.
    """
    render = rendered.render
    is_own = render.native is not None and not render.open_end and not rendered.pieces
    return is_own and (not chat.weights or all(weight in (0, 1) for weight in chat.weights.values()))


def _messages(chat: Chat, rendered: Rendered, options: SupervisedOptions) -> list[int]:
    """The messages whose turns are trained."""
    roles = rendered.attributed.roles
    assistants = [index for index, role in enumerate(roles) if role == "assistant"]
    chosen = trained_messages(chat, roles, options.train_on)
    return assistants if chosen is None else sorted(set(chosen).intersection(assistants))
