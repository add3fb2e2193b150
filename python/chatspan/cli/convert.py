"""``chatspan convert``: rows of any dialect, or session logs → JSON lines of messages, or of traces."""

from __future__ import annotations

import enum
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from chatspan.cli import options
from chatspan.cli.console import RowProgress, say, waiting
from chatspan.cli.failures import line_of
from chatspan.cli.output import growing_output
from chatspan.cli.text import json_text, plural

if TYPE_CHECKING:
    from chatspan.rows.conversations import Chat
    from chatspan.rows.options import RowOptions
    from chatspan.rows.row import RawRow


class FormName(str, enum.Enum):
    """What is written."""

    messages = "messages"
    traces = "traces"


def convert(
    file: options.File,
    to: Annotated[
        FormName,
        options.choice(
            FormName,
            "--to",
            help="messages: rows for training; traces: for ComposerDataCollator, with the turn after each failed "
            "tool result marked.",
        ),
    ] = FormName.messages,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The file to write.", show_default="standard output"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --out: overwrite an existing file.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="Read only the first N rows.", show_default=False),
    ] = None,
    column: options.Column = None,
    row_format: options.RowFormat = None,
    tool_arguments: options.ToolArguments = options.ToolArgumentsName.auto,
    null_content: options.NullContent = options.NullContentName.auto,
    text_parts: options.TextParts = options.TextPartsName.auto,
    split: options.Split = "train",
    subset: options.Subset = None,
) -> None:
    """Write any data set, or a session log of Claude Code or Codex, as JSON lines in OpenAI's shape.

    Each line has 'messages', and 'tools', 'documents', 'chat_template_kwargs', 'loss_messages' and 'trace_id' if the
    row has them. A row that fails is named on standard error, and the exit code is 1.
    """
    from chatspan.rows.row import UntilBroken
    from chatspan.rows.sources import open_source

    with waiting(f"opening {file}"):
        source = open_source(file, split=split, subset=subset)
    tally = _Tally()
    tally.notes.update(note.message for note in getattr(source, "notes", ()))
    with ExitStack() as stack:
        target = sys.stdout if out is None else stack.enter_context(growing_output(out, force=force))
        progress = stack.enter_context(RowProgress("converting"))
        how = options.row_options(column, row_format, tool_arguments, null_content, text_parts)
        rows = UntilBroken(source.rows())
        _convert(islice(rows, limit), how, to, target, tally, progress)
    _report(tally, to, out)
    if rows.error is not None:
        raise rows.error
    if tally.failed:
        raise typer.Exit(1)


@dataclass
class _Tally:
    """What has been done, for the summary."""

    written: int = 0
    failed: int = 0
    error_sites: int = 0
    notes: Counter[str] = field(default_factory=Counter)


def _convert(
    rows: Iterable[RawRow], how: RowOptions, to: FormName, target: TextIO, tally: _Tally, progress: RowProgress
) -> None:
    from chatspan.errors import ChatspanError
    from chatspan.rows.reader import RowReader
    from chatspan.rows.row import naming

    reader = RowReader(how)
    for raw in rows:
        try:
            with naming([raw]):
                chat = reader.read(raw)
                row = _messages_row(chat) if to is FormName.messages else _trace_row(chat)
                line = _line(row, raw)
        except ChatspanError as error:
            tally.failed += 1
            say(line_of(error))
        else:
            target.write(line)
            tally.written += 1
            tally.error_sites += sum(1 for turn in row.get("turns", ()) if turn.get("tool_error"))
            tally.notes.update(note.message for note in getattr(chat, "notes", ()))
        progress.advance(1, raw.position)


def _messages_row(chat: Chat) -> dict[str, Any]:
    row = chat.as_row()
    marks = ("tool_error", "error_meta", "is_error")
    messages = [{key: value for key, value in each.items() if key not in marks} for each in row["messages"]]
    return {**row, "messages": messages, **_trace_id(chat.row)}


def _trace_row(chat: Chat) -> dict[str, Any]:
    from chatspan.rows.dialects.tool_errors import trace_of

    row = chat.as_row()
    messages = row.pop("messages")
    if chat.tool_errors:
        # A trace has been marked by those who know its tools.
        return {**_trace_id(chat.row), "turns": messages, **row}
    return {**_trace_id(chat.row), **trace_of(messages), **row}


def _trace_id(row: Mapping[str, Any]) -> dict[str, Any]:
    found = next((row[key] for key in ("trace_id", "session_id", "id") if row.get(key) is not None), None)
    return {} if found is None else {"trace_id": str(found)}


def _line(row: Mapping[str, Any], raw: RawRow) -> str:
    """A row as a line of JSON.

    Raises:
        RowError: it holds what JSON cannot.
    """
    try:
        return json_text(row) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise raw.error(
            f"it holds a value that JSON cannot represent: {error}; drop that column or write it as text"
        ) from None


def _report(tally: _Tally, to: FormName, out: Path | None) -> None:
    marked = f", {plural(tally.error_sites, 'error site')} marked" if to is FormName.traces else ""
    place = "" if out is None else f" to {out}"
    failed = f"; {plural(tally.failed, 'row')} failed" if tally.failed else ""
    say(f"{plural(tally.written, 'row')} written{place}{marked}{failed}")
    for message, count in tally.notes.most_common():
        say(f"{count:,} × {message}")
