"""``chatspan audit``: a whole data set, what is wrong with it, and what other libraries would train."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatspan.cli import options
from chatspan.cli.console import RowProgress, say, stdout, waiting
from chatspan.cli.failures import STOPPED, CliError
from chatspan.cli.output import check_output, write_output
from chatspan.cli.text import json_text, plural

if TYPE_CHECKING:
    from chatspan.audit.report import Report
    from chatspan.audit.settings import AuditSettings
    from chatspan.encoder import ChatEncoder
    from chatspan.rollout.stability.report import StabilityReport
    from chatspan.rows.row import Source

_AGAINST = "Other libraries"
_OUTPUT = "Output"
_ALL = "all"


class OffPromptName(str, enum.Enum):
    """What turns are that no inference prompt leads to."""

    keep = "keep"
    error = "error"


def audit(
    file: options.File,
    tokenizer: options.TokenizerOrNone = None,
    processor: options.Processor = None,
    template: options.Template = None,
    loss: options.Loss = options.LossName.turn,
    end_of_turn: options.EndOfTurn = options.EndName.token,
    max_length: Annotated[
        int | None,
        typer.Option(
            "--max-length", min=1, metavar="N", help="Maximum tokens per row in training.", show_default=False
        ),
    ] = None,
    off_prompt: Annotated[
        OffPromptName,
        options.choice(
            OffPromptName,
            "--off-prompt",
            help="Report turns that no inference prompt leads to as a note, or with error as a problem.",
        ),
    ] = OffPromptName.keep,
    turns: Annotated[
        bool,
        typer.Option(
            "--turns", help="Show where turns start and end: prompt, opening, turn and stop, with an example."
        ),
    ] = False,
    stability: Annotated[
        bool,
        typer.Option(
            "--stability",
            help="Show what the template does in rollouts, and how many rows as sampled the rows split into. Renders "
            "each turn's prompt.",
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N rows.", show_default=False)
    ] = None,
    processes: options.Processes = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="NAME",
            help="Compare with what this would train: hf, trl, renderers, axolotl-style, verl-style, "
            "prefix-delta or all; several with commas. trl and renderers need their library.",
            rich_help_panel=_AGAINST,
            show_default=False,
        ),
    ] = None,
    against_rows: Annotated[
        int,
        typer.Option(
            "--against-rows",
            min=0,
            metavar="N",
            help="Compare the first N rows, 0 for all: prefix-delta and axolotl-style are slow.",
            rich_help_panel=_AGAINST,
        ),
    ] = 50,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole report as JSON.", rich_help_panel=_OUTPUT)
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="OUT",
            help="Also write the report as an HTML page, with histograms.",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    pages: Annotated[
        bool,
        typer.Option(
            "--row-pages/--no-row-pages",
            help="With --html: write the rows that findings name as pages too, in a folder beside OUT.",
            rich_help_panel=_OUTPUT,
        ),
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.", rich_help_panel=_OUTPUT)] = False,
    train_on: options.TrainOn = "all",
    column: options.Column = None,
    row_format: options.RowFormat = None,
    tool_arguments: options.ToolArguments = options.ToolArgumentsName.auto,
    null_content: options.NullContent = options.NullContentName.auto,
    text_parts: options.TextParts = options.TextPartsName.auto,
    split: options.Split = "train",
    subset: options.Subset = None,
) -> None:
    """Audit a data set: which rows fail, what is dropped, what is trained, and what other libraries would train.

    The exit code is 1 if there is a problem, otherwise 0. Problems are

    - rows that fail, and rows with nothing to train on

    - turns whose header or end cannot be located, or is not trained, or stops nothing

    - text of the conversation, tools and documents that the template drops

    - arguments that are JSON text inside a JSON string, lists and dicts printed as Python does

    - empty calls, and keywords and flags that nothing reads

    - special tokens in text

    - unknown roles, system messages in the middle, tool results without a call

    - rows over --max-length, and media that it cuts

    - with --off-prompt error, turns that no inference prompt leads to

    Everything else is a note, including what --against finds.
    """
    from chatspan.audit.settings import AuditSettings
    from chatspan.cli.load import load_encoder
    from chatspan.rows.sources import open_source
    from chatspan.tokenize.stops import stop_ids

    name = options.model_name(tokenizer, processor)
    names = _peer_names(against or [])
    if processor is not None and (names or stability):
        option = "--against" if names else "--stability"
        raise CliError(f"{option} works only on text: use --tokenizer, and rows without media")
    if html is not None:
        check_output(html, force=force)
        if pages and _folder_of(html).exists() and not force:
            raise CliError(f"{_folder_of(html)} exists: name another file, or write over it with --force")
    with waiting(f"reading {file}"):
        source = open_source(file, split=split, subset=subset)
    # Other libraries import models.
    encoder = load_encoder(tokenizer, template, processor, with_torch=bool(names), ahead=True)
    settings = AuditSettings(
        loss.value,
        end_of_turn.value,
        max_length,
        stop_ids(encoder.tokenizer, name),
        off_prompt.value,
        turns,
        options.row_options(column, row_format, tool_arguments, null_content, text_parts),
        options.train_on(train_on),
        stability,
    )
    report = _report(
        source, encoder, settings, name, names, limit, against_rows or None, processes or os.cpu_count() or 1
    )
    written = 0 if html is None else _write_pages(html, report, source, encoder, force=force, pages=pages)
    if as_json:
        typer.echo(json_text(report.as_json()))
    else:
        from chatspan.cli.audit_terminal import print_report

        print_report(stdout(), report)
    if html is not None:
        beside = f", those of {plural(written, 'row')} in {_folder_of(html)}" if written else ""
        say(f"the page is in {html}{beside}")
    if report.partial is not None:
        say(report.partial)
        raise typer.Exit(STOPPED if report.stopped else 1)
    raise typer.Exit(1 if report.problems else 0)


def _folder_of(html: Path) -> Path:
    """Where the pages of rows are."""
    return html.with_name(f"{html.stem}-rows")


def _write_pages(html: Path, report: Report, source: Source, encoder: ChatEncoder, *, force: bool, pages: bool) -> int:
    """Writes the report's page, and those of rows that it links to; how many."""
    from urllib.parse import quote

    from chatspan.audit.report_html import report_as_html
    from chatspan.page.row_pages import row_pages

    folder = _folder_of(html)
    found: dict[str, str] = {}
    if pages and not report.stopped:
        with waiting("writing the pages of rows"):
            for page in row_pages(report, source, encoder):
                folder.mkdir(exist_ok=True)
                write_output(folder / page.name, page.html, force=force)
                found[page.place] = quote(f"{folder.name}/{page.name}")
    report.pages = found
    write_output(html, report_as_html(report), force=force)
    return len(found)


