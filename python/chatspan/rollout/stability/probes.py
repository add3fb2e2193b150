"""The small conversations of each kind of event, in the forms that templates take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from chatspan.render.probes import (
    ANOTHER_CALL,
    ANOTHER_RESULT,
    CALL,
    NEXT_USER,
    REASONING,
    RESULT,
    SYSTEM,
    USER,
    Message,
    as_parts,
    assistant,
    calling,
)

REASONING_WORD = "Zr"
# Stands for reasoning in the messages of probes, until it is known how the template takes it.
_REASONS = {"reasons": True}


class Tags(NamedTuple):
    """What stands around reasoning."""

    opens: str = "<think>"
    closes: str = "</think>"


class Probe(NamedTuple):
    """An event of a rollout.

    Attributes:
        event: what it is called.
        history: what the model was shown.
        turn: what it said.
        new: what follows.
        calls: whether the model calls tools.
        reasons: whether the turn has reasoning.
        in_parts: whether contents are lists of parts, which templates may write as Python does.
    """

    event: str
    history: Sequence[Message]
    turn: Message
    new: Sequence[Message]
    calls: bool = False
    reasons: bool = False
    in_parts: bool = False


_ANSWER, _REASONED = assistant("Zc"), assistant("Zc", **_REASONS)
_CALLED, _CALLED_REASONING = calling(), calling(**_REASONS)
_BOTH, _ANOTHER = calling(CALL, ANOTHER_CALL), calling(ANOTHER_CALL, **_REASONS)

PROBES = (
    Probe("user turn", [USER], _ANSWER, [NEXT_USER]),
    Probe("user turn after reasoning", [USER], _REASONED, [NEXT_USER], reasons=True),
    Probe("tool result", [USER], _CALLED, [RESULT], calls=True),
    Probe("tool result after reasoning", [USER], _CALLED_REASONING, [RESULT], calls=True, reasons=True),
    Probe("results of parallel calls", [USER], _BOTH, [RESULT, ANOTHER_RESULT], calls=True),
    Probe(
        *("second tool result, reasoning", [USER, _CALLED_REASONING, RESULT], _ANOTHER, [ANOTHER_RESULT]),
        calls=True,
        reasons=True,
    ),
    Probe("tool result and user turn", [USER], _CALLED, [RESULT, NEXT_USER], calls=True),
    Probe("user turn after tools", [USER, _CALLED, RESULT], _ANSWER, [NEXT_USER], calls=True),
    Probe(
        *("user turn after tools, reasoning", [USER, _CALLED_REASONING, RESULT], _REASONED, [NEXT_USER]),
        calls=True,
        reasons=True,
    ),
    Probe("system in the middle", [USER], _ANSWER, [SYSTEM, NEXT_USER]),
)
# What is told of a switch that changes from one turn to the next.
OF_CHANGES = PROBES[:3]

_Form = Callable[[Message], Message]


def forms(probe: Probe, tags: Tags) -> Iterator[Probe]:
    """A probe in the forms that templates take: of reasoning, of arguments, of contents beside calls; in parts last.

    Args:
        tags: what stands around reasoning that is given in a content.
    """
    ways: Sequence[_Form] = _forms_of_reasoning(tags) if probe.reasons else [dict]
    for way in ways:
        for form in _FORMS if probe.calls else _FORMS[:1]:
            yield _formed(probe, way, form)
    for way in ways:
        yield _formed(probe, way, _with_parts)._replace(in_parts=True)


def _formed(probe: Probe, way: _Form, form: _Form) -> Probe:
    """A probe whose messages have their reasoning in one way, and then are in a form."""
    history, new = ([form(way(message)) for message in messages] for messages in (probe.history, probe.new))
    return probe._replace(history=history, turn=form(way(probe.turn)), new=new)


def _forms_of_reasoning(tags: Tags) -> list[_Form]:
    """In fields; in the content, with its tags; in the content of a turn that the prompt opens with a tag."""
    closed = f"{REASONING_WORD}\n{tags.closes}\n\n"

    def in_content(message: Message, begin: str) -> Message:
        return _reasoning(message, content=f"{begin}{closed}{message['content']}")

    return [
        lambda message: _reasoning(message, **REASONING),
        lambda message: in_content(message, f"{tags.opens}\n"),
        lambda message: in_content(message, ""),
    ]


def _reasoning(message: Message, **keys: Any) -> Message:
    if "reasons" not in message:
        return message
    return {**{key: value for key, value in message.items() if key != "reasons"}, **keys}


def _with_text_arguments(message: Message) -> Message:
    if not message.get("tool_calls"):
        return message
    functions = [call["function"] for call in message["tool_calls"]]
    texts = [{**function, "arguments": json.dumps(function["arguments"])} for function in functions]
    calls = zip(message["tool_calls"], texts, strict=True)
    return {**message, "tool_calls": [{**call, "function": function} for call, function in calls]}


def _with_null(message: Message) -> Message:
    return {**message, "content": None} if message.get("tool_calls") and not message["content"] else message


def _with_parts(message: Message) -> Message:
    return as_parts([message])[0]


_FORMS: tuple[_Form, ...] = (dict, _with_text_arguments, _with_null)
