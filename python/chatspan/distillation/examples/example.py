"""What one row of a batch is made of: a student's conversation, a teacher's, and what the loss is on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chatspan.distillation.examples.conversation import Conversation


@dataclass(frozen=True)
class Hint:
    """Where a hint stands in the teacher's messages.

    Attributes:
        message_index: of the teacher's message.
        path: the field.
        start_char, end_char: in the field's text, half-open.
        right_before: whether nothing but scaffold may stand between it and its message.
    """

    message_index: int
    path: tuple[str | int, ...]
    start_char: int
    end_char: int
    right_before: bool


@dataclass(frozen=True)
class Example:
    """A student's conversation, a teacher's, and what the loss is on.

    Attributes:
        row_index: the row of the input that it is of.
        student: what the student sees.
        teacher: what the teacher sees; ``None`` where there is no loss.
        message_map: for messages of the student the teacher's that they are.
        loss_messages: of the student.
        hints: by loss message.
        with_loss_on: the example with fewer loss messages, and without the hints of the others.
        message_weights: of loss messages that weigh otherwise than 1 in the loss.
        dropped_sites: how many loss messages it had that it has no more.
    """

    row_index: int
    student: Conversation
    teacher: Conversation | None = None
    message_map: Mapping[int, int] = field(default_factory=dict)
    loss_messages: Sequence[int] = ()
    hints: Mapping[int, Hint] = field(default_factory=dict)
    with_loss_on: Callable[[Sequence[int]], Example] | None = None
    message_weights: Mapping[int, float] = field(default_factory=dict)
    dropped_sites: int = 0
