"""A report on a terminal: what is wrong, then what was counted, then what others would train."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from chatspan.audit.against.compare import OURS, THEIRS
from chatspan.audit.against.result import PeerReport
from chatspan.audit.failures import RAISED
from chatspan.audit.findings import Group as FindingGroup
from chatspan.audit.findings import Place
from chatspan.audit.report import Report, summary, tokens_by_role, turns_in_words
from chatspan.audit.turns import TurnCount, TurnForm, outcome_words
from chatspan.cli.inspect_terminal import STYLES
from chatspan.cli.stability_terminal import stability_parts
from chatspan.cli.text import plural, printable, visible
from chatspan.kinds import Kind

_SEVERITY_STYLES = {"problem": "bold red", "note": "yellow"}
_DIM = "bright_black"
# Of each finding so many places are printed; --json has more.
_PLACES = 3
_LONGEST_QUOTE = 90
_BARS = "▁▂▃▄▅▆▇█"
# So many forms of turns are printed; --json has more.
_FORMS = 20
_PART_STYLES = {"prompt": _DIM, "opening": "blue", "turn": "bold green", "stop": "yellow"}


def print_report(console: Console, report: Report) -> None:
    """Prints a report."""
    console.print(_headline(report))
    console.print()
    groups = report.groups
    if groups:
        console.print(_findings(groups))
    else:
        console.print(Text("Nothing was found.", style="green"))
    totals = report.totals
    if report.settings.turns and len(totals.turns):
        console.print()
        console.print(_turns(report))
        for words in turns_in_words(report):
            console.print(Text(printable(words)))
    if totals.tokens:
        console.print()
        console.print(_tokens(report))
        console.print()
        console.print(_lengths(report))
    for line in _remarks(report):
        console.print(line)
    for part in stability_parts(report):
        console.print(part)
    for peer in report.against:
        console.print()
        console.print(Rule(Text(f"against {peer.name}", style="bold"), align="left", style=_DIM))
        for part in _peer(peer):
            console.print(part)


def _headline(report: Report) -> Text:
    totals = report.totals
    tokens, trained = (sum(int(line.sum()) for line in lines.values()) for lines in (totals.tokens, totals.trained))
    share = f" ({trained / tokens:.1%})" if tokens else ""
    problems = report.problems
    notes = len(report.groups) - problems
    text = Text.assemble(
        (f"{visible(report.source)}: {plural(totals.rows, 'row')}, ", "bold"),
        (f"{totals.failed:,} failed", "bold red" if totals.failed else "bold"),
        (f"\n{plural(tokens, 'token')}, {trained:,} in the loss ({report.settings.loss}){share}\n", "bold"),
        (f"{plural(problems, 'problem')}", "bold red" if problems else "bold green"),
        f" and {plural(notes, 'note')}, by kind",
    )
    if report.partial:
        text.append(f"\n{printable(report.partial)}", style="bold yellow")
    return text


def _findings(groups: Iterable[FindingGroup]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_lines=False, expand=False)
    table.add_column("", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("what, and where first", overflow="fold")
    for group in groups:
        count = f"{group.rows:,}" if group.rows else "·"
        severity = Text(group.severity, style=_SEVERITY_STYLES[group.severity])
        table.add_row(severity, count, _finding(group))
    return table


def _finding(group: FindingGroup) -> RenderableType:
    more = []
    if not group.rows:
        more.append(plural(group.count, "turn"))
    elif group.count > group.rows:
        more.append(f"{group.count:,} times")
    if group.amount and group.unit:
        more.append(f"{group.amount:,} {group.unit}")
    head = Text.assemble((f"{group.category}: ", "bold"), visible_words(group.words))
    if more:
        head.append(f" ({', '.join(more)})", style=_DIM)
    parts: list[RenderableType] = [head]
    if group.advice:
        parts.append(Text(f"→ {visible_words(group.advice)}", style="cyan"))
    if group.places:
        parts.append(Text(_places(group), style=_DIM))
    return Group(*parts)


def _places(group: FindingGroup) -> str:
    """The first places, and what stands at the first of them."""
    first, *others = group.places[:_PLACES]
    line = _place(first)
    # An error's words are those of its kind.
    if first.quote and group.category != RAISED and first.quote not in group.what:
        line += f" {_quoted(first.quote)}"
    file = first.row.rpartition(":")[0]
    for place in others:
        line += f", {_place(place).removeprefix(visible(file)) if file else _place(place)}"
    return line + (" …" if group.rows > len(group.places[:_PLACES]) else "")


def _place(place: Place) -> str:
    return visible(place.row) + ("" if place.message_index is None else f" message {place.message_index}")


def _quoted(text: str) -> str:
    text = text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
    return f"“{visible_words(text)}”"


def visible_words(text: str) -> str:
    """The text in one line, line breaks and control characters as symbols; blanks between words stay."""
    return visible(text).replace("␣", " ")


def _turns(report: Report) -> Table:
    """How turns stand, by what is before them."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title="Turns", title_justify="left")
    table.add_column("turns", justify="right", no_wrap=True)
    table.add_column("after", overflow="fold", max_width=24)
    table.add_column(Text(" │ ").join(Text(part, style) for part, style in _PART_STYLES.items()), overflow="fold")
    forms = list(report.totals.turns)
    before: tuple[str, str] | None = None
    for form, count in forms[:_FORMS]:
        after = Text.assemble(
            visible_words(form.after) or "(nothing)",
            (f"\n{visible_words(form.keywords)}" if form.keywords else "", _DIM),
        )
        is_new, before = form[:2] != before, form[:2]
        if is_new:
            table.add_section()
        table.add_row(f"{count.turns:,}", after if is_new else "", _turn(form, count))
    if len(forms) > _FORMS:
        table.add_section()
        rest = sum(count.turns for _, count in forms[_FORMS:])
        table.add_row(f"{rest:,}", "", f"in {plural(len(forms) - _FORMS, 'further form')}, which --json lists")
    return table


