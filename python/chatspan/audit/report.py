"""What an audit says: findings in order, tables and lengths; as JSON too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatspan.audit.against.result import PeerReport
from chatspan.audit.checks.calls import EMPTY_CALLS
from chatspan.audit.checks.dropped import DROPPED
from chatspan.audit.checks.dumps import AS_REPR, DOUBLE_ENCODED
from chatspan.audit.checks.fields import CONTAINERS, CONTROL
from chatspan.audit.checks.flags import FLAGS
from chatspan.audit.checks.notes import READ
from chatspan.audit.checks.prompts import BORDER, OFF_PROMPT
from chatspan.audit.checks.roles import ROLES
from chatspan.audit.failures import NO_TURN, RAISED
from chatspan.audit.findings import Group
from chatspan.audit.rows import CUT_MEDIA, EMPTY, TOO_LONG
from chatspan.audit.run import DUPLICATES
from chatspan.audit.settings import AuditSettings
from chatspan.audit.totals import KIND_COUNT, Totals
from chatspan.audit.turn_ends import TurnEnd
from chatspan.kinds import Kind
from chatspan.rollout.stability.report import StabilityReport
from chatspan.supervised.selection import selected_roles

ENDS = "ends of turns"
CATEGORIES = (
    RAISED,
    NO_TURN,
    EMPTY,
    ENDS,
    OFF_PROMPT,
    BORDER,
    DROPPED,
    DOUBLE_ENCODED,
    AS_REPR,
    EMPTY_CALLS,
    FLAGS,
    CONTAINERS,
    CONTROL,
    ROLES,
    TOO_LONG,
    CUT_MEDIA,
    DUPLICATES,
    READ,
)


@dataclass
class Report:
    """What an audit says.

    Attributes:
        source, tokenizer: their names.
        partial: why it is not of the whole data set, if it is not.
        stopped: whether that is because somebody stopped it.
        probes: what the template does with the events of rollouts, where that was asked for.
        pages: of rows that have a page, by their place, where it is.
    """

    source: str
    tokenizer: str
    settings: AuditSettings
    totals: Totals
    partial: str | None = None
    stopped: bool = False
    against: Sequence[PeerReport] = field(default_factory=list)
    probes: StabilityReport | None = None
    pages: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> list[Group]:
        """Findings: problems first, in the order of :data:`CATEGORIES`, then by rows."""
        groups = [*self.totals.groups, *_end_groups(self.totals.ends, self.settings), *_missing_roles(self)]
        return sorted(groups, key=lambda g: (g.severity != "problem", CATEGORIES.index(g.category), -g.rows, g.what))

    @property
    def named_rows(self) -> Iterator[str]:
        """The rows that are named anywhere, the most important first, some more than once."""
        groups = [*self.groups, *self.totals.splits.refused]
        for peer in self.against:
            groups += [*peer.outcomes, *peer.differences, *peer.remarks]
        yield from (place.row for group in groups for place in group.places)
        yield from (count.example.row for _, count in self.totals.turns)
        yield from (count.example.row for _, count in self.totals.splits.most_common())

    @property
    def tokens(self) -> int:
        """How many there are."""
        return sum(int(line.sum()) for line in self.totals.tokens.values())

    @property
    def media_in_words(self) -> str:
        """The media in a sentence; empty where there are none."""
        return self.totals.media.words(self.totals.rows, self.tokens)

    @property
    def problems(self) -> int:
        """How many kinds of problems there are."""
        return sum(group.severity == "problem" for group in self.groups)

    def as_json(self) -> dict[str, Any]:
        """The whole report, of numbers, strings, lists and dicts."""
        totals, settings = self.totals, self.settings
        return {
            "source": self.source,
            "tokenizer": self.tokenizer,
            "loss": settings.loss,
            "end_of_turn": settings.end_of_turn,
            "partial": self.partial,
            "rows": totals.rows,
            "rows_that_raise": totals.failed,
            "messages": dict(totals.messages),
            "tokens": self.tokens,
            "tokens_in_loss": sum(int(line.sum()) for line in totals.trained.values()),
            "problems": self.problems,
            "findings": [group.as_json() for group in self.groups],
            "tokens_by_role": tokens_by_role(totals),
            "lengths": summary(totals.lengths),
            "lengths_in_loss": summary(totals.trained_lengths),
            "media": self._media(),
            "cuts": None
            if settings.max_length is None
            else {
                "max_length": settings.max_length,
                **{side: dict(cuts.__dict__) for side, cuts in totals.cuts.items()},
            },
            "ends_of_turns": [{**end._asdict(), "turns": count} for end, count in totals.ends.most_common()],
            "turns": totals.turns.as_json() if settings.turns else None,
            "stability": {
                "template": None if self.probes is None else self.probes.to_dict(),
                **totals.splits.as_json(),
            }
            if settings.stability
            else None,
            "against": [peer.as_json() for peer in self.against],
        }

    def _media(self) -> dict[str, Any] | None:
        """The media, and how many tokens of them rows have that have some."""
        found = self.totals.media.as_json(self.tokens)
        return None if found is None else {**found, "tokens_a_row": summary(self.totals.media.lengths)}


def _missing_roles(report: Report) -> list[Group]:
    """Selected roles that no message of the data set has."""
    totals = report.totals
    missing = [role for role in selected_roles(report.settings.train_on) if role not in totals.messages]
    seen = ", ".join(f"{role} ({count:,})" for role, count in totals.messages.most_common())
    advice = f"check --train-on; the roles of all messages: {seen}"
    return [
        Group(
            EMPTY, f"no message has the selected role {role!r}", "problem", advice, rows=totals.rows, count=totals.rows
        )
        for role in missing
        if totals.messages
    ]


def turns_in_words(report: Report) -> list[str]:
    """How turns stand, in all, and what of them is in the loss."""
    found, settings = report.totals.turns.as_json(), report.settings
    off = sum(found["off_prompt"].values())
    causes = ", ".join(f"{cause} {turns:,}" for cause, turns in found["off_prompt"].items())
    of_causes = f" ({causes})" if causes else ""
    trained = {"content": "the content of turns", "generation": "what {% generation %} blocks wrote"}.get(
        str(settings.loss), "turn" if settings.end_of_turn == "none" else "turn and stop"
    )
    return [
        f"Turns: {found['turns']:,} in all, {found['on_prompt']:,} on their prompt, {off:,} off it{of_causes}; "
        f"{found['border']:,} with a token across the border, {found['refused']:,} that cannot be located.",
        f"In the loss: {trained}; never the prompt and the opening.",
    ]


def tokens_by_role(totals: Totals) -> dict[str, dict[str, dict[str, int]]]:
    """``{role: {kind: {"tokens", "in_loss"}}}`` of what occurs."""
    return {
        role: {
            Kind(kind).name.lower(): {"tokens": int(line[kind]), "in_loss": int(totals.trained[role][kind])}
            for kind in range(KIND_COUNT)
            if line[kind]
        }
        for role, line in totals.tokens.items()
        if line.any()
    }


def summary(lengths: Mapping[int, int]) -> dict[str, Any] | None:
    """Minimum, median, 95th percentile and maximum of lengths, and a histogram; ``None`` of no rows.

    Example:
        >>> summary({10: 3, 20: 1})["median"]
        10
    """
    if not lengths:
        return None
    known = sorted(lengths)
    return {
        "min": known[0],
        "median": _quantile(lengths, known, 0.5),
        "p95": _quantile(lengths, known, 0.95),
        "max": known[-1],
        "sum": sum(length * rows for length, rows in lengths.items()),
        "histogram": histogram(lengths),
    }


def _quantile(lengths: Mapping[int, int], known: Sequence[int], part: float) -> int:
    """The smallest length that so much of the rows do not exceed."""
    wanted, rows = part * sum(lengths.values()), 0
    for length in known:
        rows += lengths[length]
        if rows >= wanted:
            return length
    return known[-1]


def histogram(lengths: Mapping[int, int], bins: int = 40) -> list[tuple[int, int, int]]:
    """``(start, stop, rows)`` of bins of equal, round width that hold all lengths."""
    low, high = min(lengths), max(lengths)
    width = next(w for e in range(12) for m in (1, 2, 5) if (high - low) // (w := m * 10**e) < bins)
    first = low - low % width
    rows: Counter[int] = Counter()
    for length, count in lengths.items():
        rows[(length - first) // width] += count
    return [(first + i * width, first + (i + 1) * width, rows[i]) for i in range(max(rows) + 1)]


def _end_groups(ends: Mapping[TurnEnd, int], settings: AuditSettings) -> list[Group]:
    """What is to be said of ends of turns, which only the whole data set shows."""
    wanted = settings.loss != "content" and settings.end_of_turn != "none"
    some_stop = any(end.stops and end.trained for end in ends)
    groups: dict[str, Group] = {}

    def add(what: str, advice: str, is_problem: bool, turns: int) -> None:
        group = groups.setdefault(what, Group(ENDS, what, "problem" if is_problem else "note", advice, rows=0))
        group.count += turns

    for end, turns in ends.items():
        if end.text is None:
            advice = "the model does not learn to stop; --end-of-turn next_header trains what opens the next message"
            add("turns without an end", advice, wanted, turns)
        elif not end.trained:
            advice = "the model does not learn to stop" + ("" if wanted else ", as requested")
            add(f"{end.text} is not in the loss", advice, wanted, turns)
        elif not end.stops and settings.stop_ids:
            advice = "generation continues after it unless the server stops there too"
            add(f"{end.text} is in the loss, but is not an end-of-sequence token", advice, not some_stop, turns)
    return list(groups.values())
