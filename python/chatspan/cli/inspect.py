"""``chatspan inspect``: one conversation, whose each token is, and what is in the loss."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatspan.cli import options
from chatspan.cli.console import say, stdout, waiting
from chatspan.cli.failures import CliError
from chatspan.cli.output import check_output, write_output
from chatspan.cli.text import json_text, printable, size_text

if TYPE_CHECKING:
    from chatspan.view.view import View

_TEACHER = "Student and teacher"


class HintPlacementName(str, enum.Enum):
    """Where hints go."""

    before_turn = "before_turn"
    append_to_previous = "append_to_previous"
    first_system = "first_system"


def inspect(
    file: options.File,
    tokenizer: options.TokenizerOrNone = None,
    processor: options.Processor = None,
    row: Annotated[int, typer.Option("--row", "-n", min=0, metavar="N", help="The row to show, counted from 0.")] = 0,
    template: options.Template = None,
    loss: options.Loss = options.LossName.turn,
    end_of_turn: options.EndOfTurn = options.EndName.token,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write one self-contained HTML page.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --html: overwrite an existing file.")] = False,
    as_json: options.Json = False,
    hint: Annotated[
        str,
        typer.Option(
            "--hint",
            metavar="TEXT",
            help="For a trace: the teacher's hint at a tool error; {tool}, {error} and {message} are filled in.",
            rich_help_panel=_TEACHER,
        ),
    ] = "The last call of {tool} failed with: {message}. Do not repeat it unchanged.",
    hint_placement: Annotated[
        HintPlacementName,
        options.choice(
            HintPlacementName, "--hint-placement", help="For a trace: where the hint goes.", rich_help_panel=_TEACHER
        ),
    ] = HintPlacementName.before_turn,
    hint_role: Annotated[
        str,
        typer.Option(
            "--hint-role", metavar="ROLE", help="For a trace: the role of the hint.", rich_help_panel=_TEACHER
        ),
    ] = "system",
    column: options.Column = None,
    row_format: options.RowFormat = None,
    tool_arguments: options.ToolArguments = options.ToolArgumentsName.auto,
    null_content: options.NullContent = options.NullContentName.auto,
    text_parts: options.TextParts = options.TextPartsName.auto,
    split: options.Split = "train",
    subset: options.Subset = None,
) -> None:
    """See one conversation: each token's message and kind, and which tokens are in the loss.

    A trace with tool errors, or a row with 'teacher_messages', is shown as student and teacher.
    """
    from chatspan.cli.load import load_encoder
    from chatspan.rows.reader import RowReader
    from chatspan.rows.row import naming
    from chatspan.rows.sources import open_source, read_row
    from chatspan.view.rows import HintOptions, views_of_chat

    name = options.model_name(tokenizer, processor)
    if html is not None:
        if as_json:
            raise CliError("--html and --json exclude each other: use only one of them")
        check_output(html, force=force)
    with waiting(f"reading {file}"):
        raw = read_row(open_source(file, split=split, subset=subset), row)
    encoder = load_encoder(tokenizer, template, processor)
    how = options.row_options(column, row_format, tool_arguments, null_content, text_parts)
    chat = RowReader(how, encoder).read(raw)
    for note in chat.notes:
        say(str(note))
    hints = HintOptions(hint, hint_placement.value, hint_role)
    with waiting("loading the tokenizer in Rust, rendering and tokenizing"), naming([raw]):
        views = views_of_chat(chat, encoder, title=raw.place, end_of_turn=end_of_turn.value, hints=hints)
    if as_json:
        from chatspan.view.as_json import view_as_json

        typer.echo(json_text([view_as_json(view) for view in views]))
        return
    if html is not None:
        from chatspan.page.build import page_of_views

        page = page_of_views(views, mask=_mask_of(views[0], loss), subtitle=name)
        write_output(html, page, force=force)
        stdout().print(
            f"wrote {printable(str(html))}: {size_text(len(page.encode()))}, open it in a browser", soft_wrap=True
        )
        return
    from chatspan.cli.inspect_terminal import print_view

    for view in views:
        print_view(stdout(), view, _mask_of(view, loss))


def _mask_of(view: View, loss: options.LossName) -> str:
    """The name of the mask that is marked."""
    mask = "loss" if "loss" in view.sides[0].masks else loss.value
    if mask not in view.sides[0].masks:
        reason = view.sides[0].refused.get(mask, "the chat template has no {% generation %} blocks")
        raise CliError(f"--loss {mask} cannot be determined: {reason}; use --loss content")
    return mask
