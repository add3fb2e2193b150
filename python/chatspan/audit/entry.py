"""An audit from Python: a data set in, a report out, which a notebook shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from chatspan.attribute.turns import EndOfTurn
from chatspan.audit.report import Report
from chatspan.audit.report_html import report_as_fragment
from chatspan.audit.run import audit
from chatspan.audit.settings import AuditSettings
from chatspan.audit.totals import Totals
from chatspan.encoder import ChatEncoder
from chatspan.errors import OptionError, is_a, quoted
from chatspan.options import one_of, require_switch
from chatspan.rollout.chats import require_encoder
from chatspan.rollout.stability.run import stability
from chatspan.rows.options import RowKeywords, RowOptions, checked
from chatspan.rows.row import RawRow, listed_rows, rows_between
from chatspan.rows.sources import open_source
from chatspan.supervised.options import SupervisedOptions, TrainOn
from chatspan.tokenize.stops import stop_ids

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Rows that are fetched at once: a slice of a data set is read faster than its rows one by one.
_FETCHED = 256


class DatasetReport(Report):
    """What :func:`audit_dataset` returns.

    ``problems`` is how many kinds of problems there are; ``groups`` are the findings, problems first, each with its
    ``category``, ``what``, ``severity``, ``advice``, ``rows`` and first ``places``; ``as_json()`` has all of it.
    """

    def __repr__(self) -> str:
        rows, problems = self.totals.rows, self.problems
        return f"DatasetReport({self.source}, {rows:,} rows, {self.tokens:,} tokens, {problems} kinds of problems)"

    def to_html(self) -> str:
        """The report as an HTML fragment: self-contained, for light and dark, without a script."""
        return report_as_fragment(self)

    def _repr_html_(self) -> str:
        return self.to_html()


def audit_dataset(
    data: Any,
    encoder: ChatEncoder,
    *,
    loss_on: Literal["turn", "content", "generation"] = "turn",
    end_of_turn: EndOfTurn = "token",
    train_on: TrainOn = "all",
    max_length: int | None = None,
    off_prompt: Literal["keep", "error"] = "keep",
    show_turns: bool = False,
    show_stability: bool = False,
    limit: int | None = None,
    processes: int = 1,
    split: str = "train",
    subset: str | None = None,
    **row_options: Unpack[RowKeywords],
) -> DatasetReport:
    """What is wrong with a data set before a model is trained on it, as ``chatspan audit`` finds it.

    A notebook shows the report with tables and histograms. A row that cannot be encoded is counted in the report and
    raises nothing.

    Args:
        data: rows as :class:`chatspan.ChatCollator` takes them (a list, a :class:`datasets.Dataset`); or the name of a
            file, a folder or a data set of the hub, as the command takes it.
        encoder: the tokenizer and the chat template.
        loss_on, end_of_turn, train_on: what is trained, as :class:`chatspan.ChatCollator` takes them.
        max_length: how many tokens a row of the training may have; longer rows are problems.
        off_prompt: whether turns that no prompt of inference leads to are notes (``"keep"``) or problems (``"error"``).
        show_turns: whether the report shows where turns start and end.
        show_stability: whether it shows what the template does with rollouts; renders the prompt of each turn.
        limit: the first rows only.
        processes: how many work. More than one needs rows that can be pickled.
        split, subset: of a data set of the hub.
        row_options: how rows are read: the fields of :class:`chatspan.RowOptions`.

    Returns:
        A report: ``problems``, how many kinds there are; ``groups``, the findings, with the first places of each;
        ``as_json()``, all of it as dicts; ``to_html()``, what a notebook shows.

    Raises:
        OptionError: an option that cannot be.
        SourceError: ``data`` names nothing that can be read, or has no rows.
        RowError: ``data`` is no list of rows.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> good = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}
        >>> report = chatspan.audit_dataset([good, {"messages": [{"role": "user", "content": "Hi"}]}], encoder)
        >>> [(group.category, group.places[0].row) for group in report.groups if group.severity == "problem"]
        [('nothing to train on', 'row 1')]
    """
    require_encoder(encoder, takes_processor=True)
    require_switch("show_turns", show_turns)
    require_switch("show_stability", show_stability)
    for name, value in (("limit", 1 if limit is None else limit), ("processes", processes)):
        if type(value) is not int or value < 1:
            raise OptionError(f"{name}={quoted(value)}: give a whole number, at least 1")
    tokenizer = encoder.tokenizer
    name_or_path = str(getattr(tokenizer, "name_or_path", ""))
    options = _checked(loss_on, off_prompt, end_of_turn, train_on, max_length, checked(row_options, audit_dataset))
    settings = AuditSettings(
        loss_on,
        end_of_turn,
        max_length,
        stop_ids(tokenizer, name_or_path),
        off_prompt,
        show_turns,
        RowOptions(**row_options),
        options.train_on,
        show_stability,
    )
    source = open_source(data, split=split, subset=subset) if is_a(data, str) else _RowsInMemory(data)
    report = DatasetReport(source.name, name_or_path, settings, Totals())
    if show_stability:
        report.probes = stability(encoder)
    audit(source, encoder, settings, limit=limit, processes=processes, totals=report.totals)
    return report


def _checked(
    loss_on: Any, off_prompt: Any, end_of_turn: Any, train_on: Any, max_length: Any, rows: RowKeywords
) -> SupervisedOptions:
    """What is trained, with the checks that a collator makes."""
    for name, value, choices in (
        ("loss_on", loss_on, ("turn", "content", "generation")),
        ("off_prompt", off_prompt, ("keep", "error")),
    ):
        if not one_of(value, choices):
            raise OptionError(f"{name}={quoted(value)}: use one of {', '.join(map(repr, choices))}")
    return SupervisedOptions(
        loss_on=loss_on, end_of_turn=end_of_turn, train_on=train_on, max_length=max_length, truncation="error", **rows
    )


class _RowsInMemory:
    """Rows that a program has, as a source."""

    name = "rows in memory"

    def __init__(self, rows: Any) -> None:
        self._rows = listed_rows(rows)

    def rows(self, start: int = 0, passed: object = None) -> Iterator[RawRow]:
        count = len(self._rows)
        for first in range(start, count, _FETCHED):
            for index, row in enumerate(rows_between(self._rows, first, min(first + _FETCHED, count)), first):
                yield RawRow(index, f"row {index}", row, (index + 1) / count)
