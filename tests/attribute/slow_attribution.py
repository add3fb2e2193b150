"""The slow, readable twin of ``_core.attribute_render``: whose each character of a render is, and what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from chatspan.attribute.openings import SYSTEM_ROLES, Opening, shape_of
from chatspan.attribute.scaffold import Part, Scaffold, parts
from chatspan.attribute.segments import Region, Segment
from chatspan.kinds import Kind
from chatspan.render.origins import TOOL_ROLES, root_of
from chatspan.render.rendered import CharRange, Render

_ROOT_KINDS = {
    "content": Kind.CONTENT,
    "reasoning": Kind.REASONING,
    "result": Kind.TOOL_RESULT,
    "tools": Kind.TOOLS,
    "documents": Kind.DOCUMENTS,
}
# The names that reasoning tags have in contents, besides those that the template itself writes.
_TAGS = ("<think>", "</think>")


class Known(NamedTuple):
    """What is known of a template and of a row before its render is cut.

    Attributes:
        markers: what the template writes around the words of assistants' messages.
        controls: the tokens that have a meaning.
        openings: by message.
        stops: by message that results interrupt, where its own part ends, and whether the template ends it there.
        first: what opens a turn behind a user's message.
    """

    markers: Scaffold
    controls: Sequence[str]
    openings: Mapping[int, Opening]
    stops: Mapping[int, tuple[int, bool]]
    first: Opening | None


def attribute_render(render: Render, roles: Sequence[str], known: Known) -> tuple[list[Segment], dict[int, Region]]:
    """The segments of a render, without gaps, and the region of each message that was rendered."""
    reader = _Reader(render, roles, known)
    regions: dict[int, Region] = {}
    segments: list[Segment] = []
    for owner, group in _by_owner(parts(render)):
        if owner < 0:
            segments += reader.outside(group)
            continue
        region, own = reader.message(owner, group)
        segments += own
        before = regions.get(owner)
        if before is None:
            regions[owner] = region
        elif any(reader.is_own(part, owner) for part in group):
            wider = max(before, region, key=lambda each: each.end_char - each.start_char)
            regions[owner] = wider._replace(whole=False)
    return _merged(segments), regions


class _Reader:
    def __init__(self, render: Render, roles: Sequence[str], known: Known) -> None:
        self._text = render.text
        self._prompt_start = render.prompt_start_char if render.prompt_start_char >= 0 else len(render.text)
        self._roles = roles
        self._known = known
        self._markers = known.markers
        self._thoughts: dict[int, list[CharRange]] = {}

    def is_own(self, part: Part, owner: int) -> bool:
        """Whether a part is the text of this message, and not only of one of its calls."""
        return part.origin is not None and part.origin._message_index == owner and self._root(part) != "call"

    def _root(self, part: Part) -> str | None:
        index = part.origin._message_index
        return root_of(part.origin, self._roles[index] if 0 <= index < len(self._roles) else None)

    def outside(self, group: Sequence[Part]) -> list[Segment]:
        """What belongs to no message's part of the render, such as a system text in front of the loop over messages."""
        segments: list[Segment] = []
        for part in group:
            kind = self._kind(part) if part.origin is not None else Kind.SCAFFOLD
            if part.origin is None and part.start >= self._prompt_start:
                kind = Kind.GENERATION_PROMPT
            segments.append(Segment(part.start, part.end, self._message(part, kind), kind))
        holders = {segment.message_index for segment in segments if segment.kind in (Kind.CONTENT, Kind.TOOL_RESULT)}
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
        first = fields[0].start if fields else end
        header_end, found = self._header_end(owner, start, first) if assistant else (None, None)
        kinds = self._kinds(fields)
        interrupted = assistant and Kind.TOOL_RESULT in kinds
        pairs = zip(fields, kinds, strict=True)
        foreign = assistant and any(k is Kind.CONTENT and part.origin._message_index != owner for part, k in pairs)
        stop = None
        if interrupted:
            at = kinds.index(Kind.TOOL_RESULT)
            earliest = fields[at - 1].end if at else first if header_end is None else header_end
            stop = min(max(self._known.stops.get(owner, (earliest, False))[0], earliest), fields[at].start)
        if stop is not None and kinds[-1] is Kind.TOOL_RESULT:
            ending = self._end_before_results(min(header_end or start, stop), stop, owner)
        else:
            last = fields[-1].end if fields else start
            ending = self._ending(owner, fields, max(last, header_end or start), end)
        segments: list[Segment] = []
        before: Kind | None = None
        index = 0
        for part in group:
            if part.origin is None:
                around = (before, kinds[index] if index < len(kinds) else None)
                segments += self._around(part, owner, around, header_end, ending, stop)
                continue
            for segment in self._field(part, kinds[index]):
                before = segment.kind
                segments += _behind(segment, header_end, owner)
            index += 1
        region = Region(start, end, None if foreign else header_end, ending, not foreign, found, interrupted)
        return region, segments

    def _kinds(self, fields: Sequence[Part]) -> list[Kind]:
        """Of each field; beside a result, a call's once more, or another of the result's message, announces it."""
        kinds = [self._kind(part) for part in fields]
        copies = [(part.origin._path, self._text[part.start : part.end]) for part in fields]
        again = [self._root(part) == "call" and copies[at] in copies[:at] for at, part in enumerate(fields)]
        messages = [part.origin._message_index for part in fields]
        foreign = [
            kind is Kind.OTHER_FIELD and self._root(part) != "call" and message != part.owner
            for part, kind, message in zip(fields, kinds, messages, strict=True)
        ]
        changed = True
        while changed:
            changed = False
            for at, kind in enumerate(kinds):
                results = [i for i in (at - 1, at + 1) if 0 <= i < len(kinds) and kinds[i] is Kind.TOOL_RESULT]
                own = foreign[at] and any(messages[i] == messages[at] for i in results)
                if ((again[at] and results) or own) and kind is not Kind.TOOL_RESULT:
                    kinds[at] = Kind.TOOL_RESULT
                    changed = True
        return kinds

    def _end_before_results(self, start: int, end: int, owner: int) -> CharRange | None:
        said = self._text[start:end].rstrip()
        end = start + len(said)
        ends = [token for token in self._known.controls if token and said.endswith(token)]
        if ends:
            longest = max(ends, key=len)
            return None if longest in self._markers.call_ends else (end - len(longest), end)
        stop, is_end = self._known.stops.get(owner, (-1, False))
        return (end, end) if is_end and self._text[end:stop].strip() == "" else None

    def _header_end(self, owner: int, start: int, first: int) -> tuple[int | None, str | None]:
        """Behind what the prompt would have written, and how that was found."""
        if owner in self._known.openings:
            return self._start(start, first, self._known.openings[owner])
        if owner == 0:
            opening = self._known.first
            return (start if opening is None else self._start(start, first, opening)[0]), "no_prompt"
        return None, None

    def _start(self, start: int, first: int, opening: Opening) -> tuple[int, str]:
        if self._text[start:].startswith(opening.whole):
            return start + len(opening.whole), "exact"
        lead = self._text[start:first]
        for whole in opening:
            if whole and whole in lead:
                return start + lead.rindex(whole) + len(whole), "another_opening"
        blanks = len(lead) - len(lead.lstrip())
        for skipped in (0, blanks):
            length = 0
            while opening.whole[length : length + 1] == lead[skipped + length : skipped + length + 1] != "":
                length += 1
            cuts = [
                at
                for token in self._known.controls
                if token
                for at in range(length)
                if opening.whole.startswith(token, at) and at + len(token) > length
            ]
            kept = re.sub(r"[<\[][^<>\[\]\s]*$", "", opening.whole[: min([length, *cuts])])
            behind = lead[skipped + len(kept) :]
            if not behind[:1].isspace() and (behind or first < len(self._text)):
                kept = kept.rstrip(" ")
            if kept:
                return start + skipped + len(kept), "another_opening"
        return start, "another_opening"

    def _ending(self, owner: int, fields: Sequence[Part], start: int, end: int) -> CharRange | None:
        """What ends a message, behind its last field: all of it for one that ends with its content."""
        tail = self._text[start:end]
        bare = tail.rstrip()
        role = self._roles[owner]
        ends_with_content = bool(fields) and self._root(fields[-1]) == "content"
        if ends_with_content and role not in TOOL_ROLES and tail:
            return (start, start + len(bare or tail))
        known = [ending for ending in self._markers.ends if bare.endswith(ending.rstrip() or "\0") or tail == ending]
        if known:
            length = max(len(ending.rstrip() or ending) for ending in known)
            stop = start + len(bare or tail)
            return (stop - length, stop)
        if role == "assistant":
            tokens = [token for token in self._known.controls if token and token not in self._markers.call_ends]
            control = max((token for token in tokens if bare.endswith(token)), key=len, default="")
            if control:
                return (start + len(bare) - len(control), start + len(bare))
        return None

    def _around(
        self,
        part: Part,
        owner: int,
        around: tuple[Kind | None, Kind | None],
        header_end: int | None,
        ending: CharRange | None,
        stop: int | None,
    ) -> list[Segment]:
        """The template's own text in a message: its header, tags and wrappers, its end."""
        start, end = part.start, part.end
        header = min(max(start, header_end if header_end is not None else start), end)
        segments = [(start, header, Kind.SCAFFOLD)]
        blanks = self._text[header:end]
        if stop is not None and stop < end and Kind.TOOL_RESULT in around:
            said = max(stop, header)
            segments += self._said(header, said, owner, around, ending)
            segments.append((said, end, Kind.TOOL_RESULT))
        elif self._roles[owner] == "assistant" and around[1] is Kind.CONTENT and blanks and not blanks.strip(" "):
            segments.append((header, end, Kind.SCAFFOLD))
        else:
            segments += self._said(header, end, owner, around, ending)
        return [Segment(first, last, owner, kind) for first, last, kind in segments if first < last]

    def _said(
        self, header: int, end: int, owner: int, around: tuple[Kind | None, Kind | None], ending: CharRange | None
    ) -> list[tuple[int, int, Kind]]:
        if header >= end:
            return []
        final = min(max(header, ending[0]), end) if ending is not None else end
        if self._roles[owner] == "assistant" and header < final:
            segments = self._wrapper(header, final, *around)
        else:
            segments = [(header, final, Kind.SCAFFOLD)]
        if ending is not None:
            stop = min(max(final, ending[1]), end)
            segments += [(final, stop, Kind.END_OF_TURN), (stop, end, Kind.SCAFFOLD)]
        return segments

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
        if closing and closing in text and before in (None, Kind.SCAFFOLD):
            return [(start, end, Kind.REASONING)]
        return [(start, end, Kind.SCAFFOLD)]

    def _field(self, part: Part, kind: Kind) -> list[Segment]:
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
        root = self._root(part)
        if root == "call":
            return Kind.TOOL_CALL if part.origin._message_index == part.owner else Kind.OTHER_FIELD
        return _ROOT_KINDS.get(root or "", Kind.OTHER_FIELD)

    def _message(self, part: Part, kind: Kind) -> int:
        """Contents, reasoning and results belong to their message wherever they stand; all else to the one rendered."""
        if kind in (Kind.CONTENT, Kind.REASONING, Kind.TOOL_RESULT):
            index: int = part.origin._message_index
            return index
        return part.owner


