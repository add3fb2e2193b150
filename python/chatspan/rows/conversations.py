"""A conversation of a row, as every entry point gets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chatspan.rows.media_types import COLUMNS, PART_TYPES
from chatspan.rows.messages import Message
from chatspan.rows.notes import Note
from chatspan.rows.steps.plain import is_empty

Form = Literal["messages", "trace", "pair"]


@dataclass(frozen=True)
class Chat:
    """A conversation of a row: plain Python data, in the shape that ``apply_chat_template`` takes.

    Attributes:
        messages: of a trace or a pair the student's. All indices are of these.
        tools, documents: for the chat template; ``None`` where there are none.
        keywords: further arguments of the template: the row's ``chat_template_kwargs``.
        weights: of the messages that the row flags: 0 is never trained, 1 is as any other.
        loss_messages: the indices of the messages that may be in a loss: those of a ``completion``, or of the row's own
            ``loss_messages``; ``None`` for all.
        teacher_messages: of a pair.
        teacher_loss_messages: the row's own, in the indices of ``teacher_messages``.
        tool_errors: of a trace, by message: its ``tool_error`` and ``error_meta``.
        failed_results: the messages of tools that say themselves that they failed (``is_error``).
        form: ``"trace"`` for a row of :class:`chatspan.ComposerDataCollator`, ``"pair"`` for one of
            :class:`chatspan.SelfDistillationCollator`.
        trace_id: the row's own name.
        notes: what was changed, and where.
        row: the row's columns.
        side_arrays: by message, what it has for each of its ``token_ids``, by name; as it was given.
    """

    messages: Sequence[Message]
    tools: Sequence[Any] | None = None
    documents: Sequence[Any] | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[int, float] = field(default_factory=dict)
    loss_messages: Sequence[int] | None = None
    teacher_messages: Sequence[Message] | None = None
    teacher_loss_messages: Sequence[int] | None = None
    tool_errors: Mapping[int, tuple[Any, Any]] = field(default_factory=dict)
    failed_results: frozenset[int] = frozenset()
    form: Form = "messages"
    trace_id: str | None = None
    notes: Sequence[Note] = ()
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)
    side_arrays: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def template_kwargs(self) -> dict[str, Any]:
        """All arguments of :meth:`chatspan.ChatEncoder.encode`: the keywords, ``tools`` and ``documents``."""
        found = dict(self.keywords)
        if self.tools:
            found["tools"] = self.tools
        if self.documents:
            found["documents"] = self.documents
        return found

    def as_row(self) -> dict[str, Any]:
        """The conversation as a row in OpenAI's shape, to be written or read again; what is said of a message (its
        weight, its ``tool_error``) is its own key.

        Example:
            >>> import chatspan
            >>> chat = chatspan.read_row({"prompt": "2 + 2?", "completion": "4"})
            >>> chat.as_row()["loss_messages"]
            [1]
        """
        messages = [{**message, **self._said_of(index)} for index, message in enumerate(self.messages)]
        row: dict[str, Any] = {"messages": messages}
        if self.teacher_messages is not None:
            row["teacher_messages"] = [dict(message) for message in self.teacher_messages]
        optional = {
            "tools": self.tools,
            "documents": self.documents,
            "chat_template_kwargs": self.keywords or None,
            "loss_messages": self._named_messages(),
            "teacher_loss_messages": self.teacher_loss_messages,
            "trace_id": self.trace_id,
        }
        return row | {key: value for key, value in optional.items() if value is not None} | self._unread_media()

    def _named_messages(self) -> list[int] | None:
        """The messages that may be in a loss, as a row names them: a message of a completion that its own flag takes
        out is not named, since a row that names it says two things.
        """
        if not isinstance(self.loss_messages, range):
            return None if self.loss_messages is None else list(self.loss_messages)
        return [index for index in self.loss_messages if self.weights.get(index) != 0]

    def _unread_media(self) -> dict[str, Any]:
        """The columns of images and the like that are in no message, as they are."""
        contents = [message.get("content") for message in self.messages]
        if any(
            isinstance(part, dict) and part.get("type") in PART_TYPES
            for each in contents
            if isinstance(each, list)
            for part in each
        ):
            return {}
        return {name: self.row[name] for name in COLUMNS if not is_empty(self.row.get(name))}

    def _said_of(self, index: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if index in self.weights:
            weight = self.weights[index]
            found["weight"] = int(weight) if weight.is_integer() else weight
        if index in self.tool_errors:
            found["tool_error"], meta = self.tool_errors[index]
            found |= {} if meta is None else {"error_meta": meta}
        if index in self.failed_results:
            found["is_error"] = True
        return {**found, **self.side_arrays.get(index, {})}
