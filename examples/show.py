"""Shows a batch to a person: error sites with student and teacher side by side, and the batch's keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from chatspan.cli.text import elided, printable, visible
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import torch

Batch = Mapping[str, "torch.Tensor"]

COLUMNS_AROUND = 4
LONGEST_RUN = 24
LONGEST_TEXT = 1500

# For each mark the colours of the student's and of the teacher's token, and what the legend says.
MARKS = {
    "loss": (
        "bold green",
        "bold green",
        "In the loss (sdpo_loss_mask 1): the recovery's content, the same ids in the same columns on both sides. "
        "On these tokens the student learns to predict what the teacher predicts.",
    ),
    "hint": (
        "dim",
        "yellow",
        "Only the teacher sees it: the hint, and what the template writes around it. The student has a hole (·): "
        "attention_mask 0, position_ids go on as if it were not there.",
    ),
    "filler": (
        "magenta",
        "yellow",
        "The teacher sees the hint, the student filler of the same token length.",
    ),
    "student": (
        "cyan",
        "dim",
        "Only the student has this token, because the text beside the hint is cut into other tokens there.",
    ),
    "same": ("dim", "dim", "Both sides see it, and it is not in the loss."),
}
SYMBOLS_SAY = "␣ is a space, ⏎ a newline, ⟨…⟩ a token that is only a part of a character."


@dataclass(frozen=True)
class Column:
    """A column of one row of the batch; an id is ``None`` where that side has a hole."""

    index: int
    mark: str
    student: int | None
    teacher: int | None


@dataclass(frozen=True)
class Site:
    """An error site: the columns from a few before its hint to a few behind its recovery."""

    trace_id: str
    columns: Sequence[Column]


_SHOWN = (
    *("input_ids", "attention_mask", "sdpo_loss_mask"),
    *("ctx_teacher_input_ids", "ctx_teacher_attention_mask"),
)


def find_sites(batch: Batch, trace_ids: Sequence[str]) -> list[Site]:
    """All error sites of a batch, read from its tensors alone."""
    if "sdpo_loss_mask" not in batch:
        return []
    arrays = {key: batch[key].numpy() for key in _SHOWN}
    return [
        site
        for row, trace_id in enumerate(trace_ids)
        for site in _sites_of_row({key: array[row] for key, array in arrays.items()}, trace_id)
    ]


def print_site(console: Console, tokenizer: Any, site: Site, title: str) -> None:
    """Prints a site, a line a column, and the text that is in the loss."""
    console.print()
    console.print(Text(f"{title}: trace {printable(site.trace_id)}", style="bold"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("column", justify="right", no_wrap=True, style="dim")
    # The same width at each site, so that tables stand below each other as one.
    token_width = max(12, min(40, (console.width - 24) // 2))
    for side in ("student", "teacher"):
        table.add_column(side, width=token_width, no_wrap=True, overflow="ellipsis")
    table.add_column("mark", no_wrap=True, min_width=7)
    for cells in _lines(tokenizer, site.columns):
        table.add_row(*cells)
    console.print(table)
    console.print()
    for mark, run in groupby(site.columns, key=lambda column: column.mark):
        if mark == "loss":
            text = printable(tokenizer.decode([column.student for column in run]))
            console.print(Text.assemble("In the loss: ", (elided(text, LONGEST_TEXT), "bold green")))


def print_legend(console: Console, sites: Sequence[Site]) -> None:
    """Prints what the marks and colours mean that occur at some sites."""
    shown = {column.mark for site in sites for column in site.columns}
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    for mark, (student_style, teacher_style, meaning) in MARKS.items():
        if mark in shown:
            example = Text.assemble(("student", student_style), " ", ("teacher", teacher_style))
            table.add_row(Text(_label(mark) or "(none)", style=teacher_style), example, meaning)
    console.print()
    console.print(Text("Legend", style="bold"))
    console.print(table)
    console.print(Text(SYMBOLS_SAY, style="dim"))


def print_keys(console: Console, batch: Batch, title: str) -> None:
    """Prints the keys of a batch."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("key", "shape", "dtype"):
        table.add_column(name, no_wrap=True)
    table.add_column("ones", justify="right", no_wrap=True)
    for key, tensor in batch.items():
        ones = f"{int((tensor == 1).sum()):,} of {tensor.numel():,}" if key.endswith("_mask") else ""
        table.add_row(key, str(list(tensor.shape)), str(tensor.dtype), ones)
    console.print()
    console.print(Text(title, style="bold"))
    console.print(table)


