"""``chatspan inspect``: one conversation, whose each token is, and what is in the loss."""

from __future__ import annotations

import enum
import json
from typing import Annotated

import typer

from chatspan.cli import options
from chatspan.cli.console import stdout, waiting
from chatspan.cli.failures import CliError

_TEACHER = "Student and teacher"


class HintPlacementName(str, enum.Enum):
    """Where hints go."""

    before_turn = "before_turn"
    append_to_previous = "append_to_previous"
    first_system = "first_system"


def inspect(
    file: options.File,
    tokenizer: options.Tokenizer,
    row: Annotated[int, typer.Option("--row", "-n", min=0, metavar="N", help="Which row, from 0 on.")] = 0,
    template: options.Template = None,
    loss: options.Loss = options.LossName.turn,
    end_of_turn: options.EndOfTurn = options.EndName.token,
    as_json: options.Json = False,
    hint: Annotated[
        str,
        typer.Option(
            "--hint",
            metavar="TEXT",
            help="Of a trace: the teacher's hint at a tool error; {tool}, {error} and {message} are filled in.",
            rich_help_panel=_TEACHER,
        ),
    ] = "The last call of {tool} failed with: {message}. Do not repeat it unchanged.",
    hint_placement: Annotated[
        HintPlacementName, typer.Option("--hint-placement", help="Of a trace.", rich_help_panel=_TEACHER)
    ] = HintPlacementName.before_turn,
    hint_role: Annotated[
        str, typer.Option("--hint-role", metavar="ROLE", help="Of a trace.", rich_help_panel=_TEACHER)
    ] = "system",
    column: options.Column = None,
    split: options.Split = "train",
    subset: options.Subset = None,
) -> None:
    """See one conversation: each token's message and kind, and which tokens are in the loss.

    A trace with tool errors, or a row with 'teacher_messages', is shown as student and teacher.
    """
    from chatspan.cli.load import load_encoder
    from chatspan.dataset.conversations import chat_of
    from chatspan.dataset.sources import open_source, read_row
    from chatspan.inspection import HintOptions, views_of_chat

    with waiting(f"reading {file}"):
        chat = chat_of(raw := read_row(open_source(file, split=split, subset=subset), row), column)
    encoder = load_encoder(tokenizer, template)
    hints = HintOptions(hint, hint_placement.value, hint_role)
    with waiting("loading the tokenizer in Rust, rendering and tokenizing"):
        views = views_of_chat(chat, encoder, title=raw.place, end_of_turn=end_of_turn.value, hints=hints)
    if as_json:
        from chatspan.view_json import view_as_json

        typer.echo(json.dumps([view_as_json(view) for view in views], ensure_ascii=False))
        return
    from chatspan.cli.inspect_terminal import print_view

    for view in views:
        mask = "loss" if "loss" in view.sides[0].masks else loss.value
        if mask not in view.sides[0].masks:
            reason = view.sides[0].refused.get(mask, "the chat template has no {% generation %} blocks")
            raise CliError(f"--loss {mask} cannot be told: {reason}; try --loss content")
        print_view(stdout(), view, mask)
