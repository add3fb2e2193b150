"""The proof that a processor's text is the render with each placeholder replaced, and where the expansions stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from chatspan.attribute.attributed import AttributedRender
from chatspan.errors import ExpansionError, first_difference
from chatspan.media.placeholders import Placeholder, with_wrappers
from chatspan.media.placement import between, placements, rebuilt
from chatspan.media.recording import RecordedRow
from chatspan.render.rendered import CharRange

How = Literal["unique", "replacements", "marks"]
# Characters of the two texts that an error shows.
_SHOWN = 40
_FIRST_MARK, _LAST_MARK = 0xE000, 0xF8FF


class Expansions(NamedTuple):
    """The expansions of a row's placeholders.

    Attributes:
        how: why there is no other way: ``"unique"``, the text between them has one place; ``"replacements"``, the
            processor says so, and the text is what that gives; ``"marks"``, a second call with marks between them does.
        prefix: what the processor writes in front of the render.
        ranges: of each placeholder's expansion, characters of the processor's text.
    """

    how: How
    prefix: str
    placeholders: Sequence[Placeholder]
    ranges: Sequence[CharRange]


def proven(
    processor: Any,
    attributed: AttributedRender,
    found: Sequence[Placeholder],
    row: RecordedRow,
    expand: Callable[[str], str],
) -> Expansions:
    """Where the expansions stand.

    Args:
        expand: what the processor makes of another text with the same media.

    Raises:
        ExpansionError: the processor changed something else, or nothing tells where an expansion ends.
    """
    text = attributed.render.text
    expansions = _placed(processor, text, list(found), row, expand)
    if expansions is None and (wider := with_wrappers(attributed, found)) != list(found):
        expansions = _placed(processor, text, wider, row, expand)
    if expansions is None:
        raise _changed(processor, text, found, row.text)
    return expansions


def _placed(
    processor: Any, render: str, placeholders: Sequence[Placeholder], row: RecordedRow, expand: Callable[[str], str]
) -> Expansions | None:
    gaps = between(render, [each.range for each in placeholders])
    for suffix in _edges(processor, "sep_token"):
        for prefix in _edges(processor, "bos_token", "eos_token"):
            whole = [prefix + gaps[0], *gaps[1:]]
            whole[-1] += suffix
            placed = placements(whole, row.text)
            if placed is None:
                continue
            ranges, is_unique = placed
            if is_unique:
                return Expansions("unique", prefix, placeholders, ranges)
            told = _told(whole, row)
            if told is not None:
                return Expansions("replacements", prefix, placeholders, told)
            marked = rebuilt(whole, _marked(render, placeholders, row.text, expand), row.text)
            if marked is not None:
                return Expansions("marks", prefix, placeholders, marked)
            raise ExpansionError(
                "it is unknown where the expansion of one placeholder ends and the text after it "
                "begins: put text between the media"
            )
    return None


def _edges(processor: Any, *names: str) -> list[str]:
    tokens = (getattr(processor.tokenizer, name, None) for name in names)
    return ["", *(str(token) for token in tokens if token)]


def _told(gaps: Sequence[str], row: RecordedRow) -> list[CharRange] | None:
    """By the processor's own replacements, if they give its text."""
    if row.replacements is None:
        return None
    return rebuilt(gaps, row.replacements, row.text)


def _marked(render: str, placeholders: Sequence[Placeholder], text: str, expand: Callable[[str], str]) -> Sequence[str]:
    """What each placeholder becomes where marks that no text has stand between them."""
    free = (chr(code) for code in range(_FIRST_MARK, _LAST_MARK + 1) if chr(code) not in render + text)
    marks = [next(free) for _ in range(len(placeholders) + 1)]
    parts = zip(placeholders, marks[1:], strict=True)
    seen = expand(marks[0] + "".join(render[slice(*each.range)] + mark for each, mark in parts))
    at = [seen.find(mark) for mark in marks]
    if min(at) < 0 or at != sorted(at) or any(seen.count(mark) != 1 for mark in marks):
        return ()
    return [seen[start + 1 : end] for start, end in pairwise(at)]


def _changed(processor: Any, render: str, found: Sequence[Placeholder], text: str) -> ExpansionError:
    end = found[0].start_char if found else len(render)
    at = first_difference(render[:end], text[:end])
    what = "the render outside of its placeholders" if found else "the render"
    return ExpansionError(
        f"{type(processor).__name__} changes {what}, so it is unknown what its tokens belong to: from character {at} "
        f"on the template writes {render[at : at + _SHOWN]!r}, and the processor makes {text[at : at + _SHOWN]!r} of it"
    )
