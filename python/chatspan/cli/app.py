"""The command ``chatspan``: its sub-commands, and what becomes of their errors."""

from __future__ import annotations

from typing import Annotated

import typer

from chatspan._core import __version__
from chatspan.cli.audit import audit
from chatspan.cli.convert import convert
from chatspan.cli.encode import encode
from chatspan.cli.failures import exit_code_of, stoppable
from chatspan.cli.inspect import inspect
from chatspan.cli.teacher import teacher

app = typer.Typer(
    name="chatspan",
    help="Whose is each token of a rendered chat? See one conversation, audit a data set, encode it, convert it.",
    epilog="FILE is JSON lines, a JSON array, Parquet, Arrow, CSV, a folder or a data set of the Hugging Face hub, "
    "with 'messages', 'conversations', 'prompt' and 'completion', or 'turns' in each row; or - for piped input.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (inspect, audit, encode, convert, teacher):
    app.command()(stoppable(_command))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chatspan {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> int:
    """Runs the command; returns its exit code: 0, 1 for problems and errors, 2 for wrong usage, 130 when stopped."""
    return exit_code_of(app)
