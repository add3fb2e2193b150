"""Collates a file of traces and shows what became of it: ``make demo``, or ``python examples/demo.py --help``."""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import chatspan
from chatspan.cli.failures import CliError
from chatspan.cli.load import load_tokenizer
from chatspan.cli.text import plural, printable
from chatspan.distillation.config import HintPlacement
from chatspan.options import ROLES
from chatspan.rows.sources import open_source
from rich.console import Console
from rich.progress import Progress
from rich.text import Text
from show import Batch, Site, find_sites, print_keys, print_legend, print_site

HERE = Path(__file__).parent
FEW_BATCHES = 4

Trace = dict[str, Any]


class DemoError(Exception):
    """What ends the demo, in a line."""


@dataclass
class Collated:
    """What is kept of the batches: sums, and what is shown.

    Attributes:
        tokens: visible tokens of all batches and of both sides.
        shown_sites: the first error sites.
        shown_batch: the first batch that has an error site; the last one where none has.
    """

    routes: Counter[str]
    site_count: int = 0
    tokens: int = 0
    seconds: float = 0.0
    shown_sites: list[Site] = field(default_factory=list)
    shown_batch: Batch = field(default_factory=dict)


def main() -> int:
    """Runs the demo; returns the exit code."""
    args = parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A demo piped into a file of an older encoding shall show a "?" rather than end.
        sys.stdout.reconfigure(errors="replace")
    try:
        run(args, Console(markup=False, highlight=False, emoji=False))
    except (DemoError, CliError, chatspan.ChatspanError) as error:
        line = " ".join(f"{error}{advice(error, args)}".split())
        print(f"demo: {printable(line)}", file=sys.stderr)
        return 1
    return 0


