"""``chatspan encode``: a data set, tokenized, with labels, in files that ``datasets`` loads."""

from __future__ import annotations

import enum
import gc
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatspan.cli import options
from chatspan.cli.console import RowProgress, say, waiting
from chatspan.cli.failures import Stopped
from chatspan.cli.text import json_text, plural, printable

if TYPE_CHECKING:
    from chatspan.encoder import ChatEncoder
    from chatspan.rows.row import Source
    from chatspan.shards.plan import EncodePlan, Manifest
    from chatspan.shards.run import Summary, WriteShards

_WRITING = "What is written"


class FormatName(str, enum.Enum):
    """What ``datasets`` loads it with."""

    parquet = "parquet"
    arrow = "arrow"


class TruncationName(str, enum.Enum):
    """What becomes of rows that are too long."""

    error = "error"
    left = "left"
    right = "right"


class SpecialTokensName(str, enum.Enum):
    """What becomes of control tokens in the text of fields."""

    as_rendered = "as_rendered"
    escape = "escape"
    error = "error"


class EngineName(str, enum.Enum):
    """What the worker processes run on."""

    local = "local"
    ray = "ray"


def encode(
    file: options.File,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write.", show_default=False)],
    tokenizer: options.TokenizerOrNone = None,
    processor: options.Processor = None,
    file_format: Annotated[
        FormatName,
        options.choice(FormatName, "--format", help="load_dataset loads parquet, load_from_disk loads arrow."),
    ] = FormatName.parquet,
    template: options.Template = None,
    loss: options.Loss = options.LossName.turn,
    end_of_turn: options.EndOfTurn = options.EndName.token,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=1, metavar="N", help="Maximum tokens per row.", show_default=False),
    ] = None,
    truncation: Annotated[
        TruncationName,
        options.choice(TruncationName, "--truncation", help="Longer rows: reject them, or cut them on this side."),
    ] = TruncationName.error,
    special_tokens: Annotated[
        SpecialTokensName,
        options.choice(
            SpecialTokensName,
            "--special-tokens",
            help="Control tokens in the text of fields: as in transformers, as plain text, or reject the row.",
        ),
    ] = SpecialTokensName.as_rendered,
    processes: options.Processes = None,
    engine: Annotated[
        EngineName,
        options.choice(
            EngineName,
            "--engine",
            help="Where the processes run: on this machine, or on a Ray cluster (RAY_ADDRESS, otherwise one that "
            "runs here, otherwise a new one). Only this machine writes DIR.",
        ),
    ] = EngineName.local,
    rows_per_shard: Annotated[
        int, typer.Option("--rows-per-shard", min=1, metavar="N", help="Rows per file.", rich_help_panel=_WRITING)
    ] = 1000,
    force: Annotated[
        bool, typer.Option("--force", help="Start over if the folder holds an earlier run.", rich_help_panel=_WRITING)
    ] = False,
    as_json: options.Json = False,
    column: options.Column = None,
    row_format: options.RowFormat = None,
    tool_arguments: options.ToolArguments = options.ToolArgumentsName.auto,
    null_content: options.NullContent = options.NullContentName.auto,
    text_parts: options.TextParts = options.TextPartsName.auto,
    train_on: options.TrainOn = "all",
    loss_weight: Annotated[
        bool, typer.Option("--loss-weight", help="Write the column loss_weight: the weights of messages' own flags.")
    ] = False,
    split: options.Split = "train",
    subset: options.Subset = None,
) -> None:
    """Tokenize a data set, with labels, into files that datasets loads.

    Columns: row_index, input_ids, labels (-100 for tokens not in the loss), message_index, kind; with --processor
    also render and media, from which chatspan.EncodedMediaCollator makes batches with pixels. A row that fails goes to
    rejects.jsonl with its error, and the exit code is 1. Run the same command again to resume a run that was stopped.
    """
    from chatspan.cli.load import load_encoder
    from chatspan.rows.sources import open_source
    from chatspan.shards.plan import MANIFEST, EncodePlan, manifest_of, require_apart

    require_apart(out, file, options.model_name(tokenizer, processor), template)
    if engine is EngineName.ray:
        from chatspan.ray.cluster import require_ray

        # Said before anything is waited for.
        require_ray()
    with waiting(f"opening {file}"):
        source = open_source(file, split=split, subset=subset)
    plan = EncodePlan(
        source=file,
        tokenizer=tokenizer,
        processor=processor,
        template=template,
        column=column,
        row_format=None if row_format is None else row_format.value,
        tool_arguments=tool_arguments.value,
        null_content=null_content.value,
        text_parts=text_parts.value,
        train_on=options.train_on(train_on),
        loss_weight=loss_weight,
        split=split,
        subset=subset,
        loss=loss.value,
        end_of_turn=end_of_turn.value,
        max_length=max_length,
        truncation=truncation.value,
        special_tokens=special_tokens.value,
        file_format=file_format.value,
        rows_per_shard=rows_per_shard,
    )
    # Options that cannot be are said before a folder is made.
    plan.supervised()
    # A run that is complete needs no native tokenizer.
    encoder = load_encoder(tokenizer, template, processor, ahead=force or not (out / MANIFEST).exists())
    workers, write = _workers(engine, processes), _writer(engine)
    # What is loaded stays: Python need not look at it whenever it looks for garbage.
    gc.freeze()
    try:
        summary = _encoded(source, plan, encoder, manifest_of(plan, encoder), out, force, workers, write)
    finally:
        gc.unfreeze()
    _report(summary, file_format, as_json)
    if summary.rejected or summary.broken:
        raise typer.Exit(1)


