"""What a template writes around assistants' messages, found by rendering small conversations with it.

The *header* is what the template has always written before an assistant says anything: the longest common beginning
of the assistant messages of every probe, and of every generation prompt. No list of models is needed for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from chatspan._core import TurnScaffold
from chatspan.render.jinja.data import TracedDict, trace
from chatspan.render.jinja.template import ChatTemplate, TemplateRaisedError
from chatspan.render.origins import Root, root_key
from chatspan.render.rendered import Render

_USER = {"role": "user", "content": "Zu"}
_CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "Zf", "arguments": {"Za": "Zx"}}}
_RESULT = {"role": "tool", "name": "Zf", "tool_call_id": "abcdefghi", "content": "Zt"}
_SCHEMA = {
    "type": "function",
    "function": {"name": "Zf", "description": "Zz", "parameters": {"type": "object", "properties": {}}},
}


def _assistant(content: str | None, **keys: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **keys}


_REASONING = {"reasoning_content": "Zr", "thinking": "Zr"}
_PROBES: tuple[list[dict[str, Any]], ...] = (
    [_USER, _assistant("Zc")],
    [_USER, _assistant("Zc"), _USER, _assistant("Zd")],
    [_USER, _assistant("Zc", **_REASONING)],
    [_USER, _assistant("", tool_calls=[_CALL])],
    [_USER, _assistant("Zc", tool_calls=[_CALL])],
    [_USER, _assistant("Zc", tool_calls=[_CALL], **_REASONING)],
    [_USER, _assistant("", tool_calls=[_CALL]), _RESULT, _assistant("Zd"), _USER, _assistant("Ze")],
    [_USER, _assistant("", tool_calls=[_CALL], **_REASONING), _RESULT, _assistant("Zd", **_REASONING)],
)
_PROMPTED = (([_USER], False), ([_USER, _assistant("", tool_calls=[_CALL]), _RESULT], True))
_SWITCHES: tuple[dict[str, bool], ...] = (
    {},
    *({name: value} for name in ("enable_thinking", "thinking") for value in (True, False)),
)


@dataclass
class ProbedScaffold:
    """What a template writes around assistants' messages.

    Attributes:
        header: what opens an assistant's message; ``None`` if no probe could be rendered.
        header_after_tool: what opens it behind a tool's result.
        ends: what ends a message behind its content, without the blanks behind that.
        open_tag, close_tag: what stands around reasoning, without blanks; empty if the template writes none.
        seen: the beginnings that were compared, for error messages.
    """

    header: str | None = None
    header_after_tool: str | None = None
    ends: set[str] = field(default_factory=set)
    open_tag: str = ""
    close_tag: str = ""
    seen: list[str] = field(default_factory=list)

    def with_controls(self, control_tokens: Sequence[str]) -> TurnScaffold:
        """What the core needs to know of a template."""
        ends = sorted(self.ends)
        return TurnScaffold(
            self.header, self.header_after_tool, ends, self.open_tag, self.close_tag, list(control_tokens)
        )


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


def scaffold_of(
    template: ChatTemplate, special_tokens: Mapping[str, Any], control_tokens: tuple[str, ...]
) -> ProbedScaffold:
    """What :func:`probe` finds, once per process for each template and tokenizer."""
    key = (template.source, repr(sorted(special_tokens.items())), control_tokens)
    if key not in _KNOWN:
        _KNOWN[key] = probe(template, special_tokens, control_tokens)
    return _KNOWN[key]


_KNOWN: dict[tuple[str, str, tuple[str, ...]], ProbedScaffold] = {}


def probe(template: ChatTemplate, special_tokens: Mapping[str, Any], control_tokens: Sequence[str]) -> ProbedScaffold:
    """Renders the probes. Those that the template refuses say nothing."""
    found = ProbedScaffold()
    beginnings: dict[bool, list[str]] = {False: [], True: []}
    for messages, render in _renders(template, special_tokens):
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                after_tool = messages[index - 1]["role"] == "tool"
                _learn(found, render, index, message, beginnings[after_tool])
    for after_tool, prompt in _prompts(template, special_tokens):
        beginnings[after_tool].append(prompt)
    found.seen = sorted({text for texts in beginnings.values() for text in texts})
    if beginnings[False]:
        found.header = _snapped(beginnings[False], control_tokens)
    if beginnings[True]:
        found.header_after_tool = _snapped(beginnings[True], control_tokens)
    return found


def _learn(
    found: ProbedScaffold, render: Render, index: int, message: Mapping[str, Any], beginnings: list[str]
) -> None:
    """What one assistant's message of a probe shows."""
    owned = [part for part in parts(render) if part.owner == index]
    fields = [part for part in owned if part.origin is not None]
    if not owned or not fields:
        return
    beginnings.append(render.text[owned[0].start : fields[0].start])
    if fields[-1].root == "content" and not message.get("tool_calls") and fields[-1].origin._message_index == index:
        tail = render.text[fields[-1].end : owned[-1].end]
        if tail:
            found.ends.add(tail.rstrip() or tail)
    reasoning = [part for part in fields if part.root in _REASONING and part.origin._message_index == index]
    content = [part for part in fields if part.root == "content"]
    if reasoning and content and reasoning[-1].end <= content[0].start and not message.get("tool_calls"):
        found.close_tag = render.text[reasoning[-1].end : content[0].start].strip()
        before = render.text[owned[0].start : reasoning[0].start].strip()
        tag = re.search(r"[<\[][^<>\[\]]*[>\]]$", before)
        found.open_tag = tag.group() if tag else ""