def parse_args() -> argparse.Namespace:
    """The options. What the collator's config checks is left to it, so that a typo costs one line."""
    parser = argparse.ArgumentParser(
        prog="demo", description="Collate traces and see student and teacher in the batch."
    )
    parser.add_argument(
        "--traces",
        default=str(HERE / "sample_traces.jsonl"),
        metavar="FILE",
        help="traces, as chatspan's commands read them: JSON lines, Parquet …",
    )
    parser.add_argument(
        "--tokenizer",
        default=str(HERE / "tokenizer"),
        metavar="NAME",
        help="a folder, or a name on the Hugging Face hub",
    )
    parser.add_argument(
        "--hint-placement", default="before_turn", metavar="WHERE", help=" or ".join(get_args(HintPlacement))
    )
    parser.add_argument("--hint-role", default="system", metavar="ROLE", help=f"one of {', '.join(ROLES)}")
    parser.add_argument("--layout", default="aligned", metavar="LAYOUT", help="aligned or placeholder")
    parser.add_argument("--rows", type=at_least(0), default=3, metavar="N", help="how many error sites are shown")
    parser.add_argument("--batch-size", type=at_least(1), default=8, metavar="N", help="traces a batch")
    return parser.parse_args()


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number."""

    def whole_number(text: str) -> int:
        number = int(text) if text.isdecimal() else least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}")
        return number

    return whole_number


def run(args: argparse.Namespace, console: Console) -> None:
    """Reads, collates and shows."""
    if args.layout == "indexed":
        raise DemoError("the demo shows both sides in common columns: LAYOUT=aligned or LAYOUT=placeholder")
    traces = read_traces(args.traces)
    config = chatspan.CollatorConfig(
        hint_generator=write_hint,
        hint_placement=args.hint_placement,
        hint_role=args.hint_role,
        layout=args.layout,
        enable_replay_dpo=any(trace.get("dpo_pairs") for trace in traces),
    )
    tokenizer = load_tokenizer(args.tokenizer)
    collated = collate(traces, chatspan.ComposerDataCollator(tokenizer=tokenizer, config=config), args)
    routes = ", ".join(f"{count:,} by {route}" for route, count in collated.routes.items())
    headline = (
        f"{plural(len(traces), 'trace')}, {plural(collated.site_count, 'error site')}; conversations: {routes}; "
        f"{collated.tokens:,} tokens in {collated.seconds:.2f} s; tokenizer: {args.tokenizer}"
    )
    console.print(Text(headline, style="bold"), soft_wrap=True)
    show(console, tokenizer, collated)


def show(console: Console, tokenizer: Any, collated: Collated) -> None:
    """Prints what was collated."""
    for number, site in enumerate(collated.shown_sites, start=1):
        print_site(console, tokenizer, site, f"Error site {number} of {collated.site_count:,}")
    if collated.shown_sites:
        print_legend(console, collated.shown_sites)
    hidden = collated.site_count - len(collated.shown_sites)
    if hidden:
        console.print(f"\n{plural(hidden, 'error site')} more: --rows {collated.site_count} shows all.")
    if not collated.site_count:
        console.print(
            "\nNo trace has an error site (an assistant turn with a tool_error and a content), so there is no "
            "teacher and no loss mask."
        )
    which = "first batch with an error site" if collated.site_count else "last batch"
    print_keys(console, collated.shown_batch, f"Keys of the {which}")


def read_traces(name: str) -> list[Trace]:
    """The traces of a data set; those without a ``trace_id`` are called by their place."""
    traces = []
    for row in open_source(name).rows():
        trace = dict(row.parsed())
        traces.append(trace if trace.get("trace_id") is not None else {**trace, "trace_id": row.place})
    return traces


def write_hint(tool_error: Any, error_meta: Any) -> str:
    """The hint that the teacher sees."""
    meta = error_meta if isinstance(error_meta, Mapping) else {}
    message = str(meta.get("message") or tool_error).rstrip(".")
    return (
        f"Hint: the last call of {meta.get('tool') or 'the tool'} failed with: {message}. Do not repeat it unchanged."
    )


def collate(traces: Sequence[Trace], collator: chatspan.ComposerDataCollator, args: argparse.Namespace) -> Collated:
    """Collates all traces, batch by batch, with a progress bar where somebody waits for it."""
    collated = Collated(collator.routes)
    starts = range(0, len(traces), args.batch_size)
    nobody_waits = len(starts) <= FEW_BATCHES or not sys.stdout.isatty()
    with Progress(transient=True, disable=nobody_waits) as progress:
        for start in progress.track(starts, description="collating"):
            add_batch(collated, traces[start : start + args.batch_size], collator, args.rows)
    return collated


def add_batch(collated: Collated, traces: Sequence[Trace], collator: chatspan.ComposerDataCollator, rows: int) -> None:
    """Collates some traces and keeps what is shown of them."""
    start = time.perf_counter()
    batch = collator(traces)
    collated.seconds += time.perf_counter() - start
    collated.tokens += sum(int(batch[key].sum()) for key in batch if key.endswith("attention_mask"))
    if not collated.site_count:
        collated.shown_batch = batch
    sites = find_sites(batch, [str(trace["trace_id"]) for trace in traces])
    collated.site_count += len(sites)
    collated.shown_sites += sites[: rows - len(collated.shown_sites)]


def advice(error: Exception, args: argparse.Namespace) -> str:
    """What to do about an error, by the name of the option in ``make demo``."""
    if isinstance(error, chatspan.HintPlacementError):
        if args.hint_placement == "before_turn":
            return ": make demo HINT_PLACEMENT=append_to_previous"
    elif isinstance(error, chatspan.HintError) and args.hint_placement == "append_to_previous":
        return ": make demo HINT_PLACEMENT=before_turn"
    if isinstance(error, chatspan.LayoutError):
        return ": make demo LAYOUT=aligned"
    if isinstance(error, (chatspan.TraceError, chatspan.TextError)):
        return f"; mend TRACES={args.traces}"
    if isinstance(error, (chatspan.SourceError, chatspan.RowError)):
        return ", or name another with TRACES=FILE"
    if isinstance(error, CliError):
        return " with TOKENIZER=FOLDER_OR_HUB_NAME"
    if isinstance(error, (DemoError, chatspan.OptionError)):
        return ""
    return f"; try another TOKENIZER than {args.tokenizer}, or other TRACES"


if __name__ == "__main__":
    sys.exit(main())
