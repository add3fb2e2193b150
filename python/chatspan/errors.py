"""What chatspan refuses, each with its place.

Every error is a :class:`ChatspanError`, which is a ``ValueError``. Its place is in its message and in attributes,
``None`` where they do not apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Range = tuple[int, int]


def one_line(error: BaseException) -> str:
    """The text of an error without line breaks; ``…`` for one that cannot be written."""
    try:
        return " ".join(str(error).split())
    # What a class of a user's own raises.
    except Exception:
        return "…"


def quoted(value: Any) -> str:
    """A little of a value; ``…`` for one that cannot be written, such as a number of thousands of digits."""
    try:
        text = repr(value)
    # Also what a class of a user's own raises.
    except Exception:
        return "…"
    return text if len(text) <= 60 else text[:60] + "…"


def is_a(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """``isinstance``, also for an object of a caller's own whose ``__class__`` raises, and for a proxy of what is gone:
    they are nothing that chatspan takes.

    Example:
        >>> from chatspan.errors import is_a
        >>> is_a("a text", str), is_a(["a"], (str, bytes))
        (True, False)
    """
    try:
        return isinstance(value, kinds)
    # What a class of a user's own raises.
    except Exception:
        return False


def first_difference(one: Sequence[object], other: Sequence[object]) -> int:
    """Where two sequences begin to differ: how many items they have in common in front.

    Example:
        >>> first_difference("abcd", "abd"), first_difference([1], [1, 2])
        (2, 1)
    """
    if not (isinstance(one, str) and isinstance(other, str)):
        pairs = enumerate(zip(one, other, strict=False))
        return next((index for index, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))
    same, differs = 0, min(len(one), len(other)) + 1
    # Slices of long texts are compared faster than their characters.
    while differs - same > 1:
        middle = (same + differs) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            differs = middle
    return same


def place_of_row(row: int) -> dict[str, Any]:
    """Where an error is, of rows that have no place of their own."""
    return {"row_index": row, "row_place": f"row {row}"}


class ChatspanError(ValueError):
    """Base of all errors that chatspan raises on purpose.

    Attributes:
        conversation_index: the conversation, in the argument of :meth:`chatspan.ChatEncoder.encode_batch`.
        trace_id: the trace, by its ``trace_id`` or ``"row N"``.
        turn_index: the index in the trace's ``turns``.
        message_index: the index in the messages that were rendered; differs from ``turn_index`` behind a hint.
        content_index, token_index, span_index, block_index: the index in the argument of that name.
        row_index: the row of a data set, from 0.
        row_place: where a person finds that row: ``"data.jsonl:17"``.
        start_char: where in that text.
        candidates: the character ranges that came into question.

    Example:
        >>> error = ChatspanError("the content is blank").at(trace_id="t1", turn_index=3)
        >>> print(error)
        trace 't1', turn 3: the content is blank
    """

    def __init__(
        self,
        message: str,
        *,
        conversation_index: int | None = None,
        trace_id: str | None = None,
        turn_index: int | None = None,
        message_index: int | None = None,
        content_index: int | None = None,
        token_index: int | None = None,
        span_index: int | None = None,
        block_index: int | None = None,
        row_index: int | None = None,
        row_place: str | None = None,
        start_char: int | None = None,
        candidates: list[Range] | None = None,
    ) -> None:
        super().__init__(message)
        self.conversation_index = conversation_index
        self.trace_id = trace_id
        self.turn_index = turn_index
        self.message_index = message_index
        self.content_index = content_index
        self.token_index = token_index
        self.span_index = span_index
        self.block_index = block_index
        self.row_index = row_index
        self.row_place = row_place
        self.start_char = start_char
        self.candidates = candidates

    def at(self, **place: Any) -> ChatspanError:
        """Adds what is known of the place further out; what is already known stays. Returns itself."""
        for name, value in place.items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        return self

    @property
    def message(self) -> str:
        """What is wrong, without the place that :meth:`at` added."""
        return str(self.args[0])

    def __str__(self) -> str:
        place = [] if self.row_place is None else [self.row_place]
        if self.conversation_index is not None:
            place.append(f"conversation {self.conversation_index}")
        if self.trace_id is not None:
            place.append(f"trace {self.trace_id!r}")
        if self.turn_index is not None:
            place.append(f"turn {self.turn_index}")
        return f"{', '.join(place)}: {self.message}" if place else self.message


class InternalError(ChatspanError):
    """A fault in chatspan itself: its core stopped where it never should. Report it, please."""


class OptionError(ChatspanError):
    """An argument or a config field that does not exist or cannot be."""


class TextError(ChatspanError):
    """A string that is not valid Unicode text: it has a lone surrogate."""


class OffsetsError(ChatspanError):
    """``offsets`` that no tokenizer could have meant: unsorted, backwards, past the text, wrong shape or dtype."""


class SpanError(ChatspanError):
    """``spans`` that cannot be: backwards, past the text, wrong shape or dtype."""


class StraddleError(ChatspanError):
    """A token with characters on both sides of a span's edge."""


