"""A view on a terminal: each message's text, coloured by kind, what is in the loss marked; then counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich import box
from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from chatspan.cli.text import elided, plural, printable, visible
from chatspan.kinds import Kind
from chatspan.view.blocks import Block, block_rows, message_blocks
from chatspan.view.view import SideView, View, left_out

STYLES = {
    Kind.SCAFFOLD: "bright_black",
    Kind.CONTENT: "default",
    Kind.REASONING: "magenta",
    Kind.TOOL_CALL: "cyan",
    Kind.END_OF_TURN: "yellow",
    Kind.GENERATION_PROMPT: "bright_black italic",
    Kind.TOOLS: "blue",
    Kind.DOCUMENTS: "blue",
    Kind.OTHER_FIELD: "bright_blue",
    Kind.TOOL_RESULT: "green",
    Kind.MEDIA: "bright_magenta",
}
LOSS_STYLE = "bold on dark_green"
# Where there are no colours.
LOSS_MARKS = ("⟦", "⟧")
# A message's text beyond so many characters is cut in the middle.
LONGEST_TEXT = 2000
# Two sides stand beside each other from this width on.
SIDE_BY_SIDE = 110


def print_view(console: Console, view: View, loss: str) -> None:
    """Prints a view, and which tokens the mask of this name has."""
    console.print(_headline(view, loss), soft_wrap=True)
    console.print()
    if len(view.sides) == 2 and console.width >= SIDE_BY_SIDE:
        _print_side_by_side(console, view, loss)
    else:
        for side in view.sides:
            if len(view.sides) > 1:
                console.print(Rule(Text(side.name, style="bold"), style="bright_black"))
            for block in message_blocks(side.encoding):
                console.print(_block(console, side, block, loss))
                console.print()
    for side in view.sides:
        console.print(_counts(view, side, loss))
        for line in _remarks(side):
            console.print(line, soft_wrap=True)
        console.print()
    console.print(_legend(console, view, loss))


def _headline(view: View, loss: str) -> Text:
    parts = []
    for side in view.sides:
        count, trained = len(side.encoding), int(side.masks[loss].sum())
        name = "" if len(view.sides) == 1 else f"{side.name}: "
        parts.append(f"{name}{plural(count, 'token')}, {trained:,} in the loss")
    which = "what both sides are compared on" if loss == "loss" else f"--loss {loss}"
    return Text(f"{printable(view.title)}: {'; '.join(parts)} ({which})", style="bold")


def _print_side_by_side(console: Console, view: View, loss: str) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, expand=True, show_lines=True)
    for side in view.sides:
        table.add_column(side.name, ratio=1)
    blocks = [message_blocks(side.encoding) for side in view.sides]
    for row in block_rows(view):
        cells = zip(view.sides, blocks, row, strict=True)
        table.add_row(*("" if n is None else _block(console, side, mine[n], loss) for side, mine, n in cells))
    console.print(table)


def _block(console: Console, side: SideView, block: Block, loss: str) -> RenderableType:
    trained = int(side.masks[loss][block.start : block.end].sum())
    title = f"message {block.message}  {_role(side, block.message)}" if block.message >= 0 else "no message"
    hint = "  (the hint, which only the teacher sees)" if block.message in side.hint_messages else ""
    counts = f"  {plural(block.end - block.start, 'token')}" + (f", {trained:,} in the loss" if trained else "")
    heading = Text.assemble((title, "bold underline"), (hint, "yellow"), (counts, "bright_black"))
    tokens = range(block.start, block.end)
    return Group(heading, _coloured(console, side, tokens, loss))


def _coloured(console: Console, side: SideView, tokens: Sequence[int], loss: str) -> Text:
    """The text of tokens. Tokens that share a character show it once, those of a medium say what it is."""
    encoding, mask = side.encoding, side.masks[loss]
    plain = console.color_system is None
    media = {token: medium for medium in side.media for token in range(medium.start_token, medium.end_token)}
    text = Text()
    shown = 0
    for (kind, trained, medium), run in groupby(
        tokens, key=lambda i: (int(encoding.kind[i]), bool(mask[i]), media.get(i))
    ):
        piece = "" if medium is None else f"[{medium.words}]"
        for token in run:
            start, end = (int(edge) for edge in encoding.offsets[token])
            piece += encoding.text[max(start, shown) : end] if medium is None else ""
            shown = max(shown, end)
        style = STYLES[Kind(kind)]
        if trained:
            style = f"{style} {LOSS_STYLE}".replace("default", "white")
        piece = elided(printable(piece), LONGEST_TEXT)
        text.append(f"{LOSS_MARKS[0]}{piece}{LOSS_MARKS[1]}" if plain and trained else piece, style=style)
    text.rstrip()
    return text


def _counts(view: View, side: SideView, loss: str) -> Table:
    """Tokens of each message by kind."""
    encoding = side.encoding
    kinds = [kind for kind in Kind if (encoding.kind == kind).any()]
    name = f" of the {side.name}" if len(view.sides) > 1 else ""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title=f"Tokens{name}", title_justify="left")
    table.add_column("message", justify="right")
    table.add_column("role", no_wrap=True)
    for heading in ("tokens", "in the loss"):
        table.add_column(heading, justify="right")
    for kind in kinds:
        table.add_column(_kind_name(kind), justify="right", style=STYLES[kind])
    rows = [-1, *range(len(encoding.roles))]
    for index in rows:
        mine = encoding.message_index == index
        if index < 0 and not mine.any():
            continue
        counts = [int((mine & (encoding.kind == kind)).sum()) for kind in kinds]
        title = ("–", "none") if index < 0 else (str(index), _role(side, index))
        table.add_row(*title, *(_count(n) for n in (int(mine.sum()), int((mine & side.masks[loss]).sum()), *counts)))
    totals = [len(encoding), int(side.masks[loss].sum()), *(int((encoding.kind == kind).sum()) for kind in kinds)]
    table.add_section()
    table.add_row("", "all", *(_count(n) for n in totals))
    return table


def _role(side: SideView, index: int) -> str:
    """The role of a message, in one line."""
    return visible(side.encoding.roles[index]).replace("␣", " ")


def _kind_name(kind: Kind) -> str:
    return kind.name.lower().replace("_", " ")


def _count(number: int) -> str:
    return f"{number:,}" if number else "·"


def _remarks(side: SideView) -> Iterator[Text]:
    encoding = side.encoding
    for pattern, messages in left_out(encoding).items():
        which = ", ".join(map(str, messages[:8])) + (", …" if len(messages) > 8 else "")
        of = "message" if len(messages) == 1 else f"{len(messages):,} messages:"
        yield Text(f"The template leaves out {printable(pattern)} of {of} {which}", style="yellow")
    for name, reason in side.refused.items():
        yield Text(f"{name} cannot be determined: {printable(reason)}", style="yellow")
    if len(encoding.straddling):
        shown = ", ".join(repr(side.texts[i]) for i in encoding.straddling[:5].tolist())
        what = plural(len(encoding.straddling), "token")
        yield Text(f"{what} across an edge (the first character decides): {shown}", style="bright_black")


def _legend(console: Console, view: View, loss: str) -> Text:
    text = Text("Legend: ", style="bright_black")
    for kind in Kind:
        if any((side.encoding.kind == kind).any() for side in view.sides):
            text.append(f" {_kind_name(kind)} ", style=STYLES[kind])
    mark = f"{LOSS_MARKS[0]}in the loss{LOSS_MARKS[1]}" if console.color_system is None else " in the loss "
    return text.append(mark, style=f"white {LOSS_STYLE}")
