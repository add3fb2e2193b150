"""A report as one HTML page: no script, nothing from elsewhere, histograms as inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from chatspan.audit.against.compare import CLOSE, OPEN
from chatspan.audit.against.result import PeerReport
from chatspan.audit.findings import Group
from chatspan.audit.report import Report, summary, tokens_by_role, turns_in_words
from chatspan.audit.report_style import STYLE
from chatspan.audit.splits import SplitExample, Splits, splits_in_words
from chatspan.audit.totals import Totals
from chatspan.audit.turns import TurnCount, TurnForm, outcome_words
from chatspan.kinds import Kind
from chatspan.rollout.stability.report import StabilityEvent, StabilityReport

# A page of tables and pictures needs only its own style.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_WIDTH, _HEIGHT = 800, 160

# Of rows that have pages, where these are: relative to the report's.
Pages = Mapping[str, str]


def report_as_html(report: Report) -> str:
    """The page. All text of the data set is escaped."""
    return html_page(f"chatspan audit: {report.source}", _body(report))


def report_as_fragment(report: Report) -> str:
    """The same for a notebook's cell."""
    return f'<div class="chatspan-report"><style>{STYLE}</style>{"".join(_body(report))}</div>'


def html_page(title: str, body: Iterable[str]) -> str:
    """A page in the report's style: no script, nothing from elsewhere.

    Args:
        title: plain text.
        body: HTML, of which all text is escaped.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body class=chatspan-report>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _body(report: Report) -> Iterator[str]:
    totals = report.totals
    tokens, trained = (sum(int(line.sum()) for line in lines.values()) for lines in (totals.tokens, totals.trained))
    yield f"<h1>{escape(report.source)}</h1>"
    yield (
        f'<p class="dim">{escape(report.tokenizer)} · loss: {escape(str(report.settings.loss))}, '
        f"end of turn: {escape(report.settings.end_of_turn)}</p>"
    )
    if report.partial:
        yield f'<p class="partial">{escape(report.partial)}</p>'
    share = f" ({trained / tokens:.1%})" if tokens else ""
    yield (f"<p>{totals.rows:,} rows, {totals.failed:,} failed; {tokens:,} tokens, {trained:,} in the loss{share}.</p>")
    yield "<h2>Findings</h2>"
    findings = (_finding(group, report.pages) for group in report.groups)
    yield _table(("", "rows", "times", "what", "where first"), findings, numbers=(1, 2))
    if report.settings.turns:
        yield from _turns(report)
    if report.probes is not None:
        yield from _stability(report.probes)
    if report.settings.stability:
        yield from _splits(totals.splits, report.pages)
    if totals.tokens:
        yield "<h2>Tokens</h2>"
        yield _tokens(report)
        yield "<h2>Tokens per row</h2>"
        yield _histogram("all tokens", summary(totals.lengths), "")
        yield _histogram("tokens in the loss", summary(totals.trained_lengths), "t")
    if report.media_in_words:
        yield "<h2>Media</h2>"
        yield f"<p>{escape(report.media_in_words)}</p>"
        yield _histogram("tokens of media, in rows with media", summary(totals.media.lengths), "")
    if report.settings.max_length is not None:
        yield from _cuts(report.settings.max_length, totals)
    if totals.ends:
        yield "<h2>Ends of assistants’ turns</h2>"
        ends = [
            (_code("nothing" if end.text is None else end.text), f"{turns:,}", _yes(end.trained), _yes(end.stops))
            for end, turns in totals.ends.most_common()
        ]
        yield _table(("what ends them", "turns", "in the loss", "end-of-sequence token"), ends, numbers=(1,))
    for peer in report.against:
        yield from _peer(peer, report.pages)


def _cuts(max_length: int, totals: Totals) -> Iterator[str]:
    yield f"<h2>A cut to {max_length:,} tokens</h2>"
    heads = (
        "cut off on the",
        "rows",
        "tokens lost",
        "in the loss",
        "whole messages",
        "ends of last turns",
        "rows with nothing left",
        "rows with a medium cut",
    )
    cuts = [(escape(side), *(f"{n:,}" for n in cut.__dict__.values())) for side, cut in totals.cuts.items()]
    yield _table(heads, cuts, numbers=range(1, 8))


def _finding(group: Group, pages: Pages) -> Sequence[str]:
    what = f"<b>{escape(group.category)}</b>: {_code(group.words)}"
    if group.amount and group.unit:
        what += f" <span class=dim>({group.amount:,} {escape(group.unit)})</span>"
    if group.advice:
        what += f"<br><span class=dim>{escape(group.advice)}</span>"
    severity = f'<span class="{group.severity}">{group.severity}</span>'
    return (severity, f"{group.rows:,}" if group.rows else "", f"{group.count:,}", what, _places(group, pages))


def _turns(report: Report) -> Iterator[str]:
    heads = ("turns", "after", "keywords", "", "prompt │ opening │ turn │ stop", "the prompt has", "the row has", "")
    yield "<h2>Turns</h2>"
    yield _table(heads, (_turn(form, count, report.pages) for form, count in report.totals.turns), numbers=(0,))
    yield from (f"<p>{escape(line)}</p>" for line in turns_in_words(report))


def _turn(form: TurnForm, count: TurnCount, pages: Pages) -> Sequence[str]:
    example = count.example
    parts = (example.prompt, form.opening, example.turn, form.stop)
    shown = "" if form.opening is None else " │ ".join(_code(part) if part else "(none)" for part in parts)
    different = (_code(text) if text else "" for text in (example.inference, example.written))
    place = _where(example.row, example.message_index, pages)
    words = (escape(text) for text in (form.after or "(nothing)", form.keywords, outcome_words(form, count)))
    return (f"{count.turns:,}", *words, shown, *different, place)


def _stability(probes: StabilityReport) -> Iterator[str]:
    yield "<h2>What the template does with rollouts</h2>"
    for section in probes.sections:
        if not section.events:
            yield f"<p>{escape(section.title)}: {escape(section.note)}.</p>"
            continue
        yield f"<h3>{escape(section.title)}</h3>"
        yield _table(("", "event", "why"), (_event(*row) for row in section.rows))
        yield f"<p>{escape(section.note)}.</p>" if section.note else ""


def _event(event: StabilityEvent, name: str, details: Sequence[str]) -> Sequence[str]:
    lines = [
        escape(line) if at == 0 and event.verdict == "rewritten" else _code(line) for at, line in enumerate(details)
    ]
    return (f'<span class="{event.verdict}">{event.verdict}</span>', escape(name), "<br>".join(lines))


def _splits(splits: Splits, pages: Pages) -> Iterator[str]:
    yield "<h2>Rows as sampled</h2>"
    yield from (f"<p>{escape(line)}</p>" for line in splits_in_words(splits))
    if splits.causes:
        causes = [
            (f"{count.rows:,}", f"{count.splits:,}", escape(cause), *_example(count.example, pages))
            for cause, count in splits.most_common()
        ]
        yield _table(("rows", "splits", "cause", "shown", "written", "where first"), causes, numbers=(0, 1))
    if splits.told:
        forms = [(f"{count:,}", f"{rows:,}") for count, rows in sorted(splits.rows.items())]
        yield _table(("rows as sampled", "rows that they become"), forms, numbers=(0, 1))
    refused = [(f"{group.rows:,}", _code(group.what), _places(group, pages)) for group in splits.refused]
    if refused:
        yield _table(("rows", "why it is unknown", "where first"), refused, numbers=(0,))


def _example(example: SplitExample, pages: Pages) -> Sequence[str]:
    place = _where(example.row, example.rewrite.message_index, pages)
    return (_code(example.rewrite.shown), _code(example.rewrite.written), place)


def _places(group: Group, pages: Pages) -> str:
    lines = []
    for place in group.places:
        quote = _code(place.quote) if place.quote else ""
        lines.append(f"{_where(place.row, place.message_index, pages)} {quote}")
    return "<br>".join(lines)


def _where(row: str, message_index: int | None, pages: Pages) -> str:
    """A row, and a message of it; a link where the row has a page."""
    words = escape(row) + ("" if message_index is None else f" message {message_index}")
    if row not in pages:
        return f"<span class=dim>{words}</span>"
    anchor = "" if message_index is None else f"#message-{message_index}"
    return f'<a href="{escape(pages[row])}{anchor}">{words}</a>'


def _tokens(report: Report) -> str:
    by_role = tokens_by_role(report.totals)
    rows = []
    for kind in Kind:
        counts = [kinds.get(kind.name.lower()) for kinds in by_role.values()]
        if any(counts):
            total, trained = (sum(count[key] for count in counts if count) for key in ("tokens", "in_loss"))
            cells = ("·" if count is None else f"{count['tokens']:,}" for count in counts)
            rows.append((kind.name.lower(), *cells, f"{total:,}", f"{trained:,}"))
    heads = ("kind", *map(escape, by_role), "all", "in the loss")
    return _table(heads, rows, numbers=range(1, len(heads)), is_of_texts=False)


def _histogram(name: str, found: dict[str, Any] | None, style: str) -> str:
    if found is None:
        return ""
    bins = found["histogram"]
    top = max(rows for _, _, rows in bins)
    width = _WIDTH / len(bins)
    bars = []
    for i, (start, stop, rows) in enumerate(bins):
        height = rows / top * _HEIGHT
        bars.append(
            f'<rect x="{i * width:.1f}" y="{_HEIGHT - height:.1f}" width="{max(width - 1, 0.5):.1f}" '
            f'height="{height:.1f}"><title>{start:,} to {stop - 1:,} tokens: {rows:,} rows</title></rect>'
        )
    numbers = "; ".join(f"{label} {found[key]:,}" for label, key in _NUMBERS)
    return (
        f'<figure><svg class="{style}" viewBox="0 0 {_WIDTH} {_HEIGHT + 18}" role="img" '
        f'aria-label="{escape(name)}: {numbers}"><g class="{style}">{"".join(bars)}</g>'
        f'<text x="0" y="{_HEIGHT + 14}">{bins[0][0]:,}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 14}" text-anchor="end">{bins[-1][1]:,}</text></svg>'
        f"<figcaption>{escape(name)}: {numbers}</figcaption></figure>"
    )


_NUMBERS = (("min", "min"), ("median", "median"), ("95 %", "p95"), ("max", "max"))


def _peer(peer: PeerReport, pages: Pages) -> Iterator[str]:
    yield f"<h2>Against {escape(peer.name)}</h2><p class=dim>{escape(peer.method)}</p>"
    yield from (f"<p>{escape(statement)}</p>" for statement in peer.statements)
    if not peer.rows:
        return
    yield (
        f"<p>{peer.rows:,} rows compared; it trains {peer.trained:,} tokens, chatspan {peer.trained_by_chatspan:,}.</p>"
    )
    rows = [(f"{g.rows:,}", escape(g.what), _places(g, pages)) for g in (*peer.outcomes, *peer.remarks)]
    yield _table(("rows", "outcome", "where first"), rows, numbers=(0,))
    if peer.differences:
        different = [
            (escape(g.category), escape(g.what), f"{g.rows:,}", f"{g.amount:,}", _places(g, pages))
            for g in peer.differences
        ]
        yield _table(("", "what", "rows", "tokens", "as text"), different, numbers=(2, 3))


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = (), *, is_of_texts: bool = True
) -> str:
    """A table of cells that are escaped already.

    Args:
        is_of_texts: whether a narrow screen shows its lines as lists; else it scrolls.
    """
    right = set(numbers)

    def cell(at: int, text: str) -> str:
        return f'<td class=n data-of="{heads[at]}">{text}</td>' if at in right else f"<td>{text}</td>"

    head = "".join(f"<th{' class=n' if at in right else ''}>{text}</th>" for at, text in enumerate(heads))
    body = "\n".join(f"<tr>{''.join(cell(at, text) for at, text in enumerate(row))}</tr>" for row in rows)
    if not body:
        return "<p>None.</p>"
    name = "texts" if is_of_texts else "wide"
    return f"<div class={name}><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _code(text: str) -> str:
    """Text as it is, what stands between ⟦ and ⟧ marked."""
    shown = escape(text).replace("\n", "⏎")
    return f"<code>{shown.replace(OPEN, f'<mark>{OPEN}').replace(CLOSE, f'{CLOSE}</mark>')}</code>"


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
