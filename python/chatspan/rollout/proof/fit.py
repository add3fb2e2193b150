"""Where a sampled turn stands in the template's render of it, so that what follows can be taken from there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from chatspan.render.rendered import CharRange

How = Literal["exact", "blanks", "json"]
# Brackets that open no JSON: a text with more of them is taken as it is.
_TRIES = 256


class Fit(NamedTuple):
    """A sampled turn, laid over its render.

    Attributes:
        how: ``"exact"``, character for character; ``"blanks"``, but for blanks that the template trims or adds at the
            edges of fields; ``"json"``, but for the spelling of JSON, too.
        join_char: the character of the render with which what follows the sampled tokens begins.
    """

    how: How
    join_char: int


class Written(NamedTuple):
    """What a template writes of a turn.

    Attributes:
        text: the whole render.
        start_char: where the turn begins.
        end: what ends it: from its last own word's end, to where what follows begins.
        has_end: whether the template ends it with a text of its own.
        fields: the turn's own fields, as ranges of the render.
    """

    text: str
    start_char: int
    end: CharRange
    has_end: bool
    fields: Sequence[CharRange]

    @property
    def last_field_char(self) -> int:
        """Behind the last of the turn's own fields."""
        return max((end for _, end in self.fields), default=self.start_char)


class Sampled(NamedTuple):
    """What was sampled: its text, and the control token that ends it; empty if there is none."""

    text: str
    stop: str


def exact_fit(sampled: str, written: Written) -> Fit | None:
    """The turn as it was sampled is what the template writes, and nothing of the message stands behind."""
    join = written.start_char + len(sampled)
    if written.text.startswith(sampled, written.start_char) and join >= written.last_field_char:
        return Fit("exact", join)
    return None


def fit_of_other_spelling(sampled: Sampled, written: Written) -> Fit | None:
    """The turn is what the template writes, in another spelling; ``None`` if it says something else, or ends with
    another token than the template.
    """
    body = written.text[written.start_char : written.end[0]]
    blanks = _blanks_of(written)
    for said, join in _endings(sampled, written):
        if blanks.fullmatch(said) or _trimmed(said) == _trimmed(body):
            return Fit("blanks", join)
        if _trimmed(canonical_json(said)) == _trimmed(canonical_json(body)):
            return Fit("json", join)
    return None


def stop_join(sampled: Sampled, written: Written) -> int | None:
    """Where what follows a turn begins, by how it ends; ``None`` where the template ends it with another token."""
    join = next((join for said, join in _endings(sampled, written) if not sampled.stop or said != sampled.text), None)
    return written.end[0] if join is None and not sampled.stop else join


def _endings(sampled: Sampled, written: Written) -> Iterator[tuple[str, int]]:
    """How a turn may end: what it says in front of that, and where what follows it begins.

    With all that ends it in the template; with the first control token of that, or with the one that opens the next
    message (``<|user|>``); or without an end of its own, and the template ends it.
    """
    start, end = written.end
    text, stop = sampled.text, sampled.stop
    own = written.text[start:end].strip() if written.has_end else ""
    if own and text.rstrip().endswith(own):
        yield text.rstrip()[: -len(own)], end
        return
    at = start + len(written.text[start:]) - len(written.text[start:].lstrip())
    if stop and written.text.startswith(stop, at):
        yield text[: -len(stop)], at + len(stop)
    # A control token may also close a call, and be none that ends the turn.
    yield text, start


def _blanks_of(written: Written) -> re.Pattern[str]:
    """The turn, with any blanks at the edges of its fields."""
    pattern, position = r"\s*", written.start_char
    for start, end in [*sorted(written.fields), (written.end[0], written.end[0])]:
        if start < position:
            continue
        pattern += re.escape(written.text[position:start].strip()) + r"\s*"
        pattern += re.escape(written.text[start:end].strip()) + r"\s*"
        position = end
    return re.compile(pattern)


def _trimmed(text: str) -> str:
    """Without blanks beside tags and at the ends.

    Example:
        >>> _trimmed(" a b\\n\\n<tool> c </tool>\\n")
        'a b<tool>c</tool>'
    """
    return re.sub(r"\s*([<\[][^<>\[\]\s]*[>\]])\s*", r"\1", text).strip()


def canonical_json(text: str) -> str:
    """A text with each JSON object and list in it in one spelling.

    Example:
        >>> canonical_json('call {"b":1, "a": "\\\\u00e9"}')
        'call {"a": "é", "b": 1}'
    """
    decoder = json.JSONDecoder()
    found, position, tries = "", 0, _TRIES
    for start in (match.start() for match in re.finditer(r"[\[{]", text)):
        if start < position or tries == 0:
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            tries -= 1
            continue
        found += text[position:start] + json.dumps(value, sort_keys=True, ensure_ascii=False)
        position = end
    return found + text[position:]
