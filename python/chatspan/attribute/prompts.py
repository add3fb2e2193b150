"""A row's own prompts: what inference would have shown before each of its turns, rendered where nothing less tells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from chatspan.attribute.openings import Opening, opening_between
from chatspan.errors import first_difference
from chatspan.render.origins import Path, holds_results, is_result_type
from chatspan.render.preparation import REASONING_KEYS, plain
from chatspan.render.rendered import CharRange, Render
from chatspan.render.renderer import ChatRenderer
from chatspan.render.request import RenderRequest

Cause = Literal["another_opening", "history_rewritten", "reasoning_dropped", "system_moved", "no_prompt"]
# Characters of the two texts that a report shows.
_SHOWN = 40


class OffPrompt(NamedTuple):
    """A turn whose row does not begin with the prompt that inference would have shown.

    Attributes:
        cause: ``"another_opening"``: the template writes the recorded turn behind another opening than it prompts with;
            ``"reasoning_dropped"``: of earlier turns; ``"system_moved"``: a system's text, tools or documents stand
            elsewhere; ``"history_rewritten"``: another end of a message, or anything else before the turn;
            ``"no_prompt"``: the prompt cannot be rendered, as where an assistant speaks first.
        start_char: where row and prompt begin to differ.
        prompt, row: what each of them has there.
    """

    cause: Cause
    start_char: int
    prompt: str
    row: str


class OwnPrompts:
    """Renders a row's prompts.

    Args:
        request: what the row was rendered from; its messages are those that the render read.
        now: what templates took for now.
    """

    def __init__(self, renderer: ChatRenderer, request: RenderRequest, now: datetime) -> None:
        self._renderer = renderer
        self._request = request
        self._now = now

    def prompts(self, render: Render, indices: Sequence[int]) -> list[Render | None]:
        """The prompts of messages; none where the template refuses."""
        # Asking for a prompt is asking for two renders, of which a template that does not look at it makes the same.
        return self._prefixes(render, indices, prompt=self._looks_at_prompt)

    @property
    def _looks_at_prompt(self) -> bool:
        """Whether the template may write something else where a prompt is asked for."""
        template = self._renderer.template(self._request.tools, self._request.chat_template)
        return "add_generation_prompt" in template.variables

    def openings(self, render: Render, indices: Sequence[int], first: Opening | None) -> dict[int, Opening]:
        """The openings of messages, by their own prompts.

        Args:
            first: what opens a turn behind a user's message, for those whose prompt the template refuses.
        """
        prompts = self.prompts(render, indices)
        plains = self._prefixes(render, indices, prompt=False) if self._looks_at_prompt else prompts
        found = {}
        for index, prompt, before in zip(indices, prompts, plains, strict=True):
            if prompt is not None:
                opening = opening_between(prompt.text, None if before is None else before.text, render, index)
                found[index] = opening or Opening("", "")
            elif first is not None:
                found[index] = first
        return found

    def owners(self, render: Render) -> list[tuple[int, int]]:
        """From which character on which message was rendered, by the renders of the messages before."""
        count = len(render.messages)
        text = render.text if render.prompt_start_char < 0 else render.text[: render.prompt_start_char]
        plains = self._prefixes(render, range(1, count), prompt=False)
        ends: list[int | None] = [0]
        ends += [len(each.text) if each is not None and text.startswith(each.text) else None for each in plains]
        ends.append(len(text))
        owners: list[tuple[int, int]] = []
        for index in range(count):
            start, end = ends[index], ends[index + 1]
            if start is not None and (end is None or start < end):
                owners.append((start, -1 if end is None else index))
        return [*owners, (len(text), -1)] if len(text) < len(render.text) else owners

    def stops(self, render: Render, results: Mapping[int, CharRange]) -> dict[int, tuple[int, bool]]:
        """Where the assistant's own part of a message ends that results interrupt: there a render without them, and
        without what was said behind them, goes another way; and whether the template ends the message there.

        Args:
            results: by message, where its first result begins and where the message's part of the render ends.
        """
        messages = self._messages(render)
        requests = [
            self._request._replace(messages=[*messages[:index], _without_results(render, index, first)])
            for index, (first, _) in results.items()
        ]
        found = {}
        plains = self._renderer.try_render([_for_probing(request) for request in requests], self._now)
        for (index, (_, end)), before in zip(results.items(), plains, strict=True):
            if before is not None:
                at = first_difference(render.text[:end], before.text)
                is_end = at == len(before.text)
                # Two tags may begin alike.
                found[index] = (at if is_end else tag_start(render.text, at), is_end)
        return found

    def off_prompt(self, render: Render, starts: Mapping[int, CharRange], open_tag: str) -> dict[int, OffPrompt]:
        """The turns whose row does not begin with their prompt, and why.

        Args:
            starts: by message, where the template begins it and where its turn starts.
            open_tag: what the template writes in front of reasoning; empty if nothing.
        """
        found = {}
        prompts = zip(starts, self.prompts(render, list(starts)), strict=True)
        off = {index: prompt for index, prompt in prompts if prompt is None or not render.text.startswith(prompt.text)}
        plains = self._prefixes(render, list(off), prompt=False)
        for (index, prompt), before in zip(off.items(), plains, strict=True):
            if prompt is None:
                found[index] = OffPrompt("no_prompt", 0, "", render.text[:_SHOWN])
            else:
                at = first_difference(prompt.text, render.text)
                cause = cause_of(prompt, before, render, at, starts[index], index, open_tag)
                shown = (text[at : at + _SHOWN] for text in (prompt.text, render.text))
                found[index] = OffPrompt(cause, at, *shown)
        return found

    def _messages(self, render: Render) -> list[dict[str, Any]]:
        """The messages that the render read, as they were then."""
        return [plain(message) for message in render.messages]

    def _prefixes(self, render: Render, indices: Sequence[int], *, prompt: bool) -> list[Render | None]:
        messages = self._messages(render)
        requests = [
            _for_probing(self._request)._replace(messages=messages[:index], add_generation_prompt=prompt)
            for index in indices
        ]
        return self._renderer.try_render(requests, self._now)


def tag_start(text: str, char: int) -> int:
    """The beginning of the tag that a place is inside of; the place itself where it is in none.

    Example:
        >>> tag_start("a <think>", 5), tag_start("a <b> c", 6)
        (2, 6)
    """
    start = text.rfind("<", 0, char)
    return char if start < 0 or re.search(r"[>\s]", text[start:char]) else start


def _for_probing(request: RenderRequest) -> RenderRequest:
    return request._replace(add_generation_prompt=False, continue_final_message=False)


def _without_results(render: Render, index: int, result_char: int) -> dict[str, Any]:
    """An assistant's message as far as it was said before results came."""
    said = {}
    for key, value in plain(render.messages[index]).items():
        if key == "content" and isinstance(value, str) and _is_behind(render, index, result_char):
            said[key] = ""
        elif not holds_results(key):
            said[key] = _parts_before_results(value) if key == "content" else value
    return said


