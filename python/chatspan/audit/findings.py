"""What is found in rows, counted by what it is, with the first places of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["problem", "note"]

# Of each kind of finding so many places are kept; the rest is counted.
PLACES_KEPT = 5
# So many kinds are kept apart; a data set whose every row fails in words of its own shall not fill the memory.
GROUPS_KEPT = 500
LONGEST_QUOTE = 240
# So many details of a group are kept.
DETAILS_KEPT = 30


@dataclass(frozen=True)
class Place:
    """Where something was found.

    Attributes:
        row: where a person finds the row: ``"data.jsonl:17"``.
        message_index: in the row's messages, where it is about one.
        quote: what stands there.
    """

    row: str
    message_index: int | None = None
    quote: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing found in a row.

    Attributes:
        category: ``"rows that fail"``, ``"dropped fields"``, …; see :data:`chatspan.audit.report.CATEGORIES`.
        what: the kind of thing, the same words in every row that has it.
        severity: ``"problem"`` or ``"note"``.
        advice: what to do.
        message_index, quote: see :class:`Place`.
        amount: of ``unit``: characters lost, tokens lost.
        detail: what of the kind it is, where that is told once for all: ``"tool: tool_call_id"``.
    """

    category: str
    what: str
    severity: Severity
    advice: str = ""
    message_index: int | None = None
    quote: str = ""
    amount: int = 0
    unit: str = ""
    detail: str = ""


@dataclass
class Group:
    """All findings of one kind.

    Attributes:
        rows: how many rows have it; ``count``, how often they do.
        places: the first ones, at most :data:`PLACES_KEPT`, one a row.
        details: of the findings, each once, at most :data:`DETAILS_KEPT`.
    """

    category: str
    what: str
    severity: Severity
    advice: str
    unit: str = ""
    rows: int = 0
    count: int = 0
    amount: int = 0
    places: list[Place] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        """What it is, with its details."""
        return f"{self.what}: {', '.join(sorted(self.details))}" if self.details else self.what

    def add_details(self, details: Iterable[str]) -> None:
        """Adds those that are new."""
        for detail in details:
            if detail and detail not in self.details and len(self.details) < DETAILS_KEPT:
                self.details.append(detail)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        found = {
            key: value for key, value in self.__dict__.items() if key not in ("places", "details", "amount", "unit")
        }
        if self.details:
            found["details"] = sorted(self.details)
        if self.unit:
            found[self.unit.replace(" ", "_")] = self.amount
        return {**found, "places": [place.__dict__ for place in self.places]}


class Groups:
    """Findings by kind. Those of a later part of a data set are added with :meth:`merge`."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Group] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def add(self, row: str, findings: Iterable[Finding]) -> None:
        """Adds what was found in one row."""
        seen = set()
        for finding in findings:
            group = self._group(finding)
            group.count += 1
            group.amount += finding.amount
            group.add_details([finding.detail])
            if id(group) in seen:
                continue
            seen.add(id(group))
            group.rows += 1
            if len(group.places) < PLACES_KEPT:
                group.places.append(Place(row, finding.message_index, _shortened(finding.quote)))

    def merge(self, later: Groups) -> None:
        """Adds what was found in rows behind these."""
        for other in later:
            group = self._group(other)
            group.rows += other.rows
            group.count += other.count
            group.amount += other.amount
            group.add_details(other.details)
            group.places += other.places[: PLACES_KEPT - len(group.places)]

    def _group(self, like: Finding | Group) -> Group:
        what, advice, unit = like.what, like.advice, like.unit
        if (like.category, what) not in self._groups and len(self._groups) >= GROUPS_KEPT:
            what, advice, unit = "of further kinds", "fix what is listed first, and run the audit again", ""
        key = (like.category, what)
        if key not in self._groups:
            self._groups[key] = Group(like.category, what, like.severity, advice, unit)
        return self._groups[key]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…"
