"""The slow, readable twin of ``_core.attribute_render``: whose each character of a render is, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatspan.attribute.headers import Part, ProbedScaffold, parts, scaffold_of
from chatspan.attribute.segments import Region, Segment
from chatspan.kinds import Kind
from chatspan.render.preparation import REASONING_KEYS
from chatspan.render.rendered import CharRange, Render

_ROOT_KINDS = {"content": Kind.CONTENT, "tools": Kind.TOOLS, "documents": Kind.DOCUMENTS}
_ROOT_KINDS |= dict.fromkeys(REASONING_KEYS, Kind.REASONING)
_CALLS = ("tool_calls", "function_call")
# The names that reasoning tags have in contents, besides those that the template itself writes.
_TAGS = ("<think>", "</think>")
TOOL_ROLES = ("tool", "function", "ipython", "observation", "tool_response")


def attribute_render(
    render: Render, roles: Sequence[str], scaffold: ProbedScaffold, control_tokens: Sequence[str]
) -> tuple[list[Segment], dict[int, Region]]:
    """The segments of a render, without gaps, and the region of each message that was rendered."""
    reader = _Reader(render, roles, scaffold, control_tokens)
    regions: dict[int, Region] = {}
    segments: list[Segment] = []
    for owner, group in _by_owner(parts(render)):
        if owner < 0:
            segments += reader.outside(group)
            continue
        region, own = reader.message(owner, group)
        segments += own
        known = regions.get(owner)
        if known is not None:
            wider = max(known, region, key=lambda each: each.end_char - each.start_char)
            region = Region(wider.start_char, wider.end_char, wider.header_end_char, wider.end_of_turn, False)
        regions[owner] = region
    return _merged(segments), regions


class _Reader:
    def __init__(
        self, render: Render, roles: Sequence[str], scaffold: ProbedScaffold, control_tokens: Sequence[str]
    ) -> None:
        self._text = render.text
        self._prompt_start = render.prompt_start_char if render.prompt_start_char >= 0 else len(render.text)
        self._roles = roles
        self._markers = scaffold
        self._controls = control_tokens
        self._thoughts: dict[int, list[CharRange]] = {}

    def outside(self, group: Sequence[Part]) -> list[Segment]:
        """What belongs to no message's part of the render, such as a system text in front of the loop over messages."""
        segments: list[Segment] = []
        for part in group:
            kind = self._kind(part) if part.origin is not None else Kind.SCAFFOLD
            if part.origin is None and part.start >= self._prompt_start:
                kind = Kind.GENERATION_PROMPT
            segments.append(Segment(part.start, part.end, self._message(part, kind), kind))
        holders = {segment.message_index for segment in segments if segment.kind is Kind.CONTENT}
        last = segments[-1]
        bare = self._text[last.start_char : last.end_char].rstrip()
        ends = [len(end.rstrip()) for end in self._markers.ends if end.strip() and bare.endswith(end.rstrip())]
        if len(holders) == 1 and last.kind is Kind.SCAFFOLD and ends:
            stop = last.start_char + len(bare)
            start = stop - max(ends)
            segments[-1:] = [
                Segment(last.start_char, start, -1, Kind.SCAFFOLD),
                Segment(start, stop, holders.pop(), Kind.END_OF_TURN),
                Segment(stop, last.end_char, -1, Kind.SCAFFOLD),
            ]
        return [segment for segment in segments if segment.start_char < segment.end_char]

    def message(self, owner: int, group: Sequence[Part]) -> tuple[Region, list[Segment]]:
        start, end = group[0].start, group[-1].end
        fields = [part for part in group if part.origin is not None]
        assistant = self._roles[owner] == "assistant"
        first, last = (fields[0].start, fields[-1].end) if fields else (end, start)
        header_end = self._header_end(owner, start, first) if assistant else None
        after = [self._kind(part) for part in fields]
        # Gemma 4 writes tools' results into the message that called them: its end cannot be told from theirs.
        pairs = zip(fields, after, strict=True)
        foreign = assistant and any(k is Kind.CONTENT and part.origin._message_index != owner for part, k in pairs)
        ending = None
        if not foreign:
            ending = self._ending(owner, fields, max(last, header_end or start), end)
        segments: list[Segment] = []
        before: Kind | None = None
        index = 0
        for part in group:
            if part.origin is None:
                segments += self._scaffold(
                    part, owner, before, after[index] if index < len(after) else None, header_end, ending
                )
                continue
            for segment in self._field(part, owner):
                segments.append(segment)
                before = segment.kind
            index += 1
        return Region(start, end, header_end, ending, True), segments

    def _header_end(self, owner: int, start: int, first: int) -> int | None:
        """Behind the header of an assistant's message, which stands before its first field."""
        scaffold, beginning = self._markers, self._text[start:first]
        if scaffold.header:
            at = beginning.rfind(scaffold.header)
            if at >= 0:
                return start + at + len(scaffold.header)
        after_tool = owner > 0 and self._roles[owner - 1] in TOOL_ROLES
        if after_tool and scaffold.header_after_tool and beginning.startswith(scaffold.header_after_tool):
            return start + len(scaffold.header_after_tool)
        return start if scaffold.header == "" or (after_tool and scaffold.header is not None) else None

    def _ending(self, owner: int, fields: Sequence[Part], start: int, end: int) -> CharRange | None:
        """What ends a message, behind its last field: all of it for one that ends with its content."""
        tail = self._text[start:end]
        bare = tail.rstrip()
        role = self._roles[owner]
        ends_with_content = bool(fields) and fields[-1].root == "content"
        if ends_with_content and role not in TOOL_ROLES and tail:
            return (start, start + len(bare or tail))
        known = [ending for ending in self._markers.ends if bare.endswith(ending.rstrip() or "\0") or tail == ending]
        if known:
            length = max(len(ending.rstrip() or ending) for ending in known)
            stop = start + len(bare or tail)
            return (stop - length, stop)
        if role == "assistant":
            control = max((token for token in self._controls if token and bare.endswith(token)), key=len, default="")
            if control:
                return (start + len(bare) - len(control), start + len(bare))
        return None

    def _scaffold(
        self,
        part: Part,
        owner: int,
        before: Kind | None,
        after: Kind | None,
        header_end: int | None,
        ending: CharRange | None,
    ) -> list[Segment]:
        """The template's own text in a message: its header, tags and wrappers, its end."""
        start, end = part.start, part.end
        header = min(max(start, header_end if header_end is not None else start), end)
        segments = [(start, header, Kind.SCAFFOLD)] if header > start else []
        final = min(max(header, ending[0]), end) if ending is not None else end
        if self._roles[owner] == "assistant" and header < final:
            segments += self._wrapper(header, final, before, after)
        elif header < final:
            segments.append((header, final, Kind.SCAFFOLD))
        if ending is not None and final < end:
            stop = min(max(final, ending[1]), end)
            segments.append((final, stop, Kind.END_OF_TURN))
            segments.append((stop, end, Kind.SCAFFOLD))
        return [Segment(first, last, owner, kind) for first, last, kind in segments if first < last]

    def _wrapper(self, start: int, end: int, before: Kind | None, after: Kind | None) -> list[tuple[int, int, Kind]]:
        """Between two fields of an assistant: the tags of its reasoning, the wrappers of its calls."""
        text = self._text[start:end]
        opening, closing = self._markers.open_tag, self._markers.close_tag
        if before is Kind.REASONING and after is Kind.TOOL_CALL:
            at = text.find(closing) if closing else -1
            cut = start + at + len(closing) if at >= 0 else start
            return [(start, cut, Kind.REASONING), (cut, end, Kind.TOOL_CALL)]
        if before is None and after is Kind.TOOL_CALL and opening and closing and opening in text and closing in text:
            cut = start + text.rindex(closing) + len(closing)
            return [(start, cut, Kind.REASONING), (cut, end, Kind.TOOL_CALL)]
        if Kind.TOOL_CALL in (before, after):
            return [(start, end, Kind.TOOL_CALL)]
        if Kind.REASONING in (before, after):
            return [(start, end, Kind.REASONING)]
        # A template may write the tags around no reasoning.
        if closing and closing in text and not before:
            return [(start, end, Kind.REASONING)]
        return [(start, end, Kind.SCAFFOLD)]

    def _field(self, part: Part, owner: int) -> list[Segment]:
        kind = self._kind(part)
        message_index = self._message(part, kind)
        if kind is not Kind.CONTENT or part.origin_start < 0 or self._roles[message_index] != "assistant":
            return [Segment(part.start, part.end, message_index, kind)]
        shift = part.start - part.origin_start
        segments = []
        at = part.start
        for first, last in self._reasoning_in(part.origin):
            first, last = max(at, first + shift), min(part.end, last + shift)
            if first < last:
                segments += [(at, first, Kind.CONTENT), (first, last, Kind.REASONING)]
                at = last
        segments.append((at, part.end, Kind.CONTENT))
        return [Segment(first, last, message_index, kind) for first, last, kind in segments if first < last]

    def _reasoning_in(self, content: Any) -> list[CharRange]:
        """Where a content holds reasoning: tags and all, at its beginning."""
        found = self._thoughts.get(id(content))
        if found is None:
            text = str.__str__(content) if isinstance(content, str) else ""
            own = (self._markers.open_tag, self._markers.close_tag)
            found = []
            for opening, closing in [own, _TAGS] if own != ("", _TAGS[1]) else [_TAGS]:
                if not closing or closing not in text or found:
                    continue
                end = text.index(closing) + len(closing)
                start = text.find(opening) if opening else 0
                if start < 0 or (start < end and not text[:start].strip()):
                    found = [(max(start, 0), end)]
            self._thoughts[id(content)] = found
        return found

    def _kind(self, part: Part) -> Kind:
        root = part.root
        if root in _CALLS:
            return Kind.TOOL_CALL if part.origin._message_index == part.owner else Kind.OTHER_FIELD
        if root == "content" and part.origin._path[-1] in REASONING_KEYS:
            return Kind.REASONING
        return _ROOT_KINDS.get(root, Kind.OTHER_FIELD)

    def _message(self, part: Part, kind: Kind) -> int:
        """Contents and reasoning belong to their message wherever they stand; all else to the one being rendered."""
        if kind in (Kind.CONTENT, Kind.REASONING):
            index: int = part.origin._message_index
            return index
        return part.owner


def _by_owner(found: Sequence[Part]) -> list[tuple[int, list[Part]]]:
    groups: list[tuple[int, list[Part]]] = []
    for part in found:
        if groups and groups[-1][0] == part.owner:
            groups[-1][1].append(part)
        else:
            groups.append((part.owner, [part]))
    return groups


def _merged(segments: Sequence[Segment]) -> list[Segment]:
    merged: list[Segment] = []
    for segment in segments:
        last = merged[-1] if merged else None
        if last is not None and (last.message_index, last.kind) == (segment.message_index, segment.kind):
            merged[-1] = Segment(last.start_char, segment.end_char, last.message_index, last.kind)
        else:
            merged.append(segment)
    return merged


def assert_equal_to_slow(encoder: Any, attributed: Any, tools: Any) -> None:
    """The core's segments and regions of a render are those of this module."""
    template = encoder._pipeline.template(tools)
    controls = attributed.control_tokens
    scaffold = scaffold_of(template, encoder.tokenizer.special_tokens_map, controls)
    segments, regions = attribute_render(attributed.render, attributed.roles, scaffold, controls)
    assert list(attributed.segment_list()) == segments
    assert attributed.regions == regions
