"""Whether a reading holds: its message, rendered behind the prompt, is the completion."""

from __future__ import annotations

from typing import Literal

from chatspan.rollout.parse.learn.marks import squeezed
from chatspan.rollout.parse.learn.notation import same_data
from chatspan.rollout.parse.read import Reading, TurnReader, fields_of

# Character for character; so far as the completion goes, which a length stopped; but for blanks and how JSON is
# written; not at all.
Held = Literal["exact", "open", "spelling", ""]


def held(reading: Reading, body: str, rendered: str | None, prompt: str, reader: TurnReader) -> Held:
    """How the render of a reading's message is the prompt and the completion.

    Args:
        body: the completion as far as the message goes.
        rendered: the prompt's messages and the message; ``None`` where the template refuses it.
        reader: reads the render as the completion was read.
    """
    if rendered is None or not rendered.startswith(prompt):
        return ""
    turn = rendered[len(prompt) :]
    if turn.startswith(body):
        behind = turn[len(body) :]
        ended = reading.ended and bool(reading.form.end.core)
        return "exact" if ended or not behind.strip() else "open"
    return "spelling" if _respelled(reading, turn, reader) else ""


def _respelled(reading: Reading, turn: str, reader: TurnReader) -> bool:
    """Whether a reading of the render differs from that of the completion in blanks and the writing of JSON alone."""
    dropped = reading.form.dropped
    readings = reader.readings(dropped + turn, loose=False, dropped=dropped)
    return any(_alike(reading, other) for other in readings)


def _alike(one: Reading, other: Reading) -> bool:
    texts = [[(text or "").strip() for text in fields_of(reading)] for reading in (one, other)]
    if texts[0] != texts[1] or len(one.calls) != len(other.calls):
        return False
    # The completion may lack the end of turn, or have another one behind it.
    marks = [squeezed("".join(reading.marks)) for reading in (one, other)]
    if not marks[1].startswith(marks[0]):
        return False
    return all(
        mine.name == theirs.name
        and mine.call_id == theirs.call_id
        and same_data(mine.rest, theirs.rest)
        and mine.arguments.keys() == theirs.arguments.keys()
        and all(_overlap(mine.arguments[key], theirs.arguments[key]) for key in mine.arguments)
        for mine, theirs in zip(one.calls, other.calls, strict=True)
    )


def _overlap(one: list[object], other: list[object]) -> bool:
    """Whether two texts of an argument can be the same value."""
    return any(
        same_data(mine, theirs)
        or (isinstance(mine, str) and isinstance(theirs, str) and mine.strip() == theirs.strip())
        for mine in one
        for theirs in other
    )