def _sites_of_row(row: Mapping[str, NDArray[np.int64]], trace_id: str) -> Iterator[Site]:
    student, teacher = row["input_ids"], row["ctx_teacher_input_ids"]
    student_sees, teacher_sees = row["attention_mask"] == 1, row["ctx_teacher_attention_mask"] == 1
    both, in_loss = student_sees & teacher_sees, row["sdpo_loss_mask"] == 1
    marks = np.select(
        [in_loss, both & (student == teacher), both, teacher_sees, student_sees],
        ["loss", "same", "filler", "hint", "student"],
        default="padding",
    )
    for window in _windows(marks):
        columns = [
            Column(
                index,
                str(marks[index]),
                int(student[index]) if student_sees[index] else None,
                int(teacher[index]) if teacher_sees[index] else None,
            )
            for index in window
            if marks[index] != "padding"
        ]
        yield Site(trace_id, columns)


def _windows(marks: NDArray[np.str_]) -> list[range]:
    """The columns to show of each site; a recovery's further pieces, which no hint precedes, are of the same site."""
    in_loss = np.flatnonzero(marks == "loss")
    differs = np.flatnonzero(np.isin(marks, ["hint", "filler", "student"]))
    windows: list[tuple[int, int]] = []
    end = 0
    for piece in np.split(in_loss, np.flatnonzero(np.diff(in_loss) > 1) + 1) if len(in_loss) else []:
        hint = differs[(differs >= end) & (differs < piece[0])]
        start = int(hint[0] if len(hint) else piece[0]) - COLUMNS_AROUND
        start = windows.pop()[0] if windows and not len(hint) else max(start, end)
        end = int(piece[-1]) + 1
        windows.append((start, end))
    return [range(start, min(end + COLUMNS_AROUND, len(marks))) for start, end in windows]


def _lines(tokenizer: Any, columns: Sequence[Column]) -> Iterator[list[Text]]:
    """The lines of a site's table, with the middle of long runs of one mark left out."""
    for mark, run in groupby(columns, key=lambda column: column.mark):
        run_columns = list(run)
        left_out = max(0, len(run_columns) - LONGEST_RUN)
        # One column left out would take the line that says so.
        head = LONGEST_RUN // 2 if left_out > 1 else len(run_columns)
        for column in run_columns[:head]:
            yield _line(tokenizer, column)
        if left_out > 1:
            cells = ("…", f"… {left_out:,} more columns", f"all {_label(mark) or 'the same'} …", _label(mark))
            yield [Text(cell, style="dim italic") for cell in cells]
        for column in run_columns[head + left_out :]:
            yield _line(tokenizer, column)


def _line(tokenizer: Any, column: Column) -> list[Text]:
    student_style, teacher_style, _ = MARKS[column.mark]
    return [
        Text(str(column.index)),
        Text(_piece(tokenizer, column.student), style=student_style),
        Text(_piece(tokenizer, column.teacher), style=teacher_style),
        Text(_label(column.mark), style=teacher_style),
    ]


def _label(mark: str) -> str:
    return "" if mark == "same" else mark


def _piece(tokenizer: Any, token_id: int | None) -> str:
    if token_id is None:
        return "·"
    raw = str(tokenizer.convert_ids_to_tokens(token_id))
    # A token alone loses its space in the decoders of SentencePiece's heirs.
    text = raw.replace("▁", " ") if raw.startswith("▁") else str(tokenizer.decode([token_id]))
    if "\ufffd" in text:
        return f"⟨{printable(raw)}⟩"
    return visible(text)