def _is_behind(render: Render, index: int, char: int) -> bool:
    """Whether a message's content is written behind a character."""
    starts = [start for start, _, origin, _ in render.runs if _field_of(origin) == (index, ("content",))]
    return bool(starts) and min(starts) >= char


def _field_of(origin: Any) -> tuple[int, Path]:
    return origin._message_index, origin._path


def _parts_before_results(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _parts_before_results(part) for key, part in value.items()}
    if not isinstance(value, list):
        return value
    kept = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and is_result_type(kind):
            break
        kept.append(part)
    return kept


def cause_of(
    prompt: Render, before: Render | None, row: Render, at: int, starts: CharRange, index: int, open_tag: str
) -> Cause:
    """Why a row does not begin with a prompt.

    Args:
        before: the messages of the prompt, rendered without it.
        at: where the two begin to differ.
        starts: where the row begins message ``index``, and where that one's turn starts.
        open_tag: what the template writes in front of reasoning; empty if nothing.
    """
    begin, start = starts
    history = len(before.text) if before is not None and prompt.text.startswith(before.text) else None
    # A template may write its prompt unasked, into the history, too.
    if at >= begin or (history is not None and at >= history):
        return "another_opening"
    shown, written = _fields(prompt, index, len(prompt.text)), _fields(row, index, start)
    if any(message > index for message, _ in written):
        return "system_moved"
    lost = {field for field, length in shown.items() if written.get(field, 0) < length}
    if lost and all(_is_reasoning(field, row) for field in lost):
        return "reasoning_dropped"
    tag = prompt.text.rfind("<", 0, at + 1)
    if not lost and open_tag and tag >= 0 and prompt.text.startswith(open_tag, tag) and at <= tag + len(open_tag):
        # The empty block that the prompt has of an earlier turn without reasoning.
        return "reasoning_dropped"
    if not lost and list(shown) != list(written):
        return "system_moved"
    if lost and all(_is_of_system(field, row) for field in lost):
        return "system_moved"
    if not lost and _places_of_system(prompt, len(prompt.text)) != _places_of_system(row, start):
        return "system_moved"
    return "history_rewritten"


def _fields(render: Render, index: int, end: int) -> dict[tuple[int, Path], int]:
    """The fields in front of a character, in order, and how many characters of each stand there."""
    found: dict[tuple[int, Path], int] = {}
    for start, stop, origin, _ in render.runs:
        field = _field_of(origin)
        if start < end and field[0] != index:
            found[field] = found.get(field, 0) + min(stop, end) - start
    return found


def _is_reasoning(field: tuple[int, Path], row: Render) -> bool:
    message, path = field
    if path and (path[0] in REASONING_KEYS or path[-1] in REASONING_KEYS):
        return True
    # Reasoning in a content is cut off with its tags.
    content = row.messages[message].get("content") if message >= 0 else None
    return path == ("content",) and isinstance(content, str) and "</think>" in str.__str__(content)


def _is_of_system(field: tuple[int, Path], row: Render) -> bool:
    return field[0] < 0 or row.messages[field[0]].get("role") in ("system", "developer")


def _places_of_system(render: Render, end: int) -> list[int]:
    """Behind how many characters of other fields those of the system, of tools and documents stand."""
    places, others = [], 0
    for start, stop, origin, _ in render.runs:
        if start >= end:
            break
        if _is_of_system((origin._message_index, ()), render):
            places.append(others)
        else:
            others += stop - start
    return places