def _turn(form: TurnForm, count: TurnCount) -> RenderableType:
    """A form of turns: what is to be said of it, and an example."""
    example = count.example
    style = "green" if form.off_prompt is None and form.refused is None else "yellow"
    place = Place(example.row, example.message_index)
    head = Text.assemble((visible_words(outcome_words(form, count)), style), (f"  {_place(place)}", _DIM))
    parts = {"prompt": example.prompt, "opening": form.opening, "turn": example.turn, "stop": form.stop}
    if form.opening is None:
        return head
    shown = [Text(visible_words(text or "(none)"), _PART_STYLES[part]) for part, text in parts.items()]
    lines: list[RenderableType] = [head, Text(" │ ").join(shown)]
    if example.inference or example.written:
        different = f"the prompt has {_quoted(example.inference)}, the row {_quoted(example.written)}"
        lines.append(Text(different, style="cyan"))
    return Group(*lines)


def _tokens(report: Report) -> Table:
    """Tokens by kind and role."""
    by_role = tokens_by_role(report.totals)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title="Tokens", title_justify="left")
    table.add_column("kind", no_wrap=True)
    for role in by_role:
        table.add_column(visible(role), justify="right")
    table.add_column("all", justify="right", style="bold")
    table.add_column("in the loss", justify="right", style="bold green")
    for kind in Kind:
        name = kind.name.lower()
        counts = [kinds.get(name, {"tokens": 0, "in_loss": 0}) for kinds in by_role.values()]
        if any(count["tokens"] for count in counts):
            table.add_row(Text(name, style=STYLES[kind]), *_cells(counts))
    table.add_section()
    totals = [
        {key: sum(kinds[name][key] for name in kinds) for key in ("tokens", "in_loss")} for kinds in by_role.values()
    ]
    table.add_row("all", *_cells(totals))
    trained = [_count(total["in_loss"]) for total in totals]
    table.add_row("in the loss", *trained, _count(sum(total["in_loss"] for total in totals)), "")
    table.add_row("messages", *(_count(report.totals.messages[role]) for role in by_role), "", "")
    return table


