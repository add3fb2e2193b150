"""What a template writes around the words of assistants' messages: ends, the tags of reasoning, the ends of calls.

Found by rendering small conversations with it; no list of models is needed for that. What opens a message is in
:mod:`chatspan.attribute.openings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from chatspan.render.origins import root_key
from chatspan.render.probes import (
    ANOTHER_CALL,
    CALL,
    REASONING,
    RESULT,
    SCHEMA,
    USER,
    Message,
    as_parts,
    assistant,
    calling,
)
from chatspan.render.rendered import Render
from chatspan.render.renderer import ChatRenderer
from chatspan.render.request import RenderRequest

_PROBES: tuple[list[Message], ...] = (
    [USER, assistant("Zc")],
    [USER, assistant("Zc"), USER, assistant("Zd")],
    [USER, assistant("Zc", **REASONING)],
    [USER, calling()],
    [USER, assistant("Zc", tool_calls=[CALL])],
    [USER, assistant("Zc", tool_calls=[CALL], **REASONING)],
    [USER, calling(), RESULT, assistant("Zd"), USER, assistant("Ze")],
    [USER, calling(**REASONING), RESULT, assistant("Zd", **REASONING)],
)
_ONE_CALL, _TWO_CALLS = [USER, calling()], [USER, calling(CALL, ANOTHER_CALL)]


@dataclass
class Scaffold:
    """What a template writes around the words of assistants' messages.

    Attributes:
        ends: what ends a message behind its content, without the blanks behind that.
        open_tag, close_tag: what stands around reasoning, without blanks; empty if the template writes none.
        call_ends: control tokens that close a single call, and so end no turn.
    """

    ends: set[str] = field(default_factory=set)
    open_tag: str = ""
    close_tag: str = ""
    call_ends: set[str] = field(default_factory=set)


class Part(NamedTuple):
    """Rendered characters of one owner and one origin (``None``: the template's own).

    ``root`` is the first key of the origin's path: ``content``, ``tool_calls``, ``tools`` …
    """

    start: int
    end: int
    owner: int
    origin: Any
    origin_start: int
    root: Any


def parts(render: Render) -> list[Part]:
    """The render cut wherever its owner or its origin changes; without gaps."""
    found: list[Part] = []
    owners = [*render.owners, (len(render.text), -1)]
    at = 0
    position = 0

    def put(end: int, origin: Any, origin_start: int) -> None:
        nonlocal at, position
        root = None if origin is None else root_key(origin)
        if root == "role":
            # The name of a role is scaffold, as it is in templates that write it themselves.
            origin = root = None
        while position < end:
            while owners[at + 1][0] <= position:
                at += 1
            stop = min(end, owners[at + 1][0])
            last = found[-1] if found else None
            if origin is None and last is not None and last.origin is None and last.owner == owners[at][1]:
                found[-1] = last._replace(end=stop)
            else:
                found.append(Part(position, stop, owners[at][1], origin, origin_start, root))
            origin_start += stop - position if origin_start >= 0 else 0
            position = stop

    for start, end, origin, origin_start in render.runs:
        put(start, None, -1)
        put(end, origin, origin_start)
    put(len(render.text), None, -1)
    return found


def probe_scaffold(
    renderer: ChatRenderer, chat_template: str, control_tokens: Sequence[str], now: datetime
) -> Scaffold:
    """Renders the probes. Those that the template refuses say nothing."""
    found = Scaffold()
    for messages, render in _renders(renderer, _PROBES, chat_template, now):
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                _learn(found, render, index, message)
    one, two = (next(iter(_renders(renderer, [probe], chat_template, now)), None) for probe in (_ONE_CALL, _TWO_CALLS))
    if one is not None and two is not None:
        texts = [_written(render, 1) for _, render in (one, two)]
        found.call_ends = {
            token for token in control_tokens if token and 0 < texts[0].count(token) < texts[1].count(token)
        }
    return found


def _written(render: Render, index: int) -> str:
    """What the template wrote while it rendered a message."""
    return "".join(render.text[part.start : part.end] for part in parts(render) if part.owner == index)


def _learn(found: Scaffold, render: Render, index: int, message: Mapping[str, Any]) -> None:
    """What one assistant's message of a probe shows."""
    owned = [part for part in parts(render) if part.owner == index]
    fields = [part for part in owned if part.origin is not None]
    if not owned or not fields:
        return
    if fields[-1].root == "content" and not message.get("tool_calls") and fields[-1].origin._message_index == index:
        tail = render.text[fields[-1].end : owned[-1].end]
        if tail:
            found.ends.add(tail.rstrip() or tail)
    reasoning = [part for part in fields if part.root in REASONING and part.origin._message_index == index]
    content = [part for part in fields if part.root == "content"]
    if reasoning and content and reasoning[-1].end <= content[0].start and not message.get("tool_calls"):
        found.close_tag = render.text[reasoning[-1].end : content[0].start].strip()
        before = render.text[owned[0].start : reasoning[0].start].strip()
        tag = re.search(r"[<\[][^<>\[\]]*[>\]]$", before)
        found.open_tag = tag.group() if tag else ""


def _renders(
    renderer: ChatRenderer, probes: Sequence[list[Message]], chat_template: str, now: datetime
) -> Iterator[tuple[list[Message], Render]]:
    """Each probe without and with tools; as parts where the template takes no strings."""
    for form in (list, as_parts):
        asked = [
            (messages, RenderRequest(form(messages), tools=tools, chat_template=chat_template))
            for messages in probes
            for tools in (None, [SCHEMA])
        ]
        renders = renderer.try_render([request for _, request in asked], now)
        found = [(messages, render) for (messages, _), render in zip(asked, renders, strict=True) if render is not None]
        if found:
            yield from found
            return
