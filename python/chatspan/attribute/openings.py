"""What a generation prompt writes for a message to come, by what stands before: found by rendering conversations.

A turn starts where its prompt ends. Rendering the prompt of each turn would be quadratic; what it writes behind the
last message, the *opening*, depends on the template, on the keywords, and on what stands right before. So it is found
once for each of these. Where several conversations that end alike show several openings, only the row's own prompts
can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from chatspan.render.probes import (
    REASONING,
    RESULT,
    SYSTEM,
    USER,
    Message,
    as_parts,
    assistant,
    calling,
)
from chatspan.render.rendered import Render
from chatspan.render.renderer import ChatRenderer
from chatspan.render.request import RenderRequest

SYSTEM_ROLES = ("system", "developer")
# The shape of the message right before a turn, and of the last one that is no system's.
Context = tuple[str, str]
FIRST: Context = ("user", "user")


class Opening(NamedTuple):
    """What a generation prompt writes for a message to come.

    Attributes:
        whole: from where the template begins that message to the end of the prompt.
        own: what a render without the prompt lacks.
    """

    whole: str
    own: str


def shape_of(message: Mapping[str, Any]) -> str:
    """What an opening behind a message may depend on: its role, and its keys that hold lists or dicts.

    Example:
        >>> shape_of({"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]})
        'assistant+tool_calls'
    """
    holding = sorted(
        str(key)
        for key, value in message.items()
        if key != "content" and isinstance(value, (list, tuple, dict)) and len(value) > 0
    )
    shape = "+".join([str(message.get("role") or ""), *holding])
    # The core's texts have no lone surrogates.
    return shape if shape.isascii() else shape.encode("utf-8", "backslashreplace").decode()


def probe_opening(
    renderer: ChatRenderer,
    like: RenderRequest,
    context: Context,
    examples: Mapping[str, Message],
    now: datetime,
) -> Opening | None:
    """The opening behind what stands before; ``None`` where the probes do not decide it.

    Args:
        like: whose keywords the probes have.
        examples: by shape, messages to make the probes of where there are none of this module.
    """
    for form in (list, as_parts):
        found = {
            opening
            for history in _histories(context, examples)
            if (opening := _opening_behind(renderer, like, form(history), now)) is not None
        }
        if found:
            wholes = {opening.whole if opening else None for opening in found}
            known = [opening for opening in found if isinstance(opening, Opening)]
            return min(known) if len(wholes) == 1 and known else None
    return None


def triggers_of(renderer: ChatRenderer, like: RenderRequest, literals: Sequence[str], now: datetime) -> tuple[str, ...]:
    """The texts that change an opening where they stand in a message, of those that a template looks for."""
    histories = [
        history
        for text in ("", *literals)
        for history in (
            [{**USER, "content": f"Zu {text}".strip()}],
            [{**SYSTEM, "content": f"Zs {text}".strip()}, USER],
        )
    ]
    asked = [
        like._replace(messages=history, add_generation_prompt=prompt)
        for history in histories
        for prompt in (True, False)
    ]
    renders = renderer.try_render(asked, now)
    texts = [None if render is None else render.text for render in renders]
    own = [_own(prompt, plain) for prompt, plain in zip(texts[::2], texts[1::2], strict=True)]
    usual = own[:2]
    pairs = zip(own[2::2], own[3::2], strict=True)
    return tuple(
        literal for literal, (by_user, by_system) in zip(literals, pairs, strict=True) if [by_user, by_system] != usual
    )


def _own(prompt: str | None, plain: str | None) -> str | None:
    """What a render without the prompt lacks; ``None`` where it is no beginning of the one with it."""
    return prompt[len(plain) :] if prompt is not None and plain is not None and prompt.startswith(plain) else None


def _opening_behind(
    renderer: ChatRenderer, like: RenderRequest, history: Sequence[Message], now: datetime
) -> Opening | tuple[()] | None:
    """The opening behind a history; none where the template refuses it, empty where it cannot be told."""
    answered = [*history, assistant("Zc")]
    if isinstance(history[-1].get("content"), list):
        answered = [*history, *as_parts([assistant("Zc")])]
    asked = [
        like._replace(messages=list(history), add_generation_prompt=True),
        like._replace(messages=list(history), add_generation_prompt=False),
        like._replace(messages=answered, add_generation_prompt=False),
    ]
    prompt, plain, row = renderer.try_render(asked, now)
    if prompt is None or row is None:
        return None
    found = opening_between(prompt.text, plain.text if plain is not None else None, row, len(history))
    return () if found is None else found


def opening_between(prompt: str, plain: str | None, row: Render, index: int) -> Opening | None:
    """The opening of message ``index`` of a row, of its prompt; ``None`` where it cannot be told.

    Args:
        plain: the messages before it, rendered without a prompt.
    """
    own = _own(prompt, plain) or ""
    start = next((start for start, owner in row.owners if owner == index), None)
    if start is None and plain is not None and row.text.startswith(plain):
        start = len(plain)
    if start is not None and row.text[:start] == prompt[:start]:
        return Opening(prompt[start:], own)
    return Opening(own, own) if own else None


def _histories(context: Context, examples: Mapping[str, Message]) -> Iterator[list[Message]]:
    """Conversations that end in this way: short, with a system's message, and behind other turns."""
    before, last = context
    is_system = before.partition("+")[0] in SYSTEM_ROLES
    # A message may have the role "", too; behind a system's only, there is no other one.
    tail = [] if is_system and not last else _ending(last, examples)
    if is_system:
        tail = [*tail, _message(before, examples)]
    elif before != last:
        tail = _ending(before, examples)
    if not tail:
        # A role that is no text, of which there is no example.
        return
    yield tail
    # A message has no role where one was met that has none.
    if tail[0].get("role") not in SYSTEM_ROLES:
        yield [SYSTEM, *tail]
    if tail[0].get("role") == "user":
        yield [USER, assistant("Zc"), *tail]
        yield [USER, assistant("Zc", **REASONING), *tail]
        yield [USER, calling(), RESULT, assistant("Zc"), *tail]


def _ending(shape: str, examples: Mapping[str, Message]) -> list[Message]:
    """The shortest conversation that ends with a message of this shape."""
    message = _message(shape, examples)
    if message.get("role") == "assistant":
        return [USER, message]
    if "tool_call_id" in message or message.get("role") == "tool":
        return [USER, calling(), message]
    return [message]


def _message(shape: str, examples: Mapping[str, Message]) -> Message:
    role = shape.partition("+")[0]
    known = {"user": USER, "system": SYSTEM, "tool": RESULT, "assistant": assistant("Zc")}
    if shape == "assistant+tool_calls":
        return calling()
    if shape in known:
        return known[shape]
    return examples.get(shape) or {"role": role, "content": "Zo"}
