"""Options that sub-commands share."""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from chatspan.rows.options import RowOptions


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
_ROWS = "Reading rows"

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="JSON lines, a JSON array, Parquet, a folder, or a name on the Hugging Face hub.",
        show_default=False,
    ),
]
_TOKENIZER = typer.Option(
    "--tokenizer",
    "-t",
    metavar="NAME",
    help="A folder, or a model on the Hugging Face hub.",
    rich_help_panel=_MODEL,
    show_default=False,
)
Tokenizer = Annotated[str, _TOKENIZER]
# Where a processor may be given in its place.
TokenizerOrNone = Annotated[str | None, _TOKENIZER]
Processor = Annotated[
    str | None,
    typer.Option(
        "--processor",
        metavar="NAME",
        help="In place of --tokenizer, for rows with images, videos or audio: a folder, or a model on the hub.",
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
    str,
    typer.Option("--split", metavar="NAME", help="The split of a folder or a hub data set.", rich_help_panel=_SOURCE),
]
Subset = Annotated[
    str | None,
    typer.Option(
        "--subset",
        metavar="NAME",
        help="The configuration of a hub data set.",
        rich_help_panel=_SOURCE,
        show_default=False,
    ),
]


def choice(names: type[enum.Enum], flag: str, *, help: str, **more: Any) -> Any:
    """An option that is one of an enumeration, whose values its help names: a narrow terminal breaks them anywhere
    where they stand in a column of their own."""
    values = ", ".join(str(name.value) for name in names)
    return typer.Option(flag, metavar="WHICH", help=f"{help} One of: {values}.", **more)


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Loss = Annotated[
    LossName, choice(LossName, "--loss", help="What is in the loss: whole turns, their contents, or tags.")
]
EndOfTurn = Annotated[
    EndName,
    choice(EndName, "--end-of-turn", help="What of a turn's end is in the loss: its token, whitespace after it too, …"),
]
Processes = Annotated[
    int | None,
    typer.Option("--processes", "-p", min=1, metavar="N", help="Worker processes.", show_default="one per CPU"),
]


def model_name(tokenizer: str | None, processor: str | None) -> str:
    """The name of the tokenizer or the processor.

    Raises:
        typer.BadParameter: neither is given, or both are.
    """
    if (tokenizer is None) == (processor is None):
        what = "one of them is needed" if tokenizer is None else "they exclude each other: use only one of them"
        raise typer.BadParameter(what, param_hint="'--tokenizer' / '--processor'")
    return str(tokenizer if processor is None else processor)


def process_count(given: int | None) -> int:
    """How many worker processes, where none are asked for."""
    return given or os.cpu_count() or 1


class RowFormatName(str, enum.Enum):
    """The dialect of rows."""

    messages = "messages"
    sharegpt = "sharegpt"
    anthropic = "anthropic"
    trace = "trace"
    prompt_completion = "prompt_completion"
    alpaca = "alpaca"
    xlam = "xlam"
    glaive = "glaive"
    atif = "atif"


class ToolArgumentsName(str, enum.Enum):
    """What becomes of arguments that are JSON text."""

    auto = "auto"
    parse = "parse"
    as_given = "as_given"


class NullContentName(str, enum.Enum):
    """What becomes of a null content beside calls."""

    auto = "auto"
    empty = "empty"
    as_given = "as_given"


class TextPartsName(str, enum.Enum):
    """What becomes of a list of text parts."""

    auto = "auto"
    # As a member, `join` would take the place of a method of str.
    joined = "join"
    as_given = "as_given"


RowFormat = Annotated[
    RowFormatName | None,
    choice(
        RowFormatName,
        "--row-format",
        help="The format of the rows, if their columns do not show it.",
        rich_help_panel=_ROWS,
        show_default=False,
    ),
]
ToolArguments = Annotated[
    ToolArgumentsName,
    choice(
        ToolArgumentsName,
        "--tool-arguments",
        help="Arguments of calls that are JSON text: read as objects, unless the template takes none; always; never.",
        rich_help_panel=_ROWS,
    ),
]
NullContent = Annotated[
    NullContentName,
    choice(
        NullContentName,
        "--null-content",
        help="A null content beside calls: empty if the template needs it; always empty; as given.",
        rich_help_panel=_ROWS,
    ),
]
TextParts = Annotated[
    TextPartsName,
    choice(
        TextPartsName,
        "--text-parts",
        help="A content that is a list of text parts: joined if the template takes none; always; never.",
        rich_help_panel=_ROWS,
    ),
]
TrainOn = Annotated[
    str,
    typer.Option(
        "--train-on",
        metavar="WHICH",
        help="Which messages are trained: all of the assistant, last, or roles with commas between them.",
    ),
]


def row_options(
    column: str | None,
    row_format: RowFormatName | None,
    tool_arguments: ToolArgumentsName,
    null_content: NullContentName,
    text_parts: TextPartsName,
) -> RowOptions:
    """How rows are read."""
    from chatspan.rows.options import RowOptions

    return RowOptions(
        column=column,
        format=None if row_format is None else row_format.value,
        tool_arguments=tool_arguments.value,
        null_content=null_content.value,
        text_parts=text_parts.value,
    )


def train_on(given: str) -> Any:
    """The value of ``train_on``: a name, or roles."""
    return given if given in ("all", "last") else [role.strip() for role in given.split(",")]
