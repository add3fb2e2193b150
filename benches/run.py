"""The benches: ``python benches/run.py [--zoo DIR] [--tokenizer NAME] [--pairs N] [--quick] [--only NAME]``.

Prints figures and whether the target is met; slowness is no failure, unequal results are.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import transformers
from against_prefix_delta import Outcome, report_prefix_delta
from against_transformers import report_transformers
from batches import report_batches
from chatspan import ChatspanError
from cores import report_cores
from distillation import report_distillation
from encoder import report_encoder
from import_time import report_import_time
from inputs import DEFAULT_ZOO, LENGTHS, Inputs, load_inputs
from linear_loss import report_linear_loss
from loader import report_loader
from loss import report_loss
from media import report_media
from native import report_native
from peers import report_peers
from reading import report_reading
from rollouts import report_rollouts
from stages import report_stages
from tables import Report

_TARGET_RATIO = 30
# What counts as linear: room for caches that a longer row falls out of, far from 2.
_LINEAR_BELOW = 1.25
_QUICK_PAIRS = 3


class Run(NamedTuple):
    """What benches are given.

    Attributes:
        outcomes: what the targets are about, filled by a bench.
    """

    report: Report
    inputs: Inputs
    zoo: Path
    rounds: int
    outcomes: list[Outcome]


BENCHES: dict[str, Callable[[Run], object]] = {
    "prefix-delta": lambda run: run.outcomes.extend(report_prefix_delta(run.report, run.inputs, run.rounds)),
    "transformers": lambda run: report_transformers(run.report, run.inputs, run.rounds),
    "batches": lambda run: report_batches(run.report, run.inputs, run.rounds),
    "cores": lambda run: report_cores(run.report, run.inputs, run.rounds),
    "stages": lambda run: report_stages(run.report, run.inputs, run.rounds),
    "encoder": lambda run: report_encoder(run.report, run.inputs, run.zoo, run.rounds),
    "native": lambda run: report_native(run.report, run.inputs, run.zoo, run.rounds),
    "peers": lambda run: report_peers(run.report, run.inputs, run.zoo, run.rounds),
    "loader": lambda run: report_loader(run.report, run.inputs, run.rounds),
    "distillation": lambda run: report_distillation(run.report, run.inputs, run.rounds),
    "loss": lambda run: report_loss(run.report, run.rounds),
    "linear-loss": lambda run: report_linear_loss(run.report, run.rounds),
    "reading": lambda run: report_reading(run.report, run.inputs, run.zoo, run.rounds),
    "rollouts": lambda run: report_rollouts(run.report, run.inputs, run.rounds),
    "media": lambda run: report_media(run.report, run.rounds),
    "import": lambda run: report_import_time(run.report, run.rounds),
}


def main() -> None:
    """Runs all benches, or one, in one process, one after the other."""
    arguments = _arguments()
    start = time.perf_counter()
    # A row longer than the model is fine here, and a warning about it would stand between the tables.
    transformers.logging.set_verbosity_error()
    inputs = load_inputs(arguments.zoo, arguments.tokenizer)
    rounds = _QUICK_PAIRS if arguments.quick else arguments.pairs
    report = Report()
    _print_setting(report, inputs.source, rounds)
    run = Run(report, inputs, arguments.zoo, rounds, [])
    for name, bench in BENCHES.items():
        if arguments.only not in (None, name):
            continue
        try:
            bench(run)
        except ChatspanError as error:
            # As of a template that is not prefix-stable, which has no reference to compare with.
            raise SystemExit(f"nothing to compare on {inputs.source}: {error}") from error
    if run.outcomes:
        _print_target(report, run.outcomes)
    report.say(f"{time.perf_counter() - start:.0f} s in all")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What chatspan costs, against prefix delta and transformers.")
    parser.add_argument("--zoo", type=Path, default=DEFAULT_ZOO, help="the folder of tokenizers and traces")
    parser.add_argument(
        "--tokenizer", default="qwen2_5", help="its name in the zoo; its template must be prefix-stable"
    )
    parser.add_argument("--pairs", type=int, default=7, help="how often each comparison runs")
    parser.add_argument("--only", metavar="NAME", choices=BENCHES, help=f"one of {', '.join(BENCHES)}")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_PAIRS} pairs")
    return parser.parse_args()


def _print_setting(report: Report, source: str, rounds: int) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("chatspan", "transformers", "tokenizers", "torch"))
    # Of the last minute: where others use the cores, parallelism shows less, and times are longer.
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    report.say(f"{os.cpu_count()} CPUs ({load}), Python {platform.python_version()}, {packages}")
    report.say(f"TOKENIZERS_PARALLELISM={os.environ.get('TOKENIZERS_PARALLELISM', 'not set')}")
    report.say(source)
    report.say(
        f"{rounds} pairs: medians, in brackets the range. Rows are real conversations, cut and joined; those of an"
    )
    report.say("even length have the system message's text in their first message, so that roles go on alternating.\n")


def _print_target(report: Report, outcomes: Sequence[Outcome]) -> None:
    report.say(f"Target: at least {_TARGET_RATIO}x prefix delta at {LENGTHS[-1]} messages, and linear growth")
    for outcome in outcomes:
        met = outcome.ratio >= _TARGET_RATIO and outcome.exponent < _LINEAR_BELOW
        verdict = "met" if met else "NOT met"
        report.say(f"  {outcome.what}: {outcome.ratio:.1f}x, growth {outcome.exponent:.2f}: {verdict}")


if __name__ == "__main__":
    main()