class ContentError(ChatspanError):
    """A content that has no certain place in the render."""


class ContentNotFoundError(ContentError):
    """A content whose text is not where it would have to be."""


class AmbiguousContentError(ContentError):
    """A content that could stand in more than one place."""


class PrefixUnstableError(ChatspanError):
    """A template whose render of ``messages[:k]`` is no prefix of its render of all, so lengths say nothing."""


class TraceError(ChatspanError):
    """A trace, a turn or a dpo pair of the wrong form."""


class BackendError(ChatspanError):
    """``backend="native"`` for a tokenizer that cannot be made natively, or not so that it equals the original."""


class BackendMismatchError(BackendError):
    """The native tokenizer gives other ids or other offsets than the original."""


class TokenizerError(ChatspanError):
    """A tokenizer that cannot do what is needed: no chat template, no pad or eos token."""


class TemplateError(ChatspanError):
    """The chat template raised."""


class RenderMismatchError(ChatspanError):
    """A render that is not the one that the tokenizer's own ``apply_chat_template`` gives."""


class MessageError(ChatspanError):
    """Messages of the wrong form."""


class TurnBoundaryError(ChatspanError):
    """A turn whose header or whose end cannot be told."""


class OffPromptError(ChatspanError):
    """A turn that no inference prompt leads to, which was to be an error."""


class ControlTokenError(ChatspanError):
    """A control token that has characters of the caller's data.

    Attributes:
        path: the field from which the first of these comes: ``("content",)``, ``("tools", 0, "function", "name")``.
        start_char, end_char: the characters of the render that the token stands for.
        received: these characters; a normalizer may make the token of other ones than its own.
    """

    path: tuple[str | int, ...] | None = None
    end_char: int | None = None
    received: str | None = None


class ExpansionError(ChatspanError):
    """What a processor makes of media cannot be told from the text around them, or the processor raises."""


class RolloutError(ChatspanError):
    """Sampled token ids that are not those of their turn or of the tokenizer, or with which a rollout cannot go on.

    Attributes:
        kind: what happened, in one word: ``"reasoning_dropped"``, ``"another_opening"``, ``"stop_token"`` …
        start_char: where what was shown and what the template writes begin to differ.
        shown, written: what was shown or sampled from there on, and what the template writes; a little of each.
    """

    kind: str | None = None
    shown: str | None = None
    written: str | None = None


class PromptMismatchError(RolloutError):
    """A prompt that was sampled from, and is not the one that the template writes for the messages before it."""


class HistoryRewrittenError(RolloutError):
    """A template that changes what was shown before, so that the next prompt does not begin with it."""


class OpeningRewrittenError(HistoryRewrittenError):
    """A template that opens a turn otherwise in the history than in the prompt."""


class ReasoningDroppedError(HistoryRewrittenError):
    """A template that drops the reasoning of earlier turns."""


class TurnMismatchError(RolloutError):
    """A message that says something else than the tokens that were sampled for it."""


class StopTokenError(RolloutError):
    """A turn that was ended by another token than the one with which the template ends or goes on from it."""


class UnrenderedMessageError(RolloutError):
    """A new message that the template drops, or writes in front of what was shown."""


class TruncationError(ChatspanError):
    """A conversation that is longer than ``max_length``, which was to be an error."""


class HintError(ChatspanError):
    """A hint generator that raised or returned no string, or a hint that has no place to go."""


class HintPlacementError(HintError):
    """A hint that the template does not put right before its turn."""


class AlignmentError(ChatspanError):
    """A student and a teacher whose in-loss tokens cannot stand in the same columns."""


class EmptyBatchError(ChatspanError):
    """No row of a batch is left."""


class EmptyRowError(ChatspanError):
    """A row with nothing to train on."""


class LayoutError(ChatspanError):
    """A layout that cannot be made of this row."""


class LossError(ChatspanError):
    """Logits and a batch that do not fit together."""


class SourceError(ChatspanError):
    """A data set that is not there, cannot be read, or has no rows."""


class RowError(ChatspanError):
    """A row of a data set that is no conversation."""


class WorkerError(ChatspanError):
    """A worker process that ended by itself."""


class OutputError(ChatspanError):
    """A place to write to that holds something else."""


class EngineError(ChatspanError):
    """An engine that cannot work: its library is not installed, or it cannot be reached."""
