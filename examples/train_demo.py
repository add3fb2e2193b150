"""Distils a student that sees an error from a teacher that sees a hint: ``make train-demo``, or ``--help``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chatspan
import torch
import transformers
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from train_plot import save_picture
from train_steps import (
    Settings,
    distil,
    first_training,
    held_out_batch,
    held_out_divergence,
    make_collator,
    make_model,
)

HERE = Path(__file__).parent
# The model is so small that threads only wait for each other, most of all beside other work.
THREADS = 1


def main() -> int:
    """Runs the demo; returns the exit code."""
    args = parse_args()
    console = Console(highlight=False)
    start = time.perf_counter()
    try:
        settings = Settings(layout=args.layout, ema=args.ema, seed=args.seed)
        run(settings, args.out, console)
    except chatspan.ChatspanError as error:
        print(f"train-demo: {error}", file=sys.stderr)
        return 1
    console.print(f"{time.perf_counter() - start:.0f} s in all; the picture: {args.out}")
    return 0


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="train-demo", description="Distil a student from a teacher that sees hints.")
    parser.add_argument("--layout", default="aligned", metavar="LAYOUT", help="aligned or indexed")
    parser.add_argument(
        "--ema", type=float, metavar="PART", help="how much of the teacher stays at each step, e.g. 0.99; else all"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and conversations")
    parser.add_argument("--out", type=Path, default=Path("train_demo.png"), metavar="FILE", help="the picture")
    return parser.parse_args()


def run(settings: Settings, out: Path, console: Console) -> None:
    """Trains, distils, and shows what became of it."""
    torch.set_num_threads(THREADS)
    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(HERE / "tokenizer")
    collate = make_collator(tokenizer, settings)
    model = make_model(len(tokenizer), settings)
    count = sum(parameter.numel() for parameter in model.parameters())
    console.print(f"A Qwen2 of {count / 1e6:.1f} M random parameters, layout {settings.layout}.")
    loss_column = TextColumn("loss {task.fields[loss]:.3f}")
    columns = (TextColumn("{task.description}"), BarColumn(), loss_column, TimeElapsedColumn())
    losses: list[float] = []
    with Progress(*columns, console=console) as progress:
        watch = _bar(progress, "1. cross-entropy on teachers, whose hints decide", settings.first_steps)
        first_training(model, collate, settings, watch)
        before = held_out_divergence(model, model, collate)
        watch = _bar(progress, "2. distillation of a student that sees the error", settings.steps)

        def watch_and_keep(step: int, loss: float) -> None:
            losses.append(loss)
            watch(step, loss)

        teacher = distil(model, collate, settings, watch=watch_and_keep)
    after = held_out_divergence(model, teacher, collate)
    _print_result(console, before, after)
    tokens, one_before, one_after = _one_recovery(tokenizer, collate, before, after)
    save_picture(out, losses, tokens, one_before, one_after)


def _bar(progress: Progress, what: str, steps: int) -> Callable[[int, float], None]:
    task = progress.add_task(what, total=steps, loss=float("nan"))
    return lambda step, loss: progress.update(task, completed=step, loss=loss)


def _print_result(console: Console, before: torch.Tensor, after: torch.Tensor) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("held-out divergence, nat a token", "before", "after"):
        table.add_column(name, justify="left" if name.startswith("held") else "right")
    table.add_row("mean", f"{before.mean():.3f}", f"{after.mean():.3f}")
    table.add_row("first token, which the hint decides", f"{before[:, 0].mean():.3f}", f"{after[:, 0].mean():.3f}")
    console.print(table)


def _one_recovery(tokenizer: Any, collate: Any, before: torch.Tensor, after: torch.Tensor) -> Any:
    """The tokens of the first held-out recovery, and their divergence before and after."""
    batch = held_out_batch(collate)
    real = batch["response_idx_mask"][0]
    ids = batch["input_ids"][0, batch["student_response_idx"][0][real]].tolist()
    return [tokenizer.decode([i]) for i in ids], before[0][real].tolist(), after[0][real].tolist()


if __name__ == "__main__":
    sys.exit(main())