def _behind(segment: Segment, header_end: int | None, owner: int) -> list[Segment]:
    """A segment of a field; what of it the prompt writes is scaffold."""
    at = min(max(segment.start_char, header_end or 0), segment.end_char)
    cut = [Segment(segment.start_char, at, owner, Kind.SCAFFOLD), segment._replace(start_char=at)]
    return [each for each in cut if each.start_char < each.end_char]


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


def assert_equal_to_slow(attributed: Any) -> None:
    """The core's segments and regions of a render are those of this module."""
    segments, regions = attribute_render(*_known_of(attributed))
    assert list(attributed.segment_list()) == segments
    assert attributed.regions == regions


def _known_of(attributed: Any) -> tuple[Render, Sequence[str], Known]:
    """The render, and what is known before it is cut; each turn that no probe decides by its own prompt."""
    render, roles, conventions, prompts = (
        attributed.render,
        attributed.roles,
        attributed.conventions,
        attributed._prompts,
    )
    owned = {owner for _, owner in render.owners}
    spoken = {
        origin._message_index
        for _, _, origin, _ in render.runs
        if 0 <= origin._message_index < len(roles)
        and roles[origin._message_index] == "assistant"
        and root_of(origin, "assistant") in ("content", "reasoning", "call")
    }
    if not spoken <= owned and -1 in owned:
        render = replace(render, owners=prompts.owners(render), native=None, given_text=render.text)
    shapes = [shape_of(message) for message in render.messages]
    openings: dict[int, Opening] = {}
    first = conventions.opening(("user", "user"))
    for index in range(1, len(roles)):
        if roles[index] != "assistant":
            continue
        last = next((shapes[at] for at in range(index - 1, -1, -1) if roles[at] not in SYSTEM_ROLES), "")
        opening = conventions.opening((shapes[index - 1], last))
        if opening is None or conventions.is_triggered(render.messages):
            openings.update(prompts.openings(render, [index], first))
        else:
            openings[index] = opening
    known = Known(conventions.markers, attributed.control_tokens, openings, {}, first)
    segments, regions = attribute_render(render, roles, known)
    results = {
        index: (min(s.start_char for s in segments if _is_result_in(s, region)), region.end_char)
        for index, region in regions.items()
        if region.interrupted
    }
    stops = prompts.stops(render, results) if results else {}
    return render, roles, known._replace(stops=stops)


def _is_result_in(segment: Segment, region: Region) -> bool:
    return segment.kind is Kind.TOOL_RESULT and region.start_char <= segment.start_char < region.end_char
