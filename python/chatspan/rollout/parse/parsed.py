"""What a completion says: the message, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

Message = dict[str, Any]


class ParseNote(NamedTuple):
    """Something about a completion that its message does not say.

    Attributes:
        code: the kind of it, a word that does not change: ``"malformed_call"``.
        text: what it is, for a person.
        start_char: where in the completion's text; -1 for the completion as a whole.
    """

    code: str
    text: str
    start_char: int = -1

    def __str__(self) -> str:
        return self.text if self.start_char < 0 else f"character {self.start_char}: {self.text}"


@dataclass(frozen=True)
class ParsedCompletion:
    """The message that a completion is, as the chat template would write it.

    Attributes:
        message: in OpenAI's form, with the keys that the template reads: ``role``, ``content``, the reasoning under
            the template's name for it, and ``tool_calls``. A call has an ``id`` where the template writes one, and its
            ``arguments`` are a dict, or JSON text for a template that takes nothing else.
        reasoning: the reasoning; ``None`` if there is none.
        tool_calls: the calls, with a dict of ``arguments`` whatever the template takes.
        rest: what the completion has behind the message: a stop token that the template does not write, or text
            behind the end of turn. No part of the message.
        certain: whether the template writes the message as this completion, and no other reading is one, too.
        ended: whether the completion has the end of turn, which it lacks where a length stopped it.
        notes: what else was seen, each with a code: ``"malformed_call"``, ``"unclosed_reasoning"``, ``"spelling"``,
            ``"prompt_in_message"``, ``"off_prompt"``, ``"ambiguous"``, ``"not_rendered_back"``.
        others: the messages of other readings that render back, too.
    """

    message: Message
    reasoning: str | None = None
    tool_calls: list[Message] = field(default_factory=list)
    rest: str = ""
    certain: bool = False
    ended: bool = False
    notes: tuple[ParseNote, ...] = ()
    others: tuple[Message, ...] = ()
