"""Options that sub-commands share."""

from __future__ import annotations

import enum
import os
from typing import Annotated

import typer


class LossName(str, enum.Enum):
    """What the loss is on."""

    turn = "turn"
    content = "content"
    generation = "generation"


class EndName(str, enum.Enum):
    """How a turn ends."""

    token = "token"
    all = "all"
    none = "none"
    next_header = "next_header"


_SOURCE = "Data set"
_MODEL = "Tokenizer"

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="JSON lines, a JSON array, Parquet, a folder, or a name on the Hugging Face hub.",
        show_default=False,
    ),
]
Tokenizer = Annotated[
    str,
    typer.Option(
        "--tokenizer",
        "-t",
        metavar="NAME",
        help="A folder, or a model on the Hugging Face hub.",
        rich_help_panel=_MODEL,
        show_default=False,
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="FILE",
        help="A chat template (a .jinja file, or the template itself) in place of the tokenizer's own.",
        rich_help_panel=_MODEL,
        show_default=False,
    ),
]
Column = Annotated[
    str | None,
    typer.Option(
        "--column",
        metavar="NAME",
        help="The column that holds the messages, if it is not one of the usual ones.",
        rich_help_panel=_SOURCE,
        show_default=False,
    ),
]
Split = Annotated[
    str, typer.Option("--split", metavar="NAME", help="Of a folder or a hub name.", rich_help_panel=_SOURCE)
]
Subset = Annotated[
    str | None,
    typer.Option(
        "--subset",
        metavar="NAME",
        help="Of a hub name: its configuration.",
        rich_help_panel=_SOURCE,
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Loss = Annotated[LossName, typer.Option("--loss", help="What the loss is on: whole turns, their contents, or tags.")]
EndOfTurn = Annotated[
    EndName, typer.Option("--end-of-turn", help="What of a turn's end is in it: its token, blanks behind it too, …")
]
Processes = Annotated[
    int | None,
    typer.Option("--processes", "-p", min=1, metavar="N", help="Worker processes.", show_default="one a CPU"),
]


def process_count(given: int | None) -> int:
    """How many worker processes, where none are asked for."""
    return given or os.cpu_count() or 1