def _report(
    source: Source,
    encoder: ChatEncoder,
    settings: AuditSettings,
    tokenizer: str,
    names: list[str],
    limit: int | None,
    against_rows: int | None,
    processes: int,
) -> Report:
    """The audit, and the comparison; what there is of them when Ctrl-C stops it."""
    from chatspan.audit.against.run import PeerAuditor, compare_with_peers
    from chatspan.audit.report import Report
    from chatspan.audit.run import audit as run
    from chatspan.audit.totals import Totals
    from chatspan.rows.row import BrokenSourceError

    report = Report(source.name, tokenizer, settings, Totals())
    auditor = None
    if names:
        # A library that is missing is said at once, not when the audit is done.
        with waiting("importing what it is compared with"):
            auditor = PeerAuditor(encoder, settings, names)
    try:
        with waiting("loading the tokenizer in Rust"):
            encoder.warm_up()
        if settings.stability:
            report.probes = _probed(encoder)
        with RowProgress("auditing") as progress:
            try:
                run(
                    *(source, encoder, settings),
                    limit=limit,
                    processes=processes,
                    totals=report.totals,
                    on_rows=progress.advance,
                )
            except BrokenSourceError as error:
                report.partial = error.message
        if auditor is not None:
            rows = min((n for n in (limit, against_rows) if n is not None), default=None)
            with RowProgress(f"comparing with {', '.join(names)}") as progress:
                report.against = []
                compare_with_peers(
                    source,
                    encoder,
                    settings,
                    names,
                    limit=rows,
                    processes=processes,
                    auditor=auditor,
                    reports=report.against,
                    on_rows=progress.advance,
                )
    except KeyboardInterrupt:
        compared = max((peer.rows for peer in report.against), default=0)
        behind = f", and {plural(compared, 'row')} compared" if compared else ""
        report.stopped = True
        report.partial = f"stopped: the report covers only the first {plural(report.totals.rows, 'row')}{behind}"
    return report


def _probed(encoder: ChatEncoder) -> StabilityReport | None:
    """What the template does with rollouts; nothing where it cannot be rendered as transformers does."""
    from chatspan.errors import ChatspanError
    from chatspan.rollout.stability.run import stability

    try:
        return stability(encoder)
    except ChatspanError as error:
        say(f"--stability cannot determine what the template does: {error}")
        return None


def _peer_names(given: list[str]) -> list[str]:
    from chatspan.audit.against.names import PEER_NAMES

    names = [name.strip().lower() for part in given for name in part.split(",") if name.strip()]
    if _ALL in names:
        return list(PEER_NAMES)
    if unknown := [name for name in names if name not in PEER_NAMES]:
        raise CliError(f"--against {unknown[0]}: unknown name; use {', '.join(PEER_NAMES)} or {_ALL}")
    return list(dict.fromkeys(names))
