"""The rows that an audit's findings name → a page each, to which the audit's page links."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from chatspan.audit.report import Report
from chatspan.audit.report_html import html_page
from chatspan.encoder import ChatEncoder
from chatspan.errors import one_line
from chatspan.page.build import page_of_views
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow, Source, UntilBroken
from chatspan.view.rows import views_of_chat
from chatspan.view.view import View

# A report of 500 kinds of findings names up to 2,500 rows.
MOST_PAGES = 100
# Of a row that has no tokens to show.
_LONGEST_JSON = 200_000


class RowPage(NamedTuple):
    """The page of a row.

    Attributes:
        place: where a person finds the row: ``"data.jsonl:17"``.
        name: of its file.
        html: its text.
    """

    place: str
    name: str
    html: str


def row_pages(report: Report, source: Source, encoder: ChatEncoder) -> Iterator[RowPage]:
    """The pages of the first :data:`MOST_PAGES` rows that findings name, in the order of the data set.

    A row that cannot be encoded gets its error and its JSON.
    """
    wanted = set(list(dict.fromkeys(report.named_rows))[:MOST_PAGES])
    reader = RowReader(report.settings.rows, encoder)
    for raw in UntilBroken(source.rows()):
        if not wanted:
            return
        if raw.place in wanted:
            wanted.discard(raw.place)
            yield RowPage(raw.place, f"row-{raw.index}.html", _page(raw, report, reader, encoder))


def _page(raw: RawRow, report: Report, reader: RowReader, encoder: ChatEncoder) -> str:
    settings = report.settings
    try:
        views = views_of_chat(
            reader.read(raw),
            encoder,
            title=raw.place,
            end_of_turn=settings.end_of_turn,
            train_on=settings.train_on,
        )
    # Rows are here because something is wrong with them, and nobody can foresee what.
    except Exception as error:
        return _failed(raw, error)
    return page_of_views(views, mask=_mask(views[0], str(settings.loss)), subtitle=report.tokenizer)


def _mask(view: View, loss: str) -> str:
    known = view.sides[0].masks
    return next((name for name in ("loss", loss) if name in known), "none")


def _failed(raw: RawRow, error: Exception) -> str:
    value = raw.value
    if isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace").rstrip("\n")
        with contextlib.suppress(ValueError, RecursionError):
            text = _indented(json.loads(text))
    else:
        text = _indented(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    left = len(text) - _LONGEST_JSON
    more = f"<p class=dim>{left:,} more characters</p>" if left > 0 else ""
    reason = f"{type(error).__name__}: {one_line(error)}".encode("utf-8", "backslashreplace").decode()
    return html_page(
        raw.place,
        [
            f"<h1>{escape(raw.place)}</h1>",
            f'<p class="partial">{escape(reason)}</p>',
            f"<pre><code>{escape(text[:_LONGEST_JSON])}</code></pre>{more}",
        ],
    )


def _indented(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=2, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(value)
