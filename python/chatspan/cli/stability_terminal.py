"""What a template does with rollouts, and into how many rows a data set splits, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from chatspan.audit.report import Report
from chatspan.audit.splits import Splits, splits_in_words
from chatspan.cli.text import plural, printable, visible
from chatspan.rollout.stability.report import Section, StabilityReport

_STYLES = {"stable": "green", "rewritten": "yellow", "refused": "bold red"}
_DIM = "bright_black"


def stability_parts(report: Report) -> Iterator[RenderableType]:
    """The probes, then the rows."""
    if report.settings.stability:
        yield Text()
        yield Rule(Text("stability", style="bold"), align="left", style=_DIM)
        if report.probes is not None:
            yield from _probes(report.probes)
            yield Text()
        yield from _splits(report.totals.splits)


def _probes(probes: StabilityReport) -> Iterator[RenderableType]:
    for section in probes.sections:
        title = f"{section.title}:" if section.events else f"{section.title}: {section.note}"
        yield Text(printable(title), style="bold" if section.events else "")
        if section.events:
            yield _section(section)


def _section(section: Section) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, width=9)
    table.add_column(overflow="fold")
    for event, name, details in section.rows:
        lines = [Text(printable(line), _DIM) for line in details]
        table.add_row(Text(event.verdict, _STYLES[event.verdict]), Group(Text(printable(name)), *lines))
    if section.note:
        table.add_row("", Text(printable(section.note)))
    return table


def _splits(splits: Splits) -> Iterator[RenderableType]:
    for line in splits_in_words(splits):
        yield Text(printable(line))
    if splits.causes:
        yield Text()
        yield _causes(splits)
    for group in splits.refused:
        [place, *_] = group.places
        told = f"{plural(group.rows, 'row')} could not be determined: {visible(group.what).replace('␣', ' ')}"
        yield Text.assemble(told, (f"  {visible(place.row)}", _DIM))


def _causes(splits: Splits) -> Table:
    """Why rows split, each cause with an example."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("splits", justify="right", no_wrap=True)
    table.add_column("why, and where first", overflow="fold")
    for cause, count in splits.most_common():
        row, rewrite = count.example
        table.add_row(
            f"{count.rows:,}",
            f"{count.splits:,}",
            Group(
                Text.assemble((cause, "bold"), (f"  {visible(row)} message {rewrite.message_index}", _DIM)),
                Text(f"shown   {rewrite.shown!r}", _DIM),
                Text(f"written {rewrite.written!r}", _DIM),
            ),
        )
    return table