def _renders(
    template: ChatTemplate, special_tokens: Mapping[str, Any]
) -> Iterator[tuple[list[dict[str, Any]], Render]]:
    for as_parts in (False, True):
        rendered = False
        for messages in _PROBES:
            for tools in (None, [_SCHEMA]):
                render = _try(template, messages, special_tokens, as_parts, tools=tools)
                if render is not None:
                    rendered = True
                    yield messages, render
        if rendered:
            return


def _prompts(template: ChatTemplate, special_tokens: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """The generation prompts, and whether they follow a tool's result."""
    for messages, after_tool in _PROMPTED:
        for switch in _SWITCHES:
            without = _try(template, messages, special_tokens, False, **switch)
            prompted = _try(template, messages, special_tokens, False, add_generation_prompt=True, **switch)
            if without is None or prompted is None or not prompted.text.startswith(without.text):
                continue
            prompt = prompted.text[len(without.text) :]
            if prompt:
                yield after_tool, prompt


def _try(
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    special_tokens: Mapping[str, Any],
    as_parts: bool,
    **keywords: Any,
) -> Render | None:
    variables = {"tools": None, "documents": None, "add_generation_prompt": False, **special_tokens, **keywords}
    variables["messages"] = [_traced(message, index, as_parts) for index, message in enumerate(messages)]
    try:
        return template.render(variables, datetime.now())
    except TemplateRaisedError:
        return None


def _traced(message: Mapping[str, Any], index: int, as_parts: bool) -> TracedDict:
    message = dict(message)
    if as_parts:
        message["content"] = [{"type": "text", "text": message["content"]}]
    traced: TracedDict = trace(message, Root(index, ()), True)
    return traced


def _snapped(texts: Sequence[str], control_tokens: Iterable[str]) -> str:
    """The common beginning, back to the start of a control token or of a tag that it ends inside of."""
    # What all texts begin with, the first and the last in order begin with.
    first, last = min(texts), max(texts)
    common = first[: next((i for i, letter in enumerate(first) if last[i : i + 1] != letter), len(first))]
    ends = {len(common)}
    for text in texts:
        for token in control_tokens:
            start = text.find(token)
            while 0 <= start < len(common):
                if start + len(token) > len(common):
                    ends.add(start)
                start = text.find(token, start + 1)
    common = common[: min(ends)]
    return re.sub(r"<[^<>\s]*$", "", common)