def _cells(counts: list[dict[str, int]]) -> list[str]:
    sums = [sum(count[key] for count in counts) for key in ("tokens", "in_loss")]
    return [_count(number) for number in (*(count["tokens"] for count in counts), *sums)]


def _count(number: int) -> str:
    return f"{number:,}" if number else "·"


def _lengths(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title="Tokens per row", title_justify="left")
    table.add_column("", no_wrap=True)
    for name in ("min", "median", "95 %", "max"):
        table.add_column(name, justify="right")
    table.add_column("", no_wrap=True)
    for name, lengths in (("all", report.totals.lengths), ("in the loss", report.totals.trained_lengths)):
        found = summary(lengths)
        if found is not None:
            numbers = [f"{found[key]:,}" for key in ("min", "median", "p95", "max")]
            table.add_row(name, *numbers, Text(_bars([rows for _, _, rows in found["histogram"]]), style="cyan"))
    return table


def _bars(counts: list[int], width: int = 24) -> str:
    """A histogram in one line."""
    each = -(-len(counts) // width)
    merged = [sum(counts[i : i + each]) for i in range(0, len(counts), each)]
    top = max(merged)
    return "".join(" " if not n else _BARS[(n * (len(_BARS) - 1) + top - 1) // top] for n in merged)


def _remarks(report: Report) -> Iterator[Text]:
    totals, settings = report.totals, report.settings
    if report.media_in_words:
        yield Text(f"\n{printable(report.media_in_words)}")
    for side, cuts in totals.cuts.items():
        if cuts.rows:
            media = f" {plural(cuts.media, 'row')} would have a medium cut, and are rejected." if cuts.media else ""
            yield Text(
                f"\nCut off on the {side}, {plural(cuts.rows, 'row')} of more than {settings.max_length:,} tokens "
                f"would lose {plural(cuts.tokens, 'token')}, {cuts.trained:,} of them in the loss, and "
                f"{plural(cuts.messages, 'whole message')}; {cuts.last_turns:,} would lose the end of their last turn, "
                f"{cuts.untrained:,} all that is trained.{media}"
            )
    for end, turns in totals.ends.most_common():
        text = "nothing" if end.text is None else visible_words(end.text)
        trained = "in the loss" if end.trained else "not in the loss"
        stops = ", an end-of-sequence token" if end.stops else ", no end-of-sequence token" if end.text else ""
        yield Text(f"\n{plural(turns, 'turn')} of assistants end in {text}: {trained}{stops}.")


def _peer(peer: PeerReport) -> Iterator[RenderableType]:
    yield Text(peer.method, style=_DIM)
    for statement in peer.statements:
        yield Text(f"• {visible_words(statement)}", style="bold")
    if not peer.rows:
        return
    compared = f"{plural(peer.rows, 'row')} compared"
    if peer.trained or peer.trained_by_chatspan:
        compared += f"; it trains {plural(peer.trained, 'token')}, chatspan {peer.trained_by_chatspan:,}"
    yield Text(f"{compared}:")
    for group in (*peer.outcomes, *peer.remarks):
        yield _indented(Text(f"{plural(group.rows, 'row')}: {visible_words(group.what)}", style="bold"))
        if any(place.quote for place in group.places):
            yield _indented(Text(_places(group), style=_DIM), 4)
    for side in (THEIRS, OURS):
        groups = [group for group in peer.differences if group.category == side]
        if groups:
            yield Text(f"{side[0].upper()}{side[1:]}:", style="bold magenta" if side == THEIRS else "bold cyan")
        for group in groups:
            yield _indented(
                Text(f"{visible_words(group.what)}: {plural(group.amount, 'token')}, {plural(group.rows, 'row')}")
            )
            for place in group.places[:_PLACES]:
                quote = visible(place.quote)
                yield _indented(Text.assemble((f"{_place(place)}  ", _DIM), quote), 4)


def _indented(text: Text, by: int = 2) -> Padding:
    return Padding(text, (0, 0, 0, by))