def _writer(engine: EngineName) -> WriteShards:
    """What writes the shards."""
    from chatspan.shards.run import write_on_this_machine

    if engine is EngineName.local:
        return write_on_this_machine
    from chatspan.ray.shards import write_on_ray

    return write_on_ray


def _encoded(
    source: Source,
    plan: EncodePlan,
    encoder: ChatEncoder,
    manifest: Manifest,
    out: Path,
    force: bool,
    workers: AbstractContextManager[int],
    write: WriteShards,
) -> Summary:
    """The run, or what is left of it, with nobody else in the folder."""
    from chatspan.shards.lock import locked
    from chatspan.shards.records import written
    from chatspan.shards.run import encode_files, prepare

    with locked(out, say):
        with waiting(f"comparing {plan.source} with {out}"):
            summary = prepare(out, manifest, force=force, source=source, say=say)
        if summary is not None:
            return summary
        before = sum(record.rows for record in written(out).values())
        if before:
            say(f"{plural(before, 'row')} are there already")
        try:
            with workers as wanted, RowProgress("encoding") as progress:
                return encode_files(
                    *(source, plan, encoder, out), processes=wanted, progress=progress.advance, write=write
                )
        except KeyboardInterrupt:
            rows = sum(record.rows for record in written(out).values())
            raise Stopped(
                f"stopped; {plural(rows, 'row')} in {out} are complete; run the same command again to resume"
            ) from None


@contextmanager
def _workers(engine: EngineName, processes: int | None) -> Iterator[int]:
    """The engine's, while they are needed: how many there shall be."""
    if engine is EngineName.local:
        yield options.process_count(processes)
        return
    from chatspan.ray.cluster import connected, cpu_count

    with ExitStack() as stack:
        with waiting("connecting to Ray"):
            stack.enter_context(connected())
        # Ray says there that a worker is gone, and stdout is for results.
        stack.enter_context(redirect_stdout(sys.stderr))
        yield processes or cpu_count()


def _report(summary: Summary, file_format: FormatName, as_json: bool) -> None:
    if as_json:
        typer.echo(json_text(asdict(summary)))
        return
    part = summary.trained / summary.tokens if summary.tokens else 0.0
    was = "already " if summary.rows_before == summary.rows else ""
    typer.echo(
        f"{plural(summary.rows - summary.rejected, 'row')} {was}in {printable(summary.out)} "
        f"({plural(summary.shards, 'file')}): {plural(summary.tokens, 'token')}, {summary.trained:,} "
        f"({part:.0%}) in the loss" + (f"; {plural(summary.cut, 'row')} cut" if summary.cut else "")
    )
    for role in summary.missing_roles:
        say(f"no row has a message of the selected role {role!r}")
    for message, count in summary.notes.items():
        say(f"{plural(count, 'row')}: {message}")
    loader = "load_from_disk" if file_format is FormatName.arrow else "load_dataset"
    if summary.shards:
        typer.echo(f"datasets.{loader}({summary.out!r}) loads it")
    if summary.rejected:
        file = Path(summary.out) / "rejects.jsonl"
        say(f"{plural(summary.rejected, 'row')} rejected, each with its error in {file}{_first_reject(file)}")
    if summary.broken:
        say(summary.broken)


def _first_reject(file: Path) -> str:
    """The first row that was rejected, and why."""
    try:
        with file.open(encoding="utf-8", errors="surrogatepass") as lines:
            reject = json.loads(next(lines))
    # Of a run that was whole before, its file may be gone.
    except OSError:
        return ""
    return f"; the first: {reject['place']}: {reject['message']}"
